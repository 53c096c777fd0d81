"""What the tests of jobs and runs share: an endpoint that does what the payload says, and short ways to
make a job, start a run and look at it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, ClassVar

from narrows.client import Client, RunClient
from tests.cli.conftest import Shell

NUMBERS = count(1)


class Endpoint(BaseHTTPRequestHandler):
    """Answers what the run's payload says: a status, a body, lines to log first, a key to wait for."""

    url: ClassVar[str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Client(self.url) as client:
            run = RunClient.from_headers(client, self.headers.items())
            for line in asked.get("log", []):
                run.log(line, level="warning")
            if "wait" in asked and run.resume_trigger is None:
                run.wait_for_event(asked["wait"], timeout_secs=asked.get("timeout_secs", 600))
        body = asked.get("answer", "").encode()
        self.send_response(asked.get("status", 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


@contextmanager
def endpoint_for(url: str) -> Iterator[str]:
    """The address of an endpoint whose server of runs is at `url`."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Endpoint,), {"url": url}))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/"
    running.shutdown()
    running.server_close()


def new_slug() -> str:
    return f"job-{next(NUMBERS)}"


def make_job(shell: Shell, *more: str) -> str:
    slug = new_slug()
    done = shell.run("jobs", "create", slug, *more)
    assert done.returncode == 0, done.stderr
    return slug


def found(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start_run(shell: Shell, job: str, *more: str) -> str:
    run_id: str = found(shell.run("jobs", "trigger", job, *more))["id"]
    return run_id


def first_run(shell: Shell, slug: str) -> str:
    """The id of the job's only run, as soon as there is one."""
    for _ in range(100):
        line = shell.run("runs", "list", "--job", slug).stdout
        if line:
            run_id: str = json.loads(line)["id"]
            return run_id
    raise AssertionError(f"there is no run of {slug}")


def until_status(shell: Shell, run_id: str, status: str) -> None:
    with Client(shell.variables["NARROWS_URL"]) as client:
        for _ in range(30):
            if client.get_run(run_id).status == status:
                return
            client.wait_for_run_once(run_id, timeout_secs=1)
    raise AssertionError(f"the run {run_id} is not {status}")
