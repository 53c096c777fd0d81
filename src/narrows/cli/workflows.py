"""`narrows workflows`: definitions, from files to the server and back to the eye; and `run`, which starts one. Not
here: the runs that come of it (`workflow_runs.py`), and how files are read (`workflow_files.py`)."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from narrows.cli import inputs, output, workflow_files
from narrows.cli.confirm import DryRunOption, YesOption, confirm
from narrows.cli.drawing import print_picture
from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.events_send import IdempotencyOption, PayloadOption
from narrows.cli.exits import Exit
from narrows.cli.graphs import nodes_of_definition
from narrows.cli.jobs import TagOption
from narrows.cli.session import Outcome, Session, command
from narrows.cli.workflow_files import Document
from narrows.cli.workflow_watching import follow_to_end, prepare_for_interrupt
from narrows.client import calls
from narrows.errors import NotFound
from narrows.wire.workflow_messages import DryRun, Workflow, WorkflowRun

app = typer.Typer(name="workflows", help="Define workflows and start runs of them.", no_args_is_help=True)

WorkflowArgument = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="Slug or id of the workflow.", show_default=False)
]
FileArgument = Annotated[
    str,
    typer.Argument(metavar="FILE", help="Definitions in YAML or JSON; - for stdin.", show_default=False),
]


@command(app, "apply")
async def apply(session: Session, *, file: FileArgument, dry_run: DryRunOption = False) -> Outcome:
    """Make the workflows of a file, or new versions of those that it says something else about.

    All definitions are checked first: where one has faults, all faults are named and nothing is done.
    Runs keep the version that they were started with.

    Example: `narrows workflows apply kyc.yaml`
    """
    documents = workflow_files.read(file)
    if not await _without_faults(session, documents):
        return Exit.REFUSED
    replies = [reply for document in documents if (reply := await _apply(session, document, dry_run))]
    if session.printer.is_table:
        return None
    if session.printer.format is output.Format.JSON and len(documents) > 1:
        output.write_json(b"[" + b",".join(replies) + b"]", output.Format.JSON)
        return None
    for reply in replies:
        session.printer.one(reply, Workflow)
    return None


async def _without_faults(session: Session, documents: list[Document]) -> bool:
    """Whether all may be applied. What is wrong, or means nothing, is said."""
    is_good = True
    for document in documents:
        found = msgspec.json.decode(
            await session.fetch(calls.dry_run_workflow(document.members)), type=DryRun
        )
        for note in found.notes:
            output.note(f"{document.where}: {output.shown(note)}")
        if not found.valid:
            is_good = False
            output.complain(f"{document.where} has faults", found.faults, ["nothing was done"])
    return is_good


async def _apply(session: Session, document: Document, dry_run: bool) -> bytes | None:
    """The workflow as it is now; None where it is not there yet and was not to be made."""
    try:
        current = await session.fetch(calls.get_workflow(document.slug))
    except NotFound:
        output.note(f"{'would create' if dry_run else 'created'} {output.shown(document.slug)}")
        return None if dry_run else await session.fetch(calls.create_workflow(document.members))
    version = msgspec.json.decode(current, type=Workflow).version
    changes = workflow_files.changes(document, current)
    if not changes:
        output.note(f"{document.slug} is at version {version} and stays: nothing has changed")
        return current
    what = f"({', '.join(changes)})"
    if dry_run:
        output.note(f"would make version {version + 1} of {document.slug} {what}")
        return current
    reply = await session.fetch(calls.update_workflow(document.slug, changes))
    version = msgspec.json.decode(reply, type=Workflow).version
    output.note(f"made version {version} of {document.slug} {what}")
    return reply


@command(app, "dry-run")
async def dry_run(session: Session, *, file: FileArgument) -> Outcome:
    """Check the definitions of a file without saving anything: every fault at once, the order and the depth.

    Exit code 0: all are valid, 7: one has faults.

    Example: `narrows workflows dry-run kyc.yaml`
    """
    outcome: Outcome = None
    for document in workflow_files.read(file):
        reply = await session.fetch(calls.dry_run_workflow(document.members))
        found = msgspec.json.decode(reply, type=DryRun)
        if not found.valid:
            outcome = Exit.REFUSED
        if not session.printer.is_table:
            output.write_json(reply, session.printer.format)
            continue
        _print_checked(document, found)
    return outcome


def _print_checked(document: Document, found: DryRun) -> None:
    if found.valid:
        order = output.shown(", ".join(found.order))
        line = f"{document.where}: valid, depth {found.depth}, order {order}"
        output.out.print(line, markup=False, soft_wrap=True)
    else:
        output.complain(f"{document.where} has faults", found.faults)
    for note in found.notes:
        output.note(f"{document.where}: {output.shown(note)}")


@command(app, "list")
async def list_workflows(
    session: Session, *, limit: LimitOption = None, everything: AllOption = False
) -> Outcome:
    """List workflows, newest first."""
    return await print_pages(session, calls.list_workflows, Workflow, limit=limit, everything=everything)


@command(app, "get")
async def get(session: Session, *, workflow: WorkflowArgument) -> Outcome:
    """Show one workflow with the steps of its newest version: as a picture, with -o json as they were sent."""
    reply = await session.fetch(calls.get_workflow(workflow))
    if not session.printer.is_table:
        output.write_json(reply, session.printer.format)
        return None
    from narrows.cli import tables  # noqa: PLC0415 - rich's tables are slow to load

    found = msgspec.json.decode(reply, type=Workflow)
    fields = [name for name in found.__struct_fields__ if name != "steps"]
    session.printer.show(tables.card(found, fields))
    output.out.print()
    print_picture(nodes_of_definition(found.steps or []))
    return None


@command(app, "graph")
async def graph(session: Session, *, workflow: WorkflowArgument) -> Outcome:
    """Draw the steps of a workflow: each below what it depends on; what waits in parentheses.

    What is wider than the terminal is listed instead. `workflow-runs graph` draws a run, with its states.

    Example: `narrows workflows graph kyc`
    """
    reply = await session.fetch(calls.get_workflow(workflow))
    if session.printer.asked not in (None, output.Format.TABLE):
        output.write_json(reply, session.printer.format)
        return None
    print_picture(nodes_of_definition(msgspec.json.decode(reply, type=Workflow).steps or []))
    return None


@command(app, "run")
async def run(
    session: Session,
    *,
    workflow: WorkflowArgument,
    payload: PayloadOption = None,
    tag: TagOption = None,
    idempotency_key: IdempotencyOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Follow the run to its end, and print how it ended.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
) -> Outcome:
    """Start a run of a workflow and return at once; with --wait, follow it to its end over restarts of the server.

    With --wait exit code 0: completed, 12: failed, 3: timed out, 4: canceled.
    Ctrl-C leaves the run alone and says how to go on.

    Example: `narrows workflows run kyc --payload '{"user_id": "u-7"}' --wait`
    """
    call = calls.trigger_workflow(
        workflow, inputs.payload(payload), tags=inputs.tags(tag), idempotency_key=idempotency_key
    )
    reply = await session.fetch(call)
    if not wait:
        session.printer.one(reply, WorkflowRun)
        return None
    begun = msgspec.json.decode(reply, type=WorkflowRun)
    prepare_for_interrupt(session, begun.id)
    if not quiet and output.err.is_terminal:
        output.note(f"the workflow run {begun.id} is {begun.status}; Ctrl-C leaves it alone")
    return await follow_to_end(session, begun.id, quiet=quiet)


@command(app, "delete")
async def delete(
    session: Session, *, workflow: WorkflowArgument, dry_run: DryRunOption = False, yes: YesOption = False
) -> Outcome:
    """Delete a workflow. Its runs go on to their ends, and stay to be looked at; its slug is free.

    Example: `narrows workflows delete kyc --yes`
    """
    found = await session.client.get_workflow(workflow)
    if dry_run:
        output.note(f"would delete the workflow {output.shown(found.slug)}")
        return None
    if confirm(f"Delete the workflow {output.shown(found.slug)}?", yes=yes):
        # By id: a slug may be another workflow's by the time that the question is answered.
        session.printer.one(await session.fetch(calls.delete_workflow(found.id)), Workflow)
    return None
