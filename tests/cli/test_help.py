"""Help texts and completion of the commands of jobs, runs and deliveries."""

from __future__ import annotations

import pytest

from narrows.cli.exits import Exit
from tests.cli.conftest import Shell


@pytest.mark.parametrize("group", ["jobs", "runs", "deliveries"])
def test_every_command_has_a_help_that_says_what_it_does(shell: Shell, group: str) -> None:
    listed = shell.run(group, "--help").stdout
    for line in listed.partition("Commands")[2].splitlines():
        if line.startswith("│ ") and line[2] != " ":
            done = shell.run(group, line.split()[1], "--help")
            assert done.returncode == 0
            assert "Usage" in done.stdout


def test_the_help_of_wait_names_its_exit_codes(shell: Shell) -> None:
    for command in (("jobs", "trigger"), ("runs", "watch")):
        text = shell.run(*command, "--help").stdout
        for code in (Exit.FAILED, Exit.DEAD_LETTER, Exit.TIMED_OUT, Exit.CANCELED):
            assert f"{int(code)}: " in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("narrows ", "jobs"),
        ("narrows jobs ", "rotate-secret"),
        ("narrows runs list --status d", "dead_letter"),
        ("narrows deliveries list --status ", "delivered"),
        ("narrows jobs update x --unset ", "max-concurrency"),
    ],
)
def test_the_shell_completes(shell: Shell, typed: str, offered: str) -> None:
    words = typed.split(" ")
    done = shell.run(_NARROWS_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1))
    assert offered in done.stdout.split()
