"""Keeps one server process, so that none is left behind however the tests end.

Run as a script it is the server's parent: it hands on the signals that it is told on its input. Where the
input just ends, because the tests were killed, it ends the server and removes its folder. It signals only its own
child, whose number nobody else can have. Not a supervisor: it starts nothing twice.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

#: Whom servers run as where the tests are root: PostgreSQL refuses to be root.
NOBODY = "nobody"
PATIENCE_SECS = 30


class Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def identity() -> Identity:
    """What `subprocess` must be told to run a server as an ordinary user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam(NOBODY)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give_away(folder: Path) -> None:
    """Make the folder the servers' own."""
    ours = identity()
    if ours:
        os.chown(folder, ours["user"], ours["group"])


class Guarded:
    """A running server with its guard; its output goes to `log` in the folder."""

    def __init__(self, folder: Path, command: list[str], last: signal.Signals) -> None:
        """Start it. `last` is the signal that ends it for certain."""
        self._last = last
        with (folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-S", "-E", __file__, str(folder), last.name, *command],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        return self._guard.poll() is None

    def end(self, number: signal.Signals | None = None) -> None:
        """Send the signal and wait until the server is gone; one that takes too long gets the last one."""
        self._tell(number or self._last)
        try:
            self._guard.wait(PATIENCE_SECS)
        except subprocess.TimeoutExpired:
            self._tell(self._last)
            self._guard.wait(PATIENCE_SECS)
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()

    def _tell(self, number: signal.Signals) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            self._guard.stdin.write(number.name.encode())
            self._guard.stdin.flush()


def main(folder: str, last: str, *command: str) -> int:
    """The guard itself."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **identity())
    gone = os.pidfd_open(child.pid)
    while gone not in select.select([0, gone], [], [])[0]:
        told = os.read(0, 64).decode()
        child.send_signal(signal.Signals[told or last])
        if not told:
            child.wait()
            shutil.rmtree(folder, ignore_errors=True)
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
