"""Where an example is played as its README says it: a server, a worker, a shell at the top of the clone; and
the hand that kills the first two between any two acts."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from narrows.client import Client
from narrows.config import Config
from tests.cli.conftest import free_port
from tests.forked import Forked, run_forked

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Longer than the lease of a run whose worker was killed with it.
PATIENCE_SECS = 90
LOOK_SECS = 0.05
#: What is killed; whoever waits in a shell has to live through it.
KILLED = ("server", "worker")
#: What only a shell understands.
OF_SHELLS = frozenset("|&;<>()$`\n")


def readme(example: str) -> list[str]:
    """The commands of an example's README, block by block."""
    return [block.strip() for block in BLOCK.findall((ROOT / "examples" / example / "README.md").read_text())]


def words_of(line: str) -> list[str] | None:
    """What Python is given where a line is nothing but one of its programs with arguments."""
    if OF_SHELLS & set(line):
        return None
    program, *words = shlex.split(line)
    return {"narrows": ["-m", "narrows", *words], "python": words}.get(program)


class Scene:
    """One example on one database. `begin` starts what goes on, `shell` runs what ends.

    On SQLite each line is typed into a shell, which starts its programs from nothing. On PostgreSQL, and where what was
    killed begins again, the same words are forked: how a shell reads a line depends on neither.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self._is_typed = not config.is_shared
        port = free_port()
        database = f" --database {shlex.quote(config.database)}" if config.database else ""
        self._scripts()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
        self._environment = kept | {
            "PYTHONPATH": str(ROOT / "src"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "NARROWS_URL": f"http://localhost:{port}",
            "NARROWS_LOG_LEVEL": "warning",
        }
        self._begun: dict[str, tuple[str, subprocess.Popen[bytes] | Forked]] = {}
        self.client = Client(f"http://localhost:{port}", retry_secs=PATIENCE_SECS)
        self.begin("server", f"narrows dev --port {port} --data {config.data}{database}")
        self.client.live()

    def _scripts(self) -> None:
        folder = self.folder / "bin"
        folder.mkdir()
        for name, line in (("narrows", "-m narrows"), ("python", "")):
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {line} "$@"\n')
            script.chmod(0o755)

    # ---- what goes on ----------------------------------------------------------------------

    def begin(self, name: str, line: str, *, again: bool = False) -> None:
        words = None if self._is_typed and not again else words_of(line)
        with (self.folder / f"{name}.log").open("ab") as log:
            if words is None:
                process = self._typed(line, log)
            else:
                process = Forked(words, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        self._begun[name] = (line, process)

    def _typed(self, line: str, log: IO[bytes]) -> subprocess.Popen[bytes] | Forked:
        command = line if "&&" in line else f"exec {line}"
        return subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def begin_worker(self, line: str, jobs: int) -> None:
        """The worker, until it has made its jobs."""
        self.begin("worker", line)
        self.until(lambda: len(self.client.list_jobs().data) >= jobs)

    def leave(self, name: str) -> None:
        """It ends of its own will, as it would where somebody presses Ctrl-C."""
        _, process = self._begun.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECS)

    def kill_and_begin_again(self) -> None:
        killed = [name for name in KILLED if name in self._begun]
        for name in killed:
            self._begun[name][1].send_signal(signal.SIGKILL)
        for name in killed:
            line, process = self._begun[name]
            process.wait()
            self.begin(name, line, again=True)
        self.client.live()

    def ended(self, name: str) -> tuple[int, str]:
        """The exit code and the output of something that has begun, when it ends by itself."""
        _, process = self._begun.pop(name)
        return process.wait(PATIENCE_SECS), (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        for name in reversed(list(self._begun)):
            self.leave(name)
        self.client.close()

    # ---- what is done ----------------------------------------------------------------------

    def shell(self, line: str, exits: int = 0) -> str:
        words = None if self._is_typed else words_of(line)
        if words is not None:
            done = run_forked(words, ROOT, self._environment, "", PATIENCE_SECS)
        else:
            done = subprocess.run(
                ["bash", "-c", line], cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, check=False,
                capture_output=True, text=True, timeout=PATIENCE_SECS,
            )  # fmt: skip
        assert done.returncode == exits, (line, done.stdout, done.stderr, self._logs())
        return done.stdout

    def lines(self, line: str) -> list[Any]:
        """The JSON lines that a command prints."""
        return [json.loads(each) for each in self.shell(line).splitlines()]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECS
        while not holds():
            assert time.monotonic() < deadline, self._logs()
            time.sleep(LOOK_SECS)

    def _logs(self) -> dict[str, str]:
        return {log.stem: log.read_text()[-2_000:] for log in self.folder.glob("*.log")}

    # ---- how it stands ---------------------------------------------------------------------

    def until_said(self, name: str, words: str) -> None:
        """Until something that goes on has begun to speak."""
        self.until(lambda: words in (self.folder / f"{name}.log").read_text())

    def until_waiting(self, key: str) -> None:
        """Until somebody waits under the key."""
        self.until(lambda: any(each.event_key == key for each in self.client.list(status="waiting").data))

    def run_of(self, workflow: str) -> str:
        """The id of the workflow's newest run, as soon as there is one."""
        self.until(lambda: bool(self.client.list_workflow_runs(workflow=workflow).data))
        return self.client.list_workflow_runs(workflow=workflow).data[0].id

    def until_step(self, run_id: str, step_ref: str, status: str) -> None:
        self.until(lambda: self.statuses(run_id)[step_ref] == status)

    def until_run(self, run_id: str, status: str) -> None:
        self.until(lambda: self.client.get_workflow_run(run_id).status == status)

    def statuses(self, run_id: str) -> dict[str, str]:
        return {step.step_ref: step.status for step in self.client.workflow_run_steps(run_id).data}

    def outputs(self, run_id: str) -> dict[str, Any]:
        return {step.step_ref: step.output for step in self.client.workflow_run_steps(run_id).data}

    def facts(self, run_id: str) -> Counter[str]:
        """How often what happened to a run and its steps."""
        return Counter(line.kind for line in self.client.workflow_run_timeline(run_id, limit=100).data)


def once(facts: Counter[str], *kinds: str) -> bool:
    return all(facts[kind] == 1 for kind in kinds)
