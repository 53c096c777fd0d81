"""Targets that answer without end or not at all: each is given up within its time and its size."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket

import pytest

from narrows.outgoing.answers import Answer
from narrows.outgoing.caller import Caller
from narrows.outgoing.guard import Guard
from tests.outgoing.kit import GENEROUS_SECS, Run, asked, caller, failed, post
from tests.outgoing.servers import (
    Reader,
    Serve,
    Target,
    Writer,
    answer,
    saying,
    saying_for_ever,
    silent,
    target,
)

# ---- too much --------------------------------------------------------------------------------

TEN_GB = 10_000_000_000


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % TEN_GB,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_ten_gigabytes_are_given_up_after_one_megabyte(run: Run, head: bytes) -> None:
    async def story() -> None:
        async with target(saying_for_ever(head, b"x" * 65_536, TEN_GB)) as made:
            failed(await post(made), "more than 1,048,576 bytes")
            await made.gone.wait()
        # What went beyond lies in the buffers of both sockets.
        assert made.sent_bytes < 64 << 20

    run(story())


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (b"1;" + b"e" * 5_000 + b"\r\nx\r\n") * 10),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1_000),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1_000),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 1_000),
        (b"HTTP/1.1 200 ", b"b" * 1_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n" * 1_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e" * 1_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1_000),
    ],
    ids=["chunks", "tiny chunks", "chunk extensions", "100s", "103s", "headers", "one header", "reason", "trailers",
         "one extension", "a length"],
)  # fmt: skip
def test_an_endless_stream_of_anything_is_given_up(head: bytes, part: bytes) -> None:
    async def story() -> None:
        async with target(saying_for_ever(head, part, TEN_GB)) as made:
            failed(await post(made), "The target 127.0.0.1")
            await made.gone.wait()
        assert made.sent_bytes < 64 << 20

    asyncio.run(story())


def test_the_largest_answer_is_taken_and_one_byte_more_is_not() -> None:
    assert asyncio.run(asked(saying(answer(b"x" * (1 << 20))))).body == b"x" * (1 << 20)
    failed(asyncio.run(asked(saying(answer(b"x" * ((1 << 20) + 1))))), "more than")
    assert asyncio.run(asked(saying(answer(b"12345")), max_answer_bytes=5)).body == b"12345"
    failed(asyncio.run(asked(saying(answer(b"123456")), max_answer_bytes=5)), "more than 5 bytes")


def test_a_refusal_keeps_its_status_and_the_beginning_of_its_body() -> None:
    head = b"HTTP/1.1 500 X\r\nConnection: close\r\n\r\n"
    found = asyncio.run(asked(saying_for_ever(head, b"x" * 65_536, TEN_GB)))
    assert (found.status, len(found.body)) == (500, 65_536)


def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    for name in ("gzip", "br", "deflate", "zstd", "GZIP", "gzip, gzip"):
        failed(asyncio.run(asked(saying(answer(bomb, "200 OK", f"Content-Encoding: {name}")))), "encoded")
    found = asyncio.run(asked(saying(answer(bomb, "400 X", "Content-Encoding: gzip"))))
    assert (found.status, found.body) == (400, b"")


def test_where_only_the_status_counts_no_body_is_waited_for() -> None:
    """A receiver that has said 200 and never ends is a receiver that has said 200."""

    async def endless(made: Target, reader: Reader, writer: Writer) -> None:
        await made.request(reader)
        await made.send(writer, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n1")
        await reader.read()

    async def story() -> None:
        async with target(endless) as made:
            assert await post(made, max_answer_bytes=0) == Answer(200, b"", None, None)
            await made.gone.wait()

    asyncio.run(story())


# ---- too slow --------------------------------------------------------------------------------


def trickling(data: bytes, part: bytes) -> Serve:
    """Keeps the line alive: a byte every few milliseconds, never an end."""

    async def serve(made: Target, reader: Reader, writer: Writer) -> None:
        await made.request(reader)
        await made.send(writer, data)
        while not reader.at_eof():
            await made.send(writer, part)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.005)

    return serve


@pytest.mark.parametrize(
    "serve",
    [
        silent,
        trickling(b"HTTP/1.1 200 OK\r\nX-A: ", b"b"),
        trickling(b"", b"H"),
        trickling(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        trickling(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        trickling(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "header", "status line", "body", "chunks", "100s"],
)
def test_the_time_is_for_the_whole_and_the_connection_ends_with_it(run: Run, serve: Serve) -> None:
    async def story() -> None:
        async with target(serve) as made:
            found = await post(made, timeout_secs=0.1)
            assert found.status is None
            assert found.error is not None
            assert "did not answer within 0.1 s" in found.error or "HTTP/1.1" in found.error
            await made.gone.wait()

    run(story())


def test_a_target_that_does_not_read_is_given_up(run: Run) -> None:
    async def deaf(made: Target, reader: Reader, writer: Writer) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def story() -> None:
        async with target(deaf) as made:
            found = await caller().post(made.url(), b"x" * 50_000_000, {}, timeout_secs=0.2)
        failed(found, "did not answer within 0.2 s")

    run(story())


def test_a_connection_that_is_never_taken_is_given_up(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as others:
            port = full.getsockname()[1]
            for _ in range(4):  # nobody accepts: the next one waits in the kernel
                other = others.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(("127.0.0.1", port))
            found = await caller(connect_secs=0.1).post(
                f"http://127.0.0.1:{port}/", b"", {}, timeout_secs=GENEROUS_SECS
            )
        failed(found, "did not take the connection within 0.1 s")

    run(story())


def test_a_name_that_is_never_answered_is_given_up() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async def story() -> None:
        mine = Caller(Guard(resolve=never), connect_secs=0.05)
        failed(
            await mine.post("http://a.example/", b"", {}, timeout_secs=GENEROUS_SECS),
            "a.example",
            "was not found within",
        )

    asyncio.run(story())
