"""Real processes: the command as a person types it, and servers for it to speak to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_forked

SOURCES = Path(__file__).parents[2] / "src"
COMMAND = [sys.executable, "-m", "narrows"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
    return kept | {"PYTHONPATH": str(SOURCES), "COLUMNS": "200", "TERM": "dumb", **more}


@dataclass
class Shell:
    """Runs the command in a folder of its own, with an environment of its own."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *args: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        whole = environment(**(self.variables | variables))
        if not any(name.startswith("PYTHON") for name in variables):
            return run_forked(["-m", "narrows", *args], self.folder, whole, stdin, timeout=60)
        return subprocess.run(  # what the interpreter reads when it starts
            [*COMMAND, *args],
            cwd=self.folder,
            env=whole,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # A test run in the background ignores SIGINT, and its children would too.
            ["env", "--default-signal=INT", *COMMAND, *args],
            cwd=self.folder,
            env=environment(**self.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


@dataclass
class Server:
    """A running `narrows dev`."""

    process: subprocess.Popen[str]
    url: str
    data: Path

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_until(stream: Any, wanted: str) -> str:
    """Lines of a process's output up to and with the one that holds `wanted`."""
    seen = []
    for line in stream:
        seen.append(line)
        if wanted in line:
            return "".join(seen)
    raise AssertionError(f"the output ended without {wanted!r}:\n{''.join(seen)}")


def start_dev(shell: Shell, data: Path, port: int | None = None) -> Server:
    port = port or free_port()
    log_level = {"NARROWS_LOG_LEVEL": "warning"}
    process = Shell(shell.folder, shell.variables | log_level).start(
        "dev", "--port", str(port), "--data", str(data)
    )
    read_until(process.stderr, "curl http")
    return Server(process, f"http://localhost:{port}", data)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell without a server."""
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    running = start_dev(Shell(folder), folder / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture
def online(server: Server, tmp_path: Path) -> Shell:
    """A shell whose commands reach the server by its URL."""
    return Shell(tmp_path, {"NARROWS_URL": server.url})


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Iterator[str]:
    """The address of an endpoint that does what the payload of its run says."""
    from tests.cli.runs import endpoint_for

    with endpoint_for(server.url) as url:
        yield url
