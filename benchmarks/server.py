"""Starts and stops the server that is measured, and reads its CPU and memory from the system."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "benchmarks" / ".work"
HOST = "127.0.0.1"
_TICKS = os.sysconf("SC_CLK_TCK")

#: What differs from the default settings, and is said so in the results: the bounds of one project.
ENVIRONMENT = {
    "NARROWS_WAITING_PER_PROJECT": "1000000000",
    "NARROWS_STREAMS_PER_PROJECT": "10000",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in a process of its own, on a fresh copy of a prepared database.

    `plain` starts `narrows serve` itself, without the benchmark's switches; `allow` is a target that may be
    called although it is not public.
    """

    def __init__(
        self, prepared: Path | None, *, one_per_commit: bool = False, plain: bool = False, allow: str = ""
    ) -> None:
        self.data = WORK / "data"
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        self.database = self.data / "narrows.db"
        if prepared is not None:
            copy(prepared, self.database)
        self.port = free_port()
        module = ["narrows"] if plain else ["benchmarks.serve"]
        switches = ["--one-per-commit"] if one_per_commit else []
        serve = ["serve", "--data", str(self.data), "--host", HOST, "--port", str(self.port)]
        self._command = [sys.executable, "-m", *module, *switches, *serve]
        self._environment = {**ENVIRONMENT, **({"NARROWS_ALLOW_TARGETS": allow} if allow else {})}
        self.started_secs = 0.0

    def __enter__(self) -> Server:
        self._log = (WORK / "server.log").open("w")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **self._environment},
        )
        self._wait_for_answer(began + 60)
        self.started_secs = time.perf_counter() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_for_answer(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended:\n{(WORK / 'server.log').read_text()[-2000:]}")
            try:
                with socket.create_connection((HOST, self.port), 1) as client:
                    client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if b" 200 " in client.recv(4096)[:20]:
                        return
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit("the server does not answer")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()

    def cpu_secs(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def copy(source: Path, target: Path) -> None:
    """A fresh copy, on the disk before the measurement begins, so that it disturbs nothing."""
    subprocess.run(["cp", "--reflink=auto", str(source), str(target)], check=True)
    descriptor = os.open(target, os.O_RDWR)
    os.fdatasync(descriptor)
    os.close(descriptor)
