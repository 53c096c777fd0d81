"""The command, forked from a process that has imported it already: an interpreter that starts takes half a
second of processor time, a fork none, and the suite runs some hundred commands. It is a process of its own
all the same, with its own folder, environment, exit code, and files for what it reads and prints.
Not here: commands that a test speaks to while they run; those start as a person's do (`conftest.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

_CONTEXT = multiprocessing.get_context("forkserver")
#: What all commands import, now or on their way. They read the environment only after the fork.
_CONTEXT.set_forkserver_preload(
    [
        "narrows.cli.main",
        "narrows.client.transports",
        "typer._adapters",
        "httpcore2",
        "anyio._backends._asyncio",
    ]
)


def run_forked(
    args: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `narrows ARGS` to its end, or for `timeout` seconds: then it is killed and that is an error."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        files = [DupFd(file.fileno()) for file in (given, out, err)]
        process = _CONTEXT.Process(target=_command, args=(list(args), str(folder), dict(environment), files))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["narrows", *args], timeout, _text(out), _text(err))
        return subprocess.CompletedProcess(["narrows", *args], process.exitcode, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _command(args: list[str], folder: str, environment: dict[str, str], files: list[Any]) -> None:
    """In the new process: become what a shell would have started."""
    from narrows.cli.main import main

    for standard, file in enumerate(files):
        os.dup2(file.detach(), standard)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["narrows", *args]
    main()
