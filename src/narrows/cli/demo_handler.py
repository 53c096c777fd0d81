"""The handler of the second story of `narrows demo`, a process of its own: what somebody writes who has
a job. `python -m narrows.cli.demo_handler PORT SECRET_FILE` listens for dispatches, checks their
signature, sets the run down until the pull request is closed, and completes it with the event.

It keeps nothing between two requests: what it knows of a run it is told by the request and by the
run's checkpoint. For the demo it says a line of JSON on stdout for everything that it does.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from narrows.client import Client, RunClient, verify_signature
from narrows.errors import NarrowsError, Unauthenticated


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def handle(run: RunClient, wanted: dict[str, Any]) -> None:
    """One dispatch of a run: the first one asks to wait, the one after the event completes."""
    event = run.get_checkpoint().event
    if event is None:
        key = f"github:pull_request:{wanted['repository']}#{wanted['number']}:closed"
        wait = run.wait_for_event(key, timeout_secs=600, callback_url=True)
        say(did="waits", run=run.id, event_key=key, callback_url=wait.callback_url)
        return
    closed = event.response_payload
    result = {
        "pull_request": closed["pull_request"]["title"],
        "action": closed["action"],
        "head": closed["pull_request"]["head"]["sha"],
    }
    run.complete(result)
    say(did="completes", run=run.id, resumed_by=run.resume_trigger)


class Requests(BaseHTTPRequestHandler):
    client: Client
    secret: str

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            verify_signature(self.secret, dict(self.headers.items()), body)
            handle(RunClient.from_headers(self.client, self.headers.items()), json.loads(body))
        except Unauthenticated as error:
            say(did="refuses", error=error.message)
            self.answer(401)
        except NarrowsError as error:
            say(did="fails", error=error.message)
            self.answer(503)
        else:
            # The run is set down or ended by now; what is answered here no longer counts.
            self.answer(200)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: `say` tells what happens."""


def main(port: int, secret_file: Path) -> None:
    Requests.client = Client()  # NARROWS_URL
    Requests.secret = secret_file.read_text().strip()
    server = ThreadingHTTPServer(("127.0.0.1", port), Requests)
    say(did="listens", port=port)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
