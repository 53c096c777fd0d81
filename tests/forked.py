"""Processes that are forked from one that has imported what they will need: an interpreter that starts, and a server
that imports itself, take up to a second of processor time, a fork none, and the suites start some thousand. Each is a
process of its own all the same, with its own folder, environment, exit code, files, and nothing in its memory of those
before it: it is killed, and begins anew, as any other.
Not here: what has to start as a person starts it, from nothing. `tests/cli` starts its servers and the commands that
it speaks to so, `tests/test_docs.py` all that the documents say.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

_CONTEXT = multiprocessing.get_context("forkserver")
#: What all import, now or on their way. They read the environment only after the fork.
_CONTEXT.set_forkserver_preload(
    [
        "narrows.cli.main",
        "narrows.client.transports",
        "typer._adapters",
        "httpcore2",
        "anyio._backends._asyncio",
        "narrows.server",
        "narrows.storage.postgres_store",
        "uvloop",
        "uvicorn.protocols.http.httptools_impl",
        "yaml",
    ]
)
#: How a process ended is told once: of two threads that ask (also a start asks for all) one would hear nothing.
_ASKING = threading.Lock()


class Forked:
    """`python ARGS`, but for the start of the interpreter; spoken to as `subprocess.Popen` is. It ends with the
    tests at the latest."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: IO[Any] | None = None,
        stdout: IO[Any],
        stderr: IO[Any],
    ) -> None:
        folder, environment = str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        with Path(os.devnull).open("rb") as nothing:
            files = [DupFd(file.fileno()) for file in (stdin or nothing, stdout, stderr)]
            self._process = _CONTEXT.Process(
                target=_become, args=(list(args), folder, environment, files), daemon=True
            )
            with _ASKING:
                self._process.start()
        assert self._process.pid is not None
        self.args = list(args)
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        with _ASKING:
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(["python", *self.args], timeout or 0)
        return code

    async def ended(self) -> int:
        """Its exit code, when it ends; the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.wait)


def run_forked(
    args: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGS` to its end, or for `timeout` seconds: then it is killed and that is an error."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        process = Forked(args, cwd=folder, env=environment, stdin=given, stdout=out, stderr=err)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise subprocess.TimeoutExpired(process.args, timeout, _text(out), _text(err)) from None
        return subprocess.CompletedProcess(["python", *args], process.wait(), _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _become(args: list[str], folder: str, environment: dict[str, str], files: list[Any]) -> None:
    """In the new process: become what a shell would have started."""
    for standard, file in enumerate(files):
        os.dup2(file.detach(), standard)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if args[0] == "-m":
        sys.argv = args[1:]
        sys.path.insert(0, folder)
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = args
        sys.path.insert(0, str(Path(args[0]).parent))
        runpy.run_path(args[0], run_name="__main__")
