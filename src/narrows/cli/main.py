"""The command line's table of contents, and its entry. Not here: what the commands do."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from narrows.cli import (
    about,
    deliveries,
    demo,
    doctor,
    events,
    events_open,
    events_send,
    jobs,
    jobs_trigger,
    keys,
    move,
    projects,
    runs,
    serve,
    store,
    workflow_runs,
    workflow_steps,
    workflows,
)
from narrows.cli.exits import MEANINGS

#: Commands add themselves to the group of their noun when their file is imported.
MORE_FILES = (events_open, events_send, jobs_trigger, workflow_steps)

EPILOG = "[bold]Exit codes[/bold]\n" + "\n".join(
    f"{code:>4d}  {meaning}" for code, meaning in MEANINGS.items()
)


class InOrder(TyperGroup):
    """The commands in the order in which people meet them."""

    def list_commands(self, ctx: Any) -> list[str]:
        first = ["dev", "serve", "demo", "events", "jobs", "runs", "workflows", "workflow-runs"]
        first += ["deliveries", "keys", "projects"]
        return first + [name for name in super().list_commands(ctx) if name not in first]


app = typer.Typer(
    name="narrows",
    cls=InOrder,
    help="Durable waits. `narrows dev` starts a server, `narrows events wait KEY` waits, `narrows jobs trigger JOB --wait` runs.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
serve.register(app)
demo.register(app)
app.add_typer(events.app, rich_help_panel="Wait and send")
app.add_typer(jobs.app, rich_help_panel="Run jobs")
app.add_typer(runs.app, rich_help_panel="Run jobs")
app.add_typer(workflows.app, rich_help_panel="Run workflows")
app.add_typer(workflow_runs.app, rich_help_panel="Run workflows")
app.add_typer(deliveries.app, rich_help_panel="Run jobs")
app.add_typer(keys.app, rich_help_panel="Administer")
app.add_typer(projects.app, rich_help_panel="Administer")
store.register(app)
move.register(app)
doctor.register(app)
about.register(app)

#: Made of it once, when this is imported: it takes a fifth of what `narrows --version` does.
COMMAND = typer.main.get_command(app)


def main() -> None:
    """The entry of the `narrows` command."""
    COMMAND(prog_name="narrows")
