"""A real `narrows dev` or `narrows serve` in a process of its own, for tests that want all of its
output, its signals and its exit code. Not here: kills under load (`tests/kill`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.forked import run_forked

START_SECS = 30.0


class Live:
    """One server on one folder. `before` is Python that runs in it first, to plant a fault or to move
    a setting that users have no option for."""

    def __init__(self, folder: Path, mode: str = "dev", *, before: str = "", **options: str) -> None:
        self.data = folder / "data"
        self.log = folder / "output"
        self.mode = mode
        self.before = before
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
        self.environment = kept | {f"NARROWS_{name.upper()}": value for name, value in options.items()}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.uds = str(self.data / "narrows.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Live:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)

    def start(self) -> None:
        program = f"{self.before}\nfrom narrows.cli.main import main\nmain()\n"
        arguments = [self.mode, "--port", str(self.port), "--data", str(self.data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments], stdout=log, stderr=log, env=self.environment
            )
        deadline = time.monotonic() + START_SECS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self.log.read_text()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", verify=False).status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; answers the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx2.request(method, self.url + path, json=body, headers=named, timeout=30, verify=False)

    def command(self, *arguments: str, **environment: str) -> str:
        """All that a command line of `narrows` prints."""
        words = ["-m", "narrows", *arguments]
        ended = run_forked(words, self.data.parent, self.environment | environment, "", START_SECS)
        return ended.stdout + ended.stderr

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)
