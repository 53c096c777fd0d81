"""Help texts and completion of the commands of jobs, workflows, runs of both, and deliveries."""

from __future__ import annotations

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from narrows.cli.exits import Exit
from narrows.cli.main import app
from tests.cli.conftest import Shell


@pytest.mark.parametrize("group", ["jobs", "runs", "workflows", "workflow-runs", "deliveries"])
def test_every_command_and_option_says_what_it_is_for(group: str) -> None:
    for name, command in get_command(app).commands[group].commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        assert [each.name for each in command.params if not each.help] == [], name


@pytest.mark.parametrize(("group", "name"), [("jobs", "trigger"), ("runs", "watch")])
def test_the_help_of_what_follows_names_its_exit_codes_and_an_example(group: str, name: str) -> None:
    done = CliRunner().invoke(app, [group, name, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for code in (Exit.FAILED, Exit.DEAD_LETTER, Exit.TIMED_OUT, Exit.CANCELED):
        assert f"{int(code)}: " in done.output
    assert f"Example: `narrows {group} {name} " in done.output


@pytest.mark.parametrize(("group", "name"), [("workflows", "run"), ("workflow-runs", "watch")])
def test_of_a_workflow_too(group: str, name: str) -> None:
    done = CliRunner().invoke(app, [group, name, "--help"], env={"COLUMNS": "200"})
    for code in (Exit.FAILED, Exit.TIMED_OUT, Exit.CANCELED):
        assert f"{int(code)}: " in done.output
    assert f"Example: `narrows {group} {name} " in done.output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("narrows ", "jobs"),
        ("narrows jobs ", "rotate-secret"),
        ("narrows runs list --status d", "dead_letter"),
        ("narrows deliveries list --status ", "delivered"),
        ("narrows workflow-runs list --status p", "paused"),
        ("narrows jobs update x --unset ", "max-concurrency"),
    ],
)
def test_the_shell_completes(shell: Shell, typed: str, offered: str) -> None:
    words = typed.split(" ")
    done = shell.run(_NARROWS_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1))
    assert offered in done.stdout.split()
