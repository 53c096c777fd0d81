"""The handler and the worker of the README, as they stand there, across SIGKILL of everything."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from narrows.client import Client
from tests.test_docs import ROOT, Machine

BLOCK = re.compile(r"^<!-- (?P<name>[\w.]+) -->\n```\w+\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_SECS = 30


def blocks() -> dict[str, str]:
    return dict(BLOCK.findall((ROOT / "README.md").read_text()))


class Stage(Machine):
    """The machine of the documents, with the README's files, whose processes are killed and started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.handler_port = self._free_port()
        self.started: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}
        self.started["server"] = (f"narrows dev --port {self.port}", self.server)
        self._script(folder / "bin" / "flask", f'exec {sys.executable} -m flask "$@"')
        for name in ("handler.py", "worker.py"):
            (folder / name).write_text(blocks()[name])

    def begin(self, name: str, line: str) -> None:
        self.started[name] = (line, self.start(line, f"{name}.log"))

    def kill_and_begin_again(self) -> None:
        """All at once, and in the order in which they were started."""
        for _, process in self.started.values():
            process.send_signal(signal.SIGKILL)
        for _, process in self.started.values():
            process.wait()
        for name, (line, _) in list(self.started.items()):
            self.begin(name, line)

    def end(self) -> None:
        for _, process in reversed(self.started.values()):
            process.terminate()
            process.wait(PATIENCE_SECS)

    def job(self, line: str) -> str:
        return line.replace("localhost:9000", f"localhost:{self.handler_port}").replace(
            "--port 9000", f"--port {self.handler_port}"
        )

    def shell(self, line: str) -> str:
        return subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, check=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE_SECS,
        ).stdout  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.end()


def until(what: Callable[[], bool], stage: Stage) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not what():
        assert time.monotonic() < deadline, [log.read_text()[-2000:] for log in stage.folder.glob("*.log")]
        time.sleep(0.05)


def goes_on_with_the_event(stage: Stage, job: str) -> None:
    with Client(f"http://localhost:{stage.port}", retry_secs=PATIENCE_SECS) as client:
        run = client.trigger_job(job, payload={"order": 7})
        until(lambda: client.get_run(run.id).status == "waiting", stage)
        stage.kill_and_begin_again()
        client.live()
        stage.shell('narrows events send approval:7 --payload \'{"by": "ada"}\'')
        result = stage.shell(f"narrows runs watch {run.id} --result")
        assert json.loads(result) == {"approved_by": "ada"}
        kinds = [event.kind for event in client.run_events(run.id).data]
        assert kinds.count("run.resumed") == kinds.count("run.completed") == 1


def test_the_handler_goes_on_with_the_event_after_everything_was_killed(stage: Stage) -> None:
    create, handler = blocks()["job.sh"].splitlines()
    with Client(f"http://localhost:{stage.port}", retry_secs=PATIENCE_SECS) as client:
        client.live()
    stage.shell(stage.job(create))
    stage.environment["SIGNING_SECRET"] = (stage.folder / "secret").read_text().strip()
    stage.begin("handler", stage.job(handler.partition(" ")[2].partition(" ")[2]))
    goes_on_with_the_event(stage, "release")


def test_the_worker_goes_on_with_the_event_after_everything_was_killed(stage: Stage) -> None:
    with Client(f"http://localhost:{stage.port}", retry_secs=PATIENCE_SECS) as client:
        client.live()
    stage.shell("narrows jobs create release-here")
    stage.begin("worker", f"{sys.executable} worker.py")
    goes_on_with_the_event(stage, "release-here")


def test_the_handler_is_called_and_answers_within_ten_lines() -> None:
    lines = [line for line in blocks()["handler.py"].splitlines() if line.strip()]
    body = lines[lines.index('@app.post("/release")') :]
    assert len(body) <= 10
