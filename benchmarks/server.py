"""Starts and stops the server that is measured, one node or several, and reads its CPU and memory from the
system."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from benchmarks.databases import Copy
from benchmarks.places import HOST, ROOT, WORK

_TICKS = os.sysconf("SC_CLK_TCK")

#: What differs from the default settings, and is said so in the results: the bounds of one project.
ENVIRONMENT = {
    "NARROWS_WAITING_PER_PROJECT": "1000000000",
    "NARROWS_STREAMS_PER_PROJECT": "10000",
}
#: All nodes have the same, those of the next run too. It opens nothing but the benchmark's own databases.
SECRET_KEY = base64.b64encode(b"only for databases of benchmarks").decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Node:
    """One process of the server, of this checkout or another."""

    def __init__(
        self, number: int, command: list[str], environment: dict[str, str], checkout: Path = ROOT
    ) -> None:
        self._checkout = checkout
        self.data = WORK / f"node-{number}"
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        self.port = free_port()
        self._log_path = WORK / f"server-{number}.log"
        where = ["--data", str(self.data), "--host", HOST, "--port", str(self.port)]
        self._command = [*command, *where]
        self._environment = {**os.environ, **environment, "NARROWS_SECRET_KEY": SECRET_KEY}

    def start(self) -> float:
        """Start it and wait for its first answer; how many seconds that took."""
        self._log = self._log_path.open("w")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            self._command, cwd=self._checkout, stdout=self._log, stderr=self._log, env=self._environment
        )
        self._wait_for_answer(began + 60)
        return time.perf_counter() - began

    def _wait_for_answer(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended:\n{self._log_path.read_text()[-2000:]}")
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


class Server:
    """A server in processes of its own, on a fresh copy of a prepared database.

    `plain` starts `narrows serve` itself, without the benchmark's switches; `allow` is a target that may be
    called although it is not public; `checkout` is what is served, with its own `.venv`, and `first` the
    number of its first node, where several servers run side by side.
    """

    def __init__(
        self,
        copy: Copy,
        *,
        nodes: int = 1,
        one_per_commit: bool = False,
        plain: bool = False,
        allow: str = "",
        checkout: Path = ROOT,
        first: int = 0,
    ) -> None:
        self.copy = copy
        module = ["narrows"] if plain else ["benchmarks.serve"]
        switches = ["--one-per-commit"] if one_per_commit else []
        python = sys.executable if checkout == ROOT else str(checkout / ".venv/bin/python")
        command = [python, "-m", *module, *switches, "serve", "--database", copy.url]
        environment = {**ENVIRONMENT, **({"NARROWS_ALLOW_TARGETS": allow} if allow else {})}
        self.nodes = [Node(number, command, environment, checkout) for number in range(first, first + nodes)]
        self.started_secs = 0.0

    @property
    def port(self) -> int:
        """The first node's."""
        return self.nodes[0].port

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def __enter__(self) -> Server:
        try:
            self.started_secs = max([node.start() for node in self.nodes])
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            if hasattr(node, "process"):
                node.stop()

    def cpu_secs(self) -> float:
        """Of all nodes."""
        return sum(node.cpu_secs() for node in self.nodes)

    def memory_bytes(self) -> int:
        """Of the first node."""
        return self.nodes[0].memory_bytes()
