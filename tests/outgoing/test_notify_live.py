"""`notify_url` on a real server with a real receiver: what arrives is verified by the standard's own package;
the server is killed between an attempt and its record; redirects lead nowhere."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.streams.live import Live

#: Seconds in place of hours, and a lease that ends soon.
HASTE = """
import narrows.core.deliveries as rules
import narrows.engine.deliver as deliver
rules.PAUSES_SECS = (1,) * 7
deliver.LEASE_US = 2_000_000
"""
PATIENCE_SECS = 30.0


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Keeps all that is POSTed. `answers` are (status, headers), used up in order; then it is 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                named = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, named, body))
                receiver.hold.wait(PATIENCE_SECS)
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                try:
                    self.send_response(status)
                    for name, value in {**headers, "content-length": "0"}.items():
                        self.send_header(name, value)
                    self.end_headers()
                except OSError:
                    return  # whoever called is dead

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def until(happened: Callable[[], Any]) -> Any:
    """What is waited for in the world outside, which has no clock to be moved."""
    deadline = time.monotonic() + PATIENCE_SECS
    while not (found := happened()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def deliveries(live: Live, **filters: str) -> list[Any]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    rows: list[Any] = live.ask("GET", f"/v1/deliveries?{query}").json()["data"]
    return rows


def with_status(live: Live, status: str, count: int) -> list[Any] | None:
    found = deliveries(live, status=status)
    return found if len(found) == count else None


def rotated(live: Live, overlap_secs: int = 0) -> str:
    answer = live.ask("POST", "/v1/projects/default/rotate-secret", {"overlap_secs": overlap_secs})
    secret: str = answer.json()["signing_secret"]
    return secret


def test_what_arrives_is_signed_as_the_standard_has_it_and_no_secret_is_told(
    tmp_path: Path, receiver: Receiver
) -> None:
    with Live(tmp_path) as live:
        first = rotated(live)
        second = rotated(live, overlap_secs=600)
        large = "ä" * 200_000
        wait = {
            "event_key": "k",
            "notify_url": f"{receiver.url}/hook?for=me",
            "request_payload": [1.50, None],
        }
        trigger = live.ask("POST", "/v1/events", wait).json()
        until(lambda: len(receiver.received) == 1)
        live.ask("POST", "/v1/events/k/send", {"payload": {"text": large, "nothing": None}})
        until(lambda: with_status(live, "delivered", 2))
        opening, settling = receiver.received
        for each in (opening, settling):
            for secret in (first, second):
                assert Webhook(secret).verify(each.body, each.headers) == each.json
            with pytest.raises(WebhookVerificationError):
                Webhook(second).verify(each.body + b" ", each.headers)
            assert each.path == "/hook?for=me"
            assert each.headers["content-type"] == "application/json"
        assert (opening.json["type"], opening.json["data"]["status"]) == ("trigger.opened", "waiting")
        assert (settling.json["type"], settling.json["data"]["status"]) == ("trigger.settled", "received")
        assert settling.json["data"]["response_payload"] == {"text": large, "nothing": None}
        assert b'"request_payload":[1.5' in opening.body
        assert live.ask("GET", f"/v1/triggers/{trigger['id']}").json()["notify_status"] == "delivered"
        third = rotated(live)
        live.ask("POST", "/v1/events", {"event_key": "after", "notify_url": receiver.url})
        until(lambda: len(receiver.received) == 3)
        last = receiver.received[2]
        assert Webhook(third).verify(last.body, last.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(second).verify(last.body, last.headers)
        assert live.stop() == 0
        said = live.log.read_text()
        kept = b"".join(path.read_bytes() for path in live.data.glob("*.db*"))
        for secret in (first, second, third):
            text = secret.removeprefix("whsec_")
            assert text not in said
            assert text.encode() not in kept


def test_killed_before_the_answer_came_it_is_sent_again_under_its_id(
    tmp_path: Path, receiver: Receiver
) -> None:
    with Live(tmp_path, before=HASTE) as live:
        secret = rotated(live)
        receiver.hold.clear()
        live.ask("POST", "/v1/events", {"event_key": "k", "notify_url": receiver.url})
        until(lambda: receiver.received)
        live.stop(signal.SIGKILL)
        receiver.hold.set()
        live.start()
        (delivery,) = until(lambda: with_status(live, "delivered", 1))
        first, second = receiver.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery["id"]
        assert first.body == second.body
        assert delivery["attempts"] == 2
        for each in (first, second):
            Webhook(secret).verify(each.body, each.headers)


def test_failures_redirects_and_410_and_a_retry(tmp_path: Path, receiver: Receiver) -> None:
    elsewhere = f"{receiver.url}/elsewhere"
    with Live(tmp_path, before=HASTE) as live:
        receiver.answers = [(500, {}), (302, {"location": elsewhere}), (503, {"retry-after": "2"}), (410, {})]
        live.ask("POST", "/v1/events", {"event_key": "k", "notify_url": receiver.url})
        (failed,) = until(lambda: with_status(live, "failed", 1))
        assert (failed["attempts"], failed["last_status"]) == (4, 410)
        assert {each.path for each in receiver.received} == {"/"}, "a redirect leads nowhere"
        assert len({each.body for each in receiver.received}) == 1
        assert live.ask("GET", "/v1/events/k").json()["notify_status"] == "failed"
        again = live.ask("POST", f"/v1/deliveries/{failed['id']}/retry")
        assert (again.status_code, again.json()["id"]) == (200, failed["id"])
        (delivered,) = until(lambda: with_status(live, "delivered", 1))
        assert (delivered["id"], delivered["attempts"]) == (failed["id"], 5)
        assert {each.headers["webhook-id"] for each in receiver.received} == {failed["id"]}


def test_where_nobody_listens_it_is_tried_again_later(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        with socket.create_server(("127.0.0.1", 0)) as closed_soon:
            port = closed_soon.getsockname()[1]
        opened = live.ask("POST", "/v1/events", {"event_key": "k", "notify_url": f"http://127.0.0.1:{port}/"})
        assert opened.status_code == 201
        (row,) = until(lambda: [each for each in deliveries(live) if each.get("error")])
        assert (row["status"], row["attempts"]) == ("pending", 1)
        assert "last_status" not in row
        assert row["next_attempt_at"] > row["created_at"]
