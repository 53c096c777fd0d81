"""Streams over real sockets: frames, reconnects, ends, limits, readers that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from narrows.config import Config
from narrows.operations.base import HOST
from narrows.operations.events import SendEvent
from narrows.operations.reads import GetTriggerById
from narrows.storage.committed import Committed
from tests.api.harness import Server


@pytest.fixture
def server(config: Config) -> Iterator[Server]:
    with Server(config) as running:
        yield running


def ask(server: Server, method: str, path: str, body: Any = None) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    return server.ask(f"{method} {path} HTTP/1.1", content).json


class Reader:
    """One stream, read as text, chunk sizes taken out."""

    def __init__(self, server: Server, path: str, **headers: str) -> None:
        self.connection = server.connect()
        lines = [f"GET {path} HTTP/1.1", "host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        self.file = self.connection.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name] = value

    def chunk(self) -> str:
        """The next frame or comment; "" where the stream has ended."""
        size = int(self.file.readline() or b"0", 16)
        return self.file.read(size + 2)[:-2].decode()

    def frame(self) -> tuple[str, Any]:
        event, position, data, *rest = self.chunk().split("\n")
        assert (event, rest) == ("event: status", ["", ""])
        return position.removeprefix("id: "), json.loads(data.removeprefix("data: "))

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.connection.close()


def test_the_first_frame_comes_at_once_and_one_for_every_change(server: Server) -> None:
    made = ask(server, "POST", "/v1/events", {"event_key": "k"})
    with Reader(server, "/v1/events/k/stream") as reader:
        assert reader.status == 200
        assert reader.headers["content-type"] == "text/event-stream"
        assert reader.headers["cache-control"] == "no-store"
        assert reader.headers["x-accel-buffering"] == "no"
        assert reader.headers["x-api-version"] == "v1"
        position, trigger = reader.frame()
        assert position == f"{made['id']}.1"
        assert trigger == made
        ask(server, "POST", f"/v1/triggers/{made['id']}/extend", {"timeout_secs": 60})
        assert reader.frame()[0] == f"{made['id']}.2"
        sent = ask(server, "POST", "/v1/events/k/send", {"payload": {"n": 1}})
        position, trigger = reader.frame()
        assert position == f"{made['id']}.3"
        assert trigger == sent
        assert reader.chunk() == ""


def test_last_event_id_brings_only_what_is_newer_and_204_at_the_end(server: Server) -> None:
    first = ask(server, "POST", "/v1/events", {"event_key": "k"})["id"]
    with Reader(server, "/v1/events/k/stream", last_event_id=f"{first}.1") as reader:
        assert reader.chunk().startswith(": ")
        ask(server, "POST", "/v1/events/k/send")
        assert reader.frame()[0] == f"{first}.2"
    ask(server, "POST", "/v1/events", {"event_key": "k"})
    for position, status in ((f"{first}.2", 204), (f"{first}.1", 200), (f"{first}.99", 200)):
        with Reader(server, "/v1/events/k/stream", last_event_id=position) as reader:
            assert reader.status == status
            if status == 200:
                assert reader.frame()[0] == f"{first}.2"
                assert reader.chunk() == ""


def test_a_canceled_wait_ends_its_stream(server: Server) -> None:
    ask(server, "POST", "/v1/events", {"event_key": "k"})
    with Reader(server, "/v1/events/k/stream") as reader:
        reader.frame()
        ask(server, "DELETE", "/v1/events/k")
        assert reader.frame()[1]["status"] == "canceled"
        assert reader.chunk() == ""


def test_a_stream_token_opens_its_own_trigger_only(server: Server) -> None:
    made = ask(server, "POST", "/v1/events", {"event_key": "k"})
    ask(server, "POST", "/v1/events", {"event_key": "other"})
    token = ask(server, "POST", "/v1/stream-tokens", {"event_key": "k"})["token"]
    for path in ("/v1/events/k/stream", f"/v1/triggers/{made['id']}/stream"):
        with Reader(server, f"{path}?token={token}") as reader:
            assert reader.frame()[1]["id"] == made["id"]
    for path, status in (("/v1/events/other/stream", 404), ("/v1/events/k/stream?token=x", 401)):
        separator = "&" if "?" in path else "?"
        with Reader(server, f"{path}{separator}token={token}" if status == 404 else path) as reader:
            assert reader.status == status


def test_a_revoked_key_cuts_its_streams(server: Server) -> None:
    ask(server, "POST", "/v1/events", {"event_key": "k"})
    made = ask(server, "POST", "/v1/api-keys", {"scopes": ["events:read"]})
    with Reader(server, "/v1/events/k/stream", authorization=f"Bearer {made['key']}") as reader:
        reader.frame()
        ask(server, "DELETE", f"/v1/api-keys/{made['id']}")
        assert reader.chunk() == ""


def test_a_comment_line_comes_when_its_slot_ticks(server: Server) -> None:
    ask(server, "POST", "/v1/events", {"event_key": "k"})
    with Reader(server, "/v1/events/k/stream") as reader:
        reader.frame()
        for _ in range(server.api.settings.stream_comment_secs):
            server.loop.call_soon_threadsafe(server.api.streams.tick)
        assert reader.chunk() == ": still here\n\n"


def test_streams_are_told_when_the_server_stops(config: Config) -> None:
    with Server(config) as server:
        ask(server, "POST", "/v1/events", {"event_key": "k"})
        reader = Reader(server, "/v1/events/k/stream")
        reader.frame()
    with reader:
        assert reader.chunk().startswith(": the server is stopping")
        assert reader.chunk() == ""


def test_too_many_streams_of_a_project_are_429(config: Config) -> None:
    with Server(config, max_streams_per_project=1) as server:
        made = ask(server, "POST", "/v1/events", {"event_key": "k"})
        with Reader(server, "/v1/events/k/stream") as reader:
            reader.frame()
            for path in ("/v1/events/k/stream", f"/v1/triggers/{made['id']}/wait"):
                answer = server.ask(f"GET {path} HTTP/1.1")
                assert (answer.status, answer.json["code"]) == (429, "limit_reached")
                assert answer.headers["retry-after"]


def test_a_reader_that_does_not_read_is_cut_off(config: Config) -> None:
    with Server(config, stream_stall_secs=0) as server:
        large = {"event_key": "k", "request_payload": "x" * 1_000_000}
        made = ask(server, "POST", "/v1/events", large)
        frozen = socket.socket()
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        frozen.connect(("127.0.0.1", server.port))
        frozen.sendall(b"GET /v1/events/k/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        with frozen, Reader(server, "/v1/events/k/stream") as reader:
            reader.frame()
            version = 1
            while server.api.streams.cut_count == 0 and version < 60:
                version += 1
                ask(server, "POST", f"/v1/triggers/{made['id']}/extend", {"timeout_secs": 60 + version})
                reader.frame()
                server.loop.call_soon_threadsafe(server.api.streams.tick)
            assert server.api.streams.cut_count == 1
            ask(server, "POST", "/v1/events/k/send")
            # Others are unharmed: the reader beside it goes on to the end.
            position, trigger = reader.frame()
            assert (position, trigger["status"]) == (f"{made['id']}.{version + 1}", "received")
            assert reader.chunk() == ""
            assert not rest_of(frozen).endswith(b"0\r\n\r\n")


def rest_of(connection: socket.socket) -> bytes:
    """All that still comes on a connection, whether it ends well or is broken off."""
    received = b""
    try:
        while part := connection.recv(1 << 20):
            received += part
    except ConnectionResetError:
        pass
    return received


def test_a_change_between_subscription_and_first_read_is_seen(server: Server) -> None:
    made = ask(server, "POST", "/v1/events", {"event_key": "k"})
    service = server.api.service
    read = service.read

    async def read_and_be_overtaken(asked: Any) -> Any:
        found = await read(asked)
        service.read = read
        await service.perform(
            SendEvent(actor=HOST, project_id="default", entropy=7, payload=None, trigger_id=made["id"])
        )
        return found

    service.read = read_and_be_overtaken
    with Reader(server, f"/v1/triggers/{made['id']}/stream") as reader:
        assert reader.frame()[1]["status"] == "waiting"
        assert reader.frame()[1]["status"] == "received"
        assert reader.chunk() == ""


def test_a_position_is_never_sent_twice(server: Server) -> None:
    made = ask(server, "POST", "/v1/events", {"event_key": "k"})
    service = server.api.service
    reading = service.read(GetTriggerById(project_id="default", trigger_id=made["id"]))
    first = asyncio.run_coroutine_threadsafe(reading, server.loop).result(10)
    with Reader(server, "/v1/events/k/stream") as reader:
        assert reader.frame()[0] == f"{made['id']}.1"
        late_hint = Committed((), (first,), (), (), 1, first.requested_at, 0.0)
        server.loop.call_soon_threadsafe(service.feed.publish, late_hint)
        ask(server, "POST", "/v1/events/k/send")
        assert reader.frame()[0] == f"{made['id']}.2"


def test_the_long_poll_answers_when_the_event_comes(server: Server) -> None:
    made = ask(server, "POST", "/v1/events", {"event_key": "k"})
    path = f"/v1/triggers/{made['id']}/wait"
    assert ask(server, "GET", f"{path}?timeout_secs=0")["status"] == "waiting"
    for query in ("timeout_secs=-1", "timeout_secs=x"):
        assert server.ask(f"GET {path}?{query} HTTP/1.1").status == 400
    with server.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        ask(server, "POST", "/v1/events/k/send", {"payload": 7})
        assert json.loads(file.read().partition(b"\r\n\r\n")[2])["response_payload"] == 7


@pytest.mark.parametrize("how", ["cancel", "sibling", "event"])
def test_a_stream_of_a_runs_wait_ends_whatever_ends_it(server: Server, how: str) -> None:
    ask(server, "POST", "/v1/jobs", {"slug": "job"})
    run_id = ask(server, "POST", "/v1/jobs/job/trigger", {})["id"]
    (claimed,) = ask(server, "POST", "/v1/workers/claim", {"jobs": ["job"]})["runs"]
    head = f"POST /sdk/v1/runs/{run_id}/wait-for-event HTTP/1.1\nauthorization: Bearer {claimed['run_token']}"
    wait = {"events": [{"event_key": "k"}, {"event_key": "sibling"}]}
    assert server.ask(head, json.dumps(wait).encode()).status == 200
    with Reader(server, "/v1/events/k/stream") as reader:
        assert reader.frame()[1]["status"] == "waiting"
        if how == "cancel":
            ask(server, "DELETE", f"/v1/runs/{run_id}")
        else:
            ask(server, "POST", f"/v1/events/{'k' if how == 'event' else how}/send", {"payload": 1})
        position, trigger = reader.frame()
        assert trigger["status"] == ("received" if how == "event" else "canceled")
        assert position == f"{trigger['id']}.2"
        assert reader.chunk() == ""
