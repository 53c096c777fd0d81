"""Canary secrets go through everything that takes or makes one, then all that the server and the
command line have said is searched for them. Payloads may stand in the database, never in a log;
keys and tokens in neither.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.secrets import runs
from tests.streams.live import Live

PAYLOAD = "canary-payload-9f31c7"
HEADER = "canary-header-5d02ab"
#: Faults on the paths that have secrets in their hands: in an endpoint, in the writer, in a stream.
FAULTS = """
import narrows.api.render as render
import narrows.operations.events as events
from narrows.operations.access import CreateStreamToken

def fail(*arguments, **named):
    raise RuntimeError("planted")

events.DeleteHeldEvent.apply = fail
held = render.held
render.held = lambda event, **named: fail() if event.event_key == "fault" else held(event, **named)
events.SendToCallback.touches = lambda self: fail() if self.payload and "planted" in self.payload else [
    ("callback_urls_by_hash", self.token_hash)
]
touches = CreateStreamToken.touches
CreateStreamToken.touches = lambda self: fail() if self.event_key == "fault" else touches(self)
"""


class Story:
    """Everything with a secret in it, once; `secrets` collects what must not be found."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.secrets: dict[str, str] = {}
        self.errors: list[str] = []
        self.statuses: list[int] = []
        self.http = httpx2.Client(base_url=live.url, timeout=30)
        self.host = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=live.uds), base_url="http://localhost", timeout=30
        )

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "project", raw: bytes | None = None,
        by: httpx2.Client | None = None, **headers: str,
    ) -> Any:  # fmt: skip
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            named.setdefault("authorization", f"Bearer {self.secrets.get(key, key)}")
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        answer = (by or self.http).request(method, path, content=content, headers=named)
        self.statuses.append(answer.status_code)
        if answer.status_code >= 400:
            self.errors.append(answer.text)
        is_json = answer.headers.get("content-type") == "application/json"
        return answer.json() if is_json and answer.content else None

    def keys(self) -> None:
        made = self.ask("POST", "/v1/projects", {"id": "p"}, key="", by=self.host)
        self.secrets["first secret of the project"] = made["signing_secret"]
        for name, body in (("admin", {}), ("project", {"project_id": "p"}), ("over", {"project_id": "p"})):
            made = self.ask("POST", "/v1/api-keys", {"scopes": ["*"], **body}, key="", by=self.host)
            self.secrets[name] = made["key"]
            self.over_id = made["id"]
        self.secrets["rotated"] = self.ask("POST", f"/v1/api-keys/{self.over_id}/rotate", {}, key="admin")[
            "key"
        ]
        self.ask("DELETE", f"/v1/api-keys/{self.over_id}", key="admin")
        self.ask("GET", "/v1/events", key="over")

    def payloads(self) -> None:
        payload = {"secret": PAYLOAD}
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        self.ask("POST", "/v1/events", {"event_key": "a", "request_payload": payload})
        self.ask("POST", "/v1/events/a/send", {"payload": payload}, idempotency_key=HEADER)
        self.ask("POST", "/v1/events/a/send", {"payload": PAYLOAD})
        self.ask("POST", "/v1/events", {"event_key": "s", "expected_schema": schema})
        self.ask("POST", "/v1/events/s/send", {"payload": {"n": PAYLOAD}})
        self.ask("POST", "/v1/events/prefix/s/send", {"payload": {"n": PAYLOAD}})
        self.ask("POST", "/v1/events/none/send", {"payload": payload})
        self.ask("POST", "/v1/events/h/send", {"payload": payload, "hold_secs": 60, "event_id": "1"})
        self.ask("POST", "/v1/events/batch", {"events": [{"event_key": "a", "payload": PAYLOAD}]})
        for raw in (
            b'{"payload": "%s' % PAYLOAD.encode(),
            b'{"payload":"\xff%s"}' % PAYLOAD.encode(),
            b"\xff",
        ):
            self.ask("POST", "/v1/events/a/send", raw=raw)
        self.ask("POST", "/v1/events/a/send", {"payload": PAYLOAD, "hold_secs": PAYLOAD})
        self.ask("POST", "/v1/events", {"event_key": "t", "expected_schema": {"type": PAYLOAD}})

    def tokens(self) -> None:
        opened = self.ask("POST", "/v1/events", {"event_key": "c", "callback_url": True})
        self.secrets["callback"] = opened["callback_url"].rpartition("/")[2]
        more = self.ask("POST", f"/v1/triggers/{opened['id']}/callback-urls", {})
        self.secrets["callback 2"] = more["callback_url"].rpartition("/")[2]
        for name in ("stream", "stream 2"):
            self.secrets[name] = self.ask("POST", "/v1/stream-tokens", {"event_key": "c"})["token"]
        for method in ("GET", "HEAD"):
            self.ask(method, f"/h/{self.secrets['callback']}", key="")
        self.ask("POST", f"/h/{self.secrets['callback 2']}", PAYLOAD, key=HEADER)
        self.ask("POST", f"/h/{self.secrets['callback']}", {"again": PAYLOAD}, key="")
        self.ask("GET", f"/v1/events/c/stream?token={self.secrets['stream']}", key="")
        self.ask("GET", f"/v1/events/other/stream?token={self.secrets['stream 2']}", key="")

    def odd_places(self) -> None:
        for secret in list(self.secrets.values()):
            for path in (
                f"/H/{secret}", f"/h/{secret}/x", f"/h//{secret}", f"/v1/h/{secret}", f"/{secret}", f"/v1/{secret}/x",
                "/" + "x" * 180 + f"/{secret}", "/x/" + quote(secret, safe="").replace("_", "%5F"),
                f"/x/{secret[:20]}%{ord(secret[20]):02X}{secret[21:]}",
                f"/h/{secret}.json", f"/readyz/{secret}", f"/metrics?token={secret}", f"/livez?{secret}",
                f"/v1/events?cursor={secret}", f"/v1/events/stats?api_key={secret}", f"/v1/triggers/{secret}",
                f"/v1/held-events?token={secret}", f"/v1/events/k/stream?token={secret}x",
            ):  # fmt: skip
                self.ask("GET", path)
                self.ask("POST", path, {}, key="")
            self.ask("PUT", f"/h/{secret}")
            self.ask("GET", "/livez", key="", authorization=f"Basic {secret}", cookie=f"session={secret}")
            self.ask("GET", "/v1/events", key=secret[:-1] + "x")
            self.ask("GET", "/v1/events", key="", x_api_key=secret, referer=f"http://x/?token={secret}")
            self.ask("GET", "/v1/events", x_request_id=secret, user_agent=secret)
            self.ask("GET", "/v1/events", key="admin", x_project_id=secret)
        for name in ("project", "admin"):
            key = self.secrets[name]
            for path in (
                f"/v1/events/{key}",
                f"/v1/events/{key}/send",
                f"/v1/events/prefix/{key}/send",
                f"/v1/events/a/{key}",
            ):
                self.ask("POST", path, {})
                self.ask("GET", path)
            self.ask("POST", f"/v1/events/{quote(key).replace('n', '%6E')}/send", {"payload": 1})

    def faults(self) -> None:
        opened = self.ask("POST", "/v1/events", {"event_key": "f", "callback_url": True})
        self.secrets["callback 3"] = token = opened["callback_url"].rpartition("/")[2]
        before = len(self.statuses)
        self.ask("POST", "/v1/events/fault/send", {"payload": PAYLOAD, "hold_secs": 60})
        self.ask("POST", f"/h/{token}", f"planted {PAYLOAD}", key="")
        self.ask("POST", "/v1/stream-tokens", {"event_key": "fault"})
        self.ask("DELETE", "/v1/held-events/x")
        assert self.statuses[before:] == [500] * 4
        with self.live.connect() as connection:
            connection.sendall(f"GET /{token} {PAYLOAD}\r\nauthorization: {HEADER}\r\n\r\n".encode())
            assert b"400" in connection.recv(1000)

    def metrics(self) -> str:
        answer = self.http.get("/metrics", headers={"authorization": f"Bearer {self.secrets['admin']}"})
        assert answer.status_code == 200
        return answer.text

    def hearsay(self) -> str:
        """What is told of events that settled nothing: their keys and reasons, never their payloads."""
        while not (unmatched := self.ask("GET", "/v1/unmatched-events?event_key=s")["data"]):
            time.sleep(0.05)  # written by a role, a moment after the event
        return json.dumps([unmatched, self.ask("GET", "/v1/explain?event_key=s")])


def spellings(secret: str) -> set[str]:
    """The secret as it is, encoded, and most of it where something has cut it."""
    return {
        secret,
        quote(secret, safe=""),
        secret[:40],
        secret[-40:],
        base64.b64encode(secret.encode()).decode()[:-4],
    }


def leaks(said: dict[str, str], secrets: dict[str, str]) -> list[str]:
    return [
        f"{name} in {where}: {text[max(0, text.find(spelling) - 160) :][:360]}"
        for where, text in said.items()
        for name, secret in secrets.items()
        for spelling in spellings(secret)
        if spelling in text
    ]


@pytest.mark.parametrize("log_format", ["logfmt", "json", "human"])
def test_no_secret_stands_in_any_output(tmp_path: Path, log_format: str) -> None:
    faults = FAULTS + runs.FAULTS
    options = {"log_level": "debug", "log_format": log_format, "allow_targets": "127.0.0.1"}
    with Live(tmp_path, "serve", before=faults, **options) as live:
        story = Story(live)
        story.keys()
        story.payloads()
        story.tokens()
        runs.tell(story, PAYLOAD)
        story.odd_places()
        story.faults()
        story.host.close()
        key = story.secrets["admin"]
        asked = {"NARROWS_URL": live.url, "NARROWS_API_KEY": key, "NARROWS_PROJECT_ID": "p"}
        said = {
            "metrics": story.metrics(),
            "hearsay": story.hearsay(),
            "doctor": live.command("doctor", "--data", str(live.data), **asked),
            "a command that fails": live.command("events", "get", "nothing-here", **asked),
            "a list of keys": live.command("keys", "list", "--data", str(live.data)),
            "verify": live.command("verify", "--data", str(live.data)),
        }
        story.http.close()
        assert live.stop(signal.SIGTERM) == 0
    said["log"] = live.log.read_text()
    refusals = {"refusals": "\n".join(story.errors)}
    files = [path for path in live.data.rglob("*") if path.is_file()]
    stored = {path.name: path.read_bytes().decode("latin-1") for path in files}
    payloads = {"payload": PAYLOAD, "header": HEADER}
    assert leaks(said, story.secrets | payloads) == []
    assert leaks(stored, story.secrets | {"header": HEADER}) == []
    assert leaks(refusals, payloads | {"admin": key}) == []
    # What is searched must be what was written: the faults are there, and so are the requests.
    assert len(re.findall("planted", said["log"])) >= 5
    assert said["log"].count("/v1/events") > 10
    assert any(PAYLOAD in text for text in stored.values())
    assert story.statuses.count(401) > 20
    assert 200 in story.statuses
    assert 422 in story.statuses
