"""`narrows jobs`: define work, change it, delete it. What starts a run of it stands in
`jobs_trigger.py`, the runs that come of it in `runs.py`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from narrows.cli import inputs, output
from narrows.cli.confirm import DryRunOption, YesOption, confirm
from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.client.run_waiting import LIVE
from narrows.wire.run_messages import Job, Secret

app = typer.Typer(name="jobs", help="Define jobs and start runs of them.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Slug or id of the job.", show_default=False)]
NameOption = Annotated[str | None, typer.Option("--name", help="What people call it.", show_default=False)]
DescriptionOption = Annotated[
    str | None, typer.Option("--description", help="What it does.", show_default=False)
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url", metavar="URL", help="The server calls it for each run; else workers fetch them.",
        show_default=False,
    ),
]  # fmt: skip
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--max-concurrency", min=1, help="Runs at once; default: no limit.", show_default=False),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="name=value; may be repeated.")]

#: Above so many, live runs are no longer counted before the question.
_COUNT_UP_TO = 1000
_OPTIONAL = ("name", "description", "endpoint-url", "max-concurrency", "tags")


def _optional_fields(incomplete: str) -> list[str]:
    return [field for field in _OPTIONAL if field.startswith(incomplete)]


@command(app, "create")
async def create(
    session: Session,
    *,
    slug: Annotated[
        str, typer.Argument(metavar="SLUG", help="Its name in commands and URLs.", show_default=False)
    ],
    endpoint_url: EndpointOption = None,
    name: NameOption = None,
    description: DescriptionOption = None,
    timeout_text: Annotated[
        str, typer.Option("--timeout", "-t", metavar="DURATION", help="For one dispatch: 30s, 10m, 1d.")
    ] = "5m",
    max_attempts: Annotated[
        int, typer.Option("--max-attempts", min=1, max=100, help="Tries before the dead letter.")
    ] = 3,
    max_concurrency: ConcurrencyOption = None,
    tag: TagOption = None,
) -> Outcome:
    """Define a job. Its signing secret is shown this once: what the server's calls to its endpoint are signed with.

    In a pipe the secret alone goes to stdout; with -o json or jsonl the whole job, the secret in it.

    Example: `narrows jobs create resize-image --endpoint-url https://example.com/resize > secret`
    """
    call = calls.create_job(
        slug,
        name=name,
        description=description,
        endpoint_url=endpoint_url,
        timeout_secs=inputs.duration_secs(timeout_text),
        max_attempts=max_attempts,
        max_concurrency=max_concurrency,
        tags=inputs.tags(tag),
    )
    hand_over_secret(session, await session.fetch(call), Job)
    return None


def hand_over_secret(session: Session, reply: bytes, kind: type[Job] | type[Secret]) -> None:
    """The one and only copy of the secret."""
    secret = msgspec.json.decode(reply, type=kind).signing_secret
    if session.printer.asked is None and not session.printer.is_table and secret is not None:
        output.write_line(secret.encode())
    else:
        session.printer.one(reply, kind)
    output.note("This is the only time that the signing secret is shown; `rotate-secret` makes another.")


@command(app, "list")
async def list_jobs(session: Session, *, limit: LimitOption = None, everything: AllOption = False) -> Outcome:
    """List jobs, newest first."""
    return await print_pages(session, calls.list_jobs, Job, limit=limit, everything=everything)


@command(app, "get")
async def get(session: Session, *, job: JobArgument) -> Outcome:
    """Show one job."""
    session.printer.one(await session.fetch(calls.get_job(job)), Job)
    return None


@command(app, "update")
async def update(
    session: Session,
    *,
    job: JobArgument,
    slug: Annotated[str | None, typer.Option("--slug", help="A new slug.", show_default=False)] = None,
    endpoint_url: EndpointOption = None,
    name: NameOption = None,
    description: DescriptionOption = None,
    timeout_text: Annotated[
        str | None,
        typer.Option("--timeout", "-t", metavar="DURATION", help="For one dispatch.", show_default=False),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option("--max-attempts", min=1, max=100, help="Tries before the dead letter.")
    ] = None,
    max_concurrency: ConcurrencyOption = None,
    tag: TagOption = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset",
            metavar="FIELD",
            help=f"Take it away: {', '.join(_OPTIONAL)}; may be repeated.",
            autocompletion=_optional_fields,
        ),
    ] = None,
) -> Outcome:
    """Change a job; what is not named stays. Runs that exist keep their time-out and attempts.

    Example: `narrows jobs update resize-image --max-concurrency 5 --unset description`
    """
    given: dict[str, Any] = {
        "slug": slug,
        "endpoint_url": endpoint_url,
        "name": name,
        "description": description,
        "timeout_secs": None if timeout_text is None else inputs.duration_secs(timeout_text),
        "max_attempts": max_attempts,
        "max_concurrency": max_concurrency,
        "tags": inputs.tags(tag),
    }
    changes = {field: value for field, value in given.items() if value is not None}
    changes |= _taken_away(unset or [], changes)
    if not changes:
        raise typer.BadParameter("name something to change; --help lists what there is.")
    session.printer.one(await session.fetch(calls.update_job(job, **changes)), Job)
    return None


def _taken_away(unset: list[str], changes: dict[str, Any]) -> dict[str, None]:
    for field in unset:
        if field not in _OPTIONAL:
            raise typer.BadParameter(f"--unset {field}: it must be one of {', '.join(_OPTIONAL)}.")
        if field.replace("-", "_") in changes:
            raise typer.BadParameter(f"{field} is both given and taken away; leave one of them out.")
    return dict.fromkeys(field.replace("-", "_") for field in unset)


@command(app, "delete")
async def delete(
    session: Session,
    *,
    job: JobArgument,
    cancel_runs: Annotated[
        bool, typer.Option("--cancel-runs", help="Cancel its runs that have not ended; else they forbid it.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> Outcome:
    """Delete a job. Its runs stay to be looked at, its slug is free, its signing secret is gone.

    Example: `narrows jobs delete resize-image --cancel-runs --dry-run`
    """
    found = await session.client.get_job(job)
    live = await _live_runs(session, found.id) if cancel_runs or dry_run else 0
    runs = f"{inputs.counted(live, 'run')} that {'has' if live == 1 else 'have'} not ended"
    if live >= _COUNT_UP_TO:
        runs = f"{_COUNT_UP_TO:,} runs or more that have not ended"
    if dry_run:
        canceled = f", canceling {runs}" if cancel_runs else f"; it has {runs}" if live else ""
        output.note(f"would delete the job {output.shown(found.slug)}{canceled}")
        return None
    question = f"Delete the job {output.shown(found.slug)}" + (f" and cancel {runs}?" if cancel_runs else "?")
    if confirm(question, yes=yes):
        # By id: a slug may be another job's by the time that the question is answered.
        session.printer.one(await session.fetch(calls.delete_job(found.id, cancel_runs=cancel_runs)), Job)
    return None


async def _live_runs(session: Session, job_id: str) -> int:
    """How many runs have not ended, counted up to a bound."""
    count = 0
    for status in sorted(LIVE):
        async for _ in session.client.iterate_runs(status=status, job=job_id):
            count += 1
            if count >= _COUNT_UP_TO:
                return count
    return count


@command(app, "rotate-secret")
async def rotate_secret(
    session: Session,
    *,
    job: JobArgument,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old one signs too.")
    ] = "1d",
) -> Outcome:
    """Give a job a new signing secret, shown this once; for a time its calls are signed with both.

    In a pipe the secret alone goes to stdout, as from `jobs create`.

    Example: `narrows jobs rotate-secret resize-image --overlap 2h > secret`
    """
    call = calls.rotate_job_secret(job, overlap_secs=inputs.duration_secs(overlap))
    hand_over_secret(session, await session.fetch(call), Secret)
    return None
