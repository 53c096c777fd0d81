"""The processes that execute the runs of `run_campaign.py`, and are killed as the server is:
`python -m tests.kill.executors worker URL` and `... endpoint URL PORT`. Both wait for the run's event
and end with its payload. Both keep the token of each dispatch in the folder they run in, so that the
campaign can try it again when the run has long gone on. `... steps URL` does the jobs of `workflow_campaign.py`."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from narrows.client import Client, RunClient, Worker, WorkerRun
from narrows.errors import NarrowsError

WORKED, PUSHED = "worked", "pushed"
TOKENS = "tokens"
PREPARE, FINISH = "prepare-it", "finish-it"
EFFECTS = "effects"


def keep(run_id: str, run_token: str) -> None:
    with Path(TOKENS).open("a") as tokens:
        tokens.write(f"{run_id} {run_token}\n")


def work(run: WorkerRun) -> Any:
    keep(run.id, run.plane.run_token)
    if run.event is None:
        run.wait_for_event(f"run:{run.payload['n']}", timeout_secs=600)
    return run.event.response_payload


def do_step(run: WorkerRun) -> Any:
    """What a job of a workflow does is a line in a file, which is there before it answers."""
    workflow_run_id, _, step_ref = (run.record.workflow_step_run_id or "").partition(":")
    with Path(EFFECTS).open("a") as effects:
        effects.write(
            json.dumps([workflow_run_id, step_ref, run.payload["n"], run.payload.get("answer")]) + "\n"
        )
    return {"done": step_ref, "n": run.payload["n"]}


class Endpoint(BaseHTTPRequestHandler):
    client: ClassVar[Client]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        run = RunClient.from_headers(self.client, self.headers)
        keep(run.id, run.plane.run_token)
        try:
            event = run.get_checkpoint().event
            if event is None:
                run.wait_for_event(f"run:{run.payload()['n']}", timeout_secs=600)
            else:
                run.complete(event.response_payload)
        except NarrowsError:  # it is another dispatch's by now, which ignores this, or is to be tried again
            return self.answer(503)
        return self.answer(202)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the campaign counts."""


def main() -> None:
    kind, url, *rest = sys.argv[1:]
    with Client(url, retry_secs=60) as client:
        if kind == "worker":
            Worker(client, {WORKED: work}).run()
        elif kind == "steps":
            Worker(client, {PREPARE: do_step, FINISH: do_step}).run()
        else:
            Endpoint.client = client
            ThreadingHTTPServer(("127.0.0.1", int(rest[0])), Endpoint).serve_forever()


if __name__ == "__main__":
    main()
