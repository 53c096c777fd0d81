"""The worker's own connections, against a server that answers by a script: one connection for many
requests, and whatever a server can do to one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from narrows.client.keepalive import Wire
from narrows.client.steps import Lost, Reply, Request

GET = Request("GET", "/a%2Fb?x=1", {}, None, 5.0)
POST = Request("POST", "/p", {"Authorization": "Bearer run", "Content-Type": "application/json"}, b"{}", 5.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A listening socket whose connections answer by script: one entry for each request that comes, None
    to say nothing. `heard` has what came, by connection."""

    def __init__(self, *script: bytes | None, closes: bool = False) -> None:
        self.script = list(script)
        self.closes = closes
        self.heard: list[list[bytes]] = []
        self.ended = asyncio.Event()
        self.serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        self.heard.append(mine)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                mine.append(data)
                answer = self.script.pop(0)
                if answer is not None:
                    writer.write(answer)
                if self.closes:
                    break
        self.ended.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def talking(peer: Peer, *, most: int = 4, headers: dict[str, str] | None = None) -> AsyncIterator[Wire]:
    server = await asyncio.start_server(peer.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(f"http://127.0.0.1:{port}/base", headers or {}, most=most)
    try:
        yield wire
    finally:
        wire.close()
        await asyncio.gather(*peer.serving)
        server.close()
        await server.wait_closed()


async def test_many_requests_go_over_one_connection() -> None:
    peer = Peer(OK, OK, OK)
    async with talking(peer) as wire:
        replies = [await wire.exchange(GET) for _ in range(3)]
    assert [(each.status, each.body) for each in replies if isinstance(each, Reply)] == [(200, b"ok")] * 3
    assert [len(each) for each in peer.heard] == [3]


async def test_the_request_is_what_it_should_be() -> None:
    peer = Peer(OK, OK)
    async with talking(peer, headers={"Authorization": "Bearer key", "Accept": "application/json"}) as wire:
        await wire.exchange(GET)
        await wire.exchange(POST)
    get, post = (each.decode().partition("\r\n\r\n") for each in peer.heard[0])
    host = get[0].split("Host: ")[1].split("\r\n")[0]
    assert get[0].split("\r\n") == [
        "GET /base/a%2Fb?x=1 HTTP/1.1",
        f"Host: {host}",
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Authorization: Bearer key",
        "Content-Length: 0",
    ]
    assert "Authorization: Bearer run" in post[0]
    assert "Bearer key" not in post[0]
    assert post[2] == "{}"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_every_form_of_answer_is_read(answer: bytes, body: bytes) -> None:
    peer = Peer(answer, OK)
    async with talking(peer) as wire:
        first, second = await wire.exchange(GET), await wire.exchange(GET)
    assert isinstance(first, Reply)
    assert first.body == body
    assert isinstance(second, Reply)
    assert len(peer.heard) == 1


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async with talking(Peer(b"HTTP/1.1 200 OK\r\n\r\nrest", closes=True)) as wire:
        reply = await wire.exchange(GET)
    assert isinstance(reply, Reply)
    assert reply.body == b"rest"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "closed"),
        (b"what?\r\n\r\n", "no HTTP"),
    ],
)
async def test_an_answer_that_breaks_off_is_lost_and_may_have_been_done(
    answer: bytes | None, reason: str
) -> None:
    async with talking(Peer(answer, closes=True)) as wire:
        lost = await wire.exchange(GET)
    assert isinstance(lost, Lost)
    assert lost.sent
    assert reason in lost.reason


async def test_a_connection_that_was_to_be_closed_is_not_used_again() -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", OK)
    async with talking(peer) as wire:
        assert isinstance(await wire.exchange(GET), Reply)
        assert isinstance(await wire.exchange(GET), Reply)
    assert len(peer.heard) == 2


async def test_silence_is_lost_after_its_time_and_costs_the_connection() -> None:
    peer = Peer(None, OK)
    async with talking(peer) as wire:
        lost = await wire.exchange(GET._replace(answer_secs=0.05))
        assert lost == Lost("no answer for 0.05 s", sent=True)
        assert isinstance(await wire.exchange(GET), Reply)
    assert len(peer.heard) == 2


async def test_a_caller_that_is_cancelled_costs_the_connection() -> None:
    peer = Peer(None, OK)
    async with talking(peer, most=1) as wire:
        asking = asyncio.ensure_future(wire.exchange(GET))
        while not peer.heard:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert isinstance(await wire.exchange(GET), Reply)
    assert len(peer.heard) == 2


async def test_nobody_there_was_certainly_not_done(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for wire in (
        Wire(f"http://127.0.0.1:{port}", {}, most=1),
        Wire("http://localhost", {}, uds=str(tmp_path / "none.sock"), most=1),
    ):
        lost = await wire.exchange(GET)
        assert isinstance(lost, Lost)
        assert not lost.sent


async def test_at_most_so_many_connections_are_in_use() -> None:
    peer = Peer(*[OK] * 20)
    async with talking(peer, most=2) as wire:
        await asyncio.gather(*(wire.exchange(GET) for _ in range(20)))
    assert len(peer.heard) <= 2


async def test_finish_tells_the_server_and_still_takes_the_answer_that_was_on_its_way() -> None:
    peer = Peer(None)
    async with talking(peer) as wire:
        asking = asyncio.ensure_future(wire.exchange(GET))
        while not peer.heard or not peer.heard[0]:
            await asyncio.sleep(0)
        wire.finish()
        assert await asking == Lost("the server closed the connection", sent=True)
        await peer.ended.wait()
