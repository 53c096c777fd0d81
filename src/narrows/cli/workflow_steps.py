"""`narrows workflow-runs`, the part about one step: approve, reject, skip, retry-step."""

from __future__ import annotations

from typing import Annotated

import typer

from narrows.cli import output
from narrows.cli.confirm import YesOption, confirm
from narrows.cli.session import Outcome, Session, command
from narrows.cli.workflow_runs import RunArgument, app
from narrows.client import calls
from narrows.wire.workflow_messages import WorkflowStep

StepArgument = Annotated[str, typer.Argument(metavar="STEP", help="The step's step_ref.", show_default=False)]
ApproverOption = Annotated[
    str | None,
    typer.Option(
        "--approver", metavar="NAME", help="In whose name; default: the API key's.", show_default=False
    ),
]
CommentOption = Annotated[
    str | None, typer.Option("--comment", help="What to say with it.", show_default=False)
]


@command(app, "approve")
async def approve(
    session: Session,
    *,
    run_id: RunArgument,
    step: StepArgument,
    approver: ApproverOption = None,
    comment: CommentOption = None,
) -> Outcome:
    """Approve a step that waits for approval. With as many as it needs, it completes.

    Example: `narrows workflow-runs approve 0190b6c2-0000-7000-8000-000000000000 sign_off --approver ada`
    """
    call = calls.approve_step(run_id, step, approver=approver, comment=comment)
    session.printer.one(await session.fetch(call), WorkflowStep)
    return None


@command(app, "reject")
async def reject(
    session: Session,
    *,
    run_id: RunArgument,
    step: StepArgument,
    approver: ApproverOption = None,
    comment: CommentOption = None,
) -> Outcome:
    """Reject a step that waits for approval: it fails, for good.

    Example: `narrows workflow-runs reject 0190b6c2-0000-7000-8000-000000000000 sign_off --comment "not on a Friday"`
    """
    call = calls.reject_step(run_id, step, approver=approver, comment=comment)
    session.printer.one(await session.fetch(call), WorkflowStep)
    return None


@command(app, "skip")
async def skip(
    session: Session, *, run_id: RunArgument, step: StepArgument, yes: YesOption = False
) -> Outcome:
    """End a step as skipped, whatever it is doing: its run is canceled, its wait closed; what depends on it has its turn.

    Example: `narrows workflow-runs skip 0190b6c2-0000-7000-8000-000000000000 aml_check --yes`
    """
    if confirm(f"Skip the step {output.shown(step)} of the workflow run {run_id}?", yes=yes):
        session.printer.one(await session.fetch(calls.skip_step(run_id, step)), WorkflowStep)
    return None


@command(app, "retry-step")
async def retry_step(session: Session, *, run_id: RunArgument, step: StepArgument) -> Outcome:
    """Give a step that ended badly its turn again, while its run lives. Of a run that has ended, `retry` starts a new one.

    Example: `narrows workflow-runs retry-step 0190b6c2-0000-7000-8000-000000000000 staging`
    """
    session.printer.one(await session.fetch(calls.retry_step(run_id, step)), WorkflowStep)
    return None
