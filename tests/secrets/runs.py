"""The part of the canaries' story that jobs and runs tell: signing secrets, run tokens and callback URLs, by a
worker, and by a real endpoint that the server calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.secrets.test_canaries import Story

#: A fault behind the run plane, with the result in its hands.
FAULTS = """
import narrows.operations.run_plane as run_plane

complete = run_plane.CompleteRun.end
run_plane.CompleteRun.end = lambda self, tx, run: (
    fail() if "planted" in (self.result or "") else complete(self, tx, run)
)
"""


class Endpoint(BaseHTTPRequestHandler):
    """Fails once, with the payload in its answer, then answers with the payload."""

    tokens: list[str]
    payload = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if token := self.headers.get("x-run-token"):
            self.tokens.append(token)
        self.send_response(500 if len(self.tokens) == 1 else 200)
        self.end_headers()
        self.wfile.write(f'"{self.payload}"'.encode())

    def log_message(self, *args: Any) -> None:
        return


@contextmanager
def endpoint(payload: str) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the run tokens that it was given."""

    class Made(Endpoint):
        pass

    Made.tokens, Made.payload = [], payload
    server = ThreadingHTTPServer(("127.0.0.1", 0), Made)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/x", Made.tokens
    finally:
        server.shutdown()
        server.server_close()


def tell(story: Story, payload: str) -> None:
    with endpoint(payload) as (url, tokens):
        _secrets(story, url)
        run = story.ask("POST", "/v1/jobs/push/trigger", {"payload": payload})
        _work(story, url, payload)
        while (shown := story.ask("GET", f"/v1/runs/{run['id']}"))["status"] != "completed":
            time.sleep(0.05)
        assert shown["result"] == payload
        story.secrets |= {f"push token {number}": token for number, token in enumerate(tokens)}
        assert len(tokens) == 2


def _secrets(story: Story, url: str) -> None:
    for slug, more in (("push", {"endpoint_url": url}), ("pull", {})):
        made = story.ask("POST", "/v1/jobs", {"slug": slug, **more})
        story.secrets[f"secret of {slug}"] = made["signing_secret"]
        rotated = story.ask("POST", f"/v1/jobs/{slug}/rotate-secret", {})
        story.secrets[f"new secret of {slug}"] = rotated["signing_secret"]
    rotated = story.ask("POST", "/v1/projects/p/rotate-secret", {})
    story.secrets["secret of the project"] = rotated["signing_secret"]


def _work(story: Story, url: str, payload: str) -> None:
    """A worker's run, with what it is refused."""
    story.ask("POST", "/v1/jobs/pull/trigger", {"payload": payload})
    plane, token = _claim(story, "first")
    for name, body in (
        ("checkpoint", {"state": payload}), ("log", {"message": payload}), ("progress", {"message": payload}),
        ("complete", {"result": f"planted {payload}"}), ("fail", {"error": payload, "retry": payload}),
    ):  # fmt: skip
        story.ask("POST", f"{plane}/{name}", body, key=token)
    story.ask("POST", f"{plane}/complete", raw=b'{"result": "%s' % payload.encode(), key=token)
    wait = {"event_key": "run", "callback_url": True, "notify_url": url, "request_payload": payload}
    granted = story.ask("POST", f"{plane}/wait-for-event", wait, key=token)
    story.secrets["callback of the run"] = secret = granted["callback_url"].rpartition("/")[2]
    story.ask("POST", f"/h/{secret}", {"n": payload}, key="")
    story.ask("POST", f"{plane}/complete", {"result": payload}, key=token)
    plane, token = _claim(story, "second")
    story.ask("GET", f"{plane}/checkpoint", key=token)
    story.ask("POST", f"{plane}/fail", {"error": payload, "retry": False}, key=token)
    story.ask("POST", f"{plane}/heartbeat", key=token)


def _claim(story: Story, name: str) -> tuple[str, str]:
    """The run plane of a dispatch, and under which name its token is kept."""
    (claimed,) = story.ask("POST", "/v1/workers/claim", {"jobs": ["pull"], "wait_secs": 20})["runs"]
    story.secrets[f"{name} token"] = claimed["run_token"]
    return f"/sdk/v1/runs/{claimed['run']['id']}", f"{name} token"
