"""What is sent, and what is made of an answer; over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from narrows.outgoing.answers import Answer, retry_after_secs
from narrows.outgoing.caller import Caller
from narrows.outgoing.guard import Guard
from tests.outgoing.kit import GENEROUS_SECS, Run, asked, caller, failed, post
from tests.outgoing.servers import (
    Reader,
    Target,
    Writer,
    answer,
    saying,
    saying_once,
    silent,
    target,
)

SECRET = "canary-3f9a"

# ---- what is sent ----------------------------------------------------------------------------


def test_a_request_is_what_was_asked_for(run: Run) -> None:
    async def story() -> None:
        async with target(saying(answer(b'{"ok":true}'))) as made:
            mine = caller()
            headers = {
                "X-Run-ID": "r1",
                "content-type": "text/plain",
                "Host": "evil.example",
                "Content-Length": "1",
            }
            headers |= {"Transfer-Encoding": "chunked", "Accept-Encoding": "gzip", "Connection": "close"}
            found = await mine.post(made.url("/hook?a=%20b"), b"body", headers, timeout_secs=GENEROUS_SECS)
            await mine.close()
        assert found == Answer(200, b'{"ok":true}', None, None)
        head, body = made.requests[0]
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /hook?a=%20b HTTP/1.1"
        sent = sorted(line.lower() for line in lines[1:] if line)
        assert f"host: 127.0.0.1:{made.port}" in sent
        assert {
            "x-run-id: r1",
            "content-type: text/plain",
            "content-length: 4",
            "accept-encoding: identity",
        } <= set(sent)
        assert not any(line.startswith(("transfer-encoding", "connection")) for line in sent)
        assert len({line.partition(":")[0] for line in sent}) == len(sent)
        assert body == b"body"

    run(story())


@pytest.mark.parametrize(
    ("name", "value"), [("X-A", "b\r\nX-C: d"), ("X-A", "b\0"), ("X-A", "ü"), ("X A", "b"), ("X-A:", "b"), ("", "b"), ("X-A\r\n", "b")]
)  # fmt: skip
def test_a_header_that_would_be_two_is_not_sent(name: str, value: str) -> None:
    async def story() -> None:
        async with target(saying(answer())) as made:
            found = await caller().post(made.url(), b"", {name: value}, timeout_secs=GENEROUS_SECS)
        failed(found, "header")
        assert made.requests == []

    asyncio.run(story())


def test_a_large_body_goes_out_whole(run: Run) -> None:
    async def story() -> None:
        async with target(saying(answer())) as made:
            found = await caller().post(made.url(), b"x" * 3_000_000, {}, timeout_secs=GENEROUS_SECS)
        assert found.status == 200
        assert len(made.requests[0][1]) == 3_000_000

    run(story())


# ---- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (answer(b"no json at all", "200 OK", "Content-Type: text/plain"), Answer(200, b"no json at all", None, None)),
        (answer(b"", "200 OK"), Answer(200, b"", None, None)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"", None, None)),
        (answer(b"{}", "202 Anything They Like"), Answer(202, b"{}", None, None)),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n1", Answer(200, b"1", None, None)),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", Answer(200, b"[1]", None, None)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\nX: y\r\n\r\n", Answer(200, b"[1]", None, None)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + answer(b"1"), Answer(200, b"1", None, None)),
        (answer(b"{}", "200 OK", "Content-Encoding: identity"), Answer(200, b"{}", None, None)),
        (answer(b"why", "404 X"), Answer(404, b"why", "The target answered 404 Not Found.", None)),
        (answer(b"", "410 Gone"), Answer(410, b"", "The target answered 410 Gone.", None)),
        (answer(b"", "429 X", "Retry-After: 17"), Answer(429, b"", "The target answered 429 Too Many Requests.", 17)),
        (answer(b"", "503 X", "retry-after:  5 "), Answer(503, b"", "The target answered 503 Service Unavailable.", 5)),
        (answer(b"", "599 X"), Answer(599, b"", "The target answered 599.", None)),
    ],
)  # fmt: skip
def test_an_answer_is_what_came(run: Run, data: bytes, expected: Answer) -> None:
    assert run(asked(saying_once(data))) == expected


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
def test_a_redirect_is_not_followed(status: int) -> None:
    async def story() -> None:
        async with target(saying(answer())) as elsewhere:
            headers = (f"Location: {elsewhere.url()}",)
            async with target(saying(answer(b"", f"{status} Moved", *headers))) as made:
                found = await post(made)
        assert found.status == status
        assert found.error is not None
        assert "not followed" in found.error
        assert len(made.requests) == 1
        assert elsewhere.connections == 0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"120", 120),
        (b"999999999999", 366 * 86_400),
        (b"9999999999999", None),
        (b"-1", None),
        (b"1.5", None),
        (b"soon", None),
        (b"", None),
        (b"\xff", None),
        (b"Thu, 01 Jan 1970 00:01:40 GMT", 90),
        (b"Thu, 01 Jan 1970 00:00:01 GMT", 0),
        (b"Thu, 01 Jan 9999 00:00:01 GMT", 366 * 86_400),
        (b"Thu, 99 Jan 1970 00:00:01 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: bytes, expected: int | None) -> None:
    assert retry_after_secs(value, 10_000_000) == expected


# ---- what breaks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX-A",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_a_failure(data: bytes) -> None:
    failed(asyncio.run(asked(saying_once(data))), "The target 127.0.0.1")


def test_an_answer_that_ends_with_a_broken_connection_is_not_taken_for_whole(run: Run) -> None:
    async def breaking(made: Target, reader: Reader, writer: Writer) -> None:
        await made.request(reader)
        await made.send(writer, b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 10)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    failed(run(asked(breaking)), "broke off the connection")


def test_nobody_listens() -> None:
    async def story() -> None:
        async with target(silent) as made:
            pass
        failed(await post(made), "refused the connection")

    asyncio.run(story())


def test_an_answer_before_the_whole_request_was_read_counts(run: Run) -> None:
    async def early(made: Target, reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await made.send(writer, answer(b"too large", "413 X", "Connection: close"))
        await reader.read()

    async def story() -> None:
        async with target(early) as made:
            found = await caller().post(made.url(), b"x" * 1_000_000, {}, timeout_secs=GENEROUS_SECS)
        assert (found.status, found.body) == (413, b"too large")

    run(story())


@pytest.mark.parametrize(
    "url", ["", "ftp://a/", "http://10.0.0.1/", "http://a@b/", "http://169.254.169.254/"]
)
def test_a_target_that_is_refused_is_a_sentence_too(url: str) -> None:
    failed(asyncio.run(Caller(Guard()).post(url, b"", {}, timeout_secs=GENEROUS_SECS)))


def test_no_sentence_and_no_log_line_holds_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> list[str]:
        said = []
        for serve in (saying(answer()), saying(answer(b"", "500 X")), saying_once(b"garbage"), silent):
            async with target(serve) as made:
                headers = {"X-Run-Token": SECRET, "webhook-signature": SECRET}
                url = made.url(f"/{SECRET}?t={SECRET}")
                found = await caller().post(url, SECRET.encode(), headers, timeout_secs=0.2)
                said.append(repr(found._replace(body=b"")))
        return said

    with caplog.at_level(logging.DEBUG):
        said = asyncio.run(story(), debug=True)
    assert SECRET not in "".join(said)
    assert SECRET not in caplog.text
