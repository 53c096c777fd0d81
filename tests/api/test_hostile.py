"""Clients that mean harm, and odd ones that do not: bytes on a socket as no HTTP library sends them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from narrows import listener
from narrows.config import Config
from tests.api.harness import Answer, Server, read_answer

LOCAL = b"host: localhost\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Config(data=tmp_path_factory.mktemp("data"))) as running:
        yield running


def talk(server: Server, raw: bytes) -> Answer:
    with server.connect() as connection:
        connection.sendall(raw)
        return one_reply(connection)


def post(path: bytes, body: bytes, *more: bytes) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: localhost", b"content-length: %d" % len(body), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def one_reply(connection: socket.socket, received: bytes = b"") -> Answer:
    """The next reply of a connection that may stay open; what came behind it is in `rest`."""
    while True:
        head, separator, rest = received.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        headers = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ]
        length = int(dict(headers).get(b"content-length", 0))
        if separator and len(rest) >= length:
            answer = Answer(int(status_line.split()[1]), headers, rest[:length])
            answer.rest = rest[length:]  # type: ignore[attr-defined]
            return answer
        part = connection.recv(1 << 20)
        assert part, received
        received += part


def replies(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """`count` replies of one connection that stays open."""
    found, rest = [], b""
    for _ in range(count):
        answer = one_reply(connection, rest)
        found.append((answer.status, answer.body))
        rest = answer.rest  # type: ignore[attr-defined]
    return found


def test_who_asks_whether_to_go_on_is_told_so_at_once(server: Server) -> None:
    body = json.dumps({"event_key": "expect", "if_waiting": "join"}).encode()
    raw = post(b"/v1/events", body, b"expect: 100-continue")
    with server.connect() as connection:
        connection.sendall(raw[: -len(body)])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert replies(connection, 1)[0][0] == 201


def test_head_is_answered_on_a_connection_that_stays_open(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(b"HEAD /livez HTTP/1.1\r\n" + LOCAL + b"\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    many = [post(b"/v1/events", json.dumps({"event_key": f"pipe:{n}"}).encode()) for n in range(50)]
    with server.connect() as connection:
        connection.sendall(b"".join(many))
        answers = replies(connection, 50)
    assert [json.loads(body)["event_key"] for _, body in answers] == [f"pipe:{n}" for n in range(50)]


@pytest.mark.parametrize(
    "head",
    [
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: +5\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: 99999999999999999999999999\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding : chunked\r\n",
        b"x: a\r\n b: folded\r\n\tmore\r\ntransfer-encoding:\x0bchunked\r\n",
        b"x: a\x00b\r\n",
        b"x: a\rb\r\n",
        b": nameless\r\n",
    ],
)
def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_taken(
    server: Server, head: bytes
) -> None:
    hidden = (
        b'POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 24\r\n\r\n{"event_key":"smuggled"}'
    )
    answer = talk(server, b"POST /v1/events HTTP/1.1\r\n" + LOCAL + head + b"\r\n0\r\n\r\n" + hidden)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert server.ask("GET /v1/events/smuggled HTTP/1.1").status == 404


@pytest.mark.parametrize("chunk", [b"-5\r\n", b"zz\r\nhello\r\n", b"5\r\nhelloXX", b"fffffffffffffffff\r\n"])
def test_chunks_that_lie_change_nothing(server: Server, chunk: bytes) -> None:
    head = b"POST /v1/events HTTP/1.1\r\n" + LOCAL + b"transfer-encoding: chunked\r\n\r\n"
    assert talk(server, head + chunk).status == 400


def test_a_head_that_is_too_large_is_refused_before_it_ends(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + LOCAL + b"x: " + b"a" * 80_000)
        answer = read_answer(connection)
    assert (answer.status, answer.json["code"]) == (431, "invalid_request")
    fits = b"GET /livez HTTP/1.1\r\n" + LOCAL + b"x: " + b"a" * 30_000 + b"\r\nconnection: close\r\n\r\n"
    assert talk(server, fits).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nhost: local",
        post(b"/v1/events", b"x" * 100)[:-50],
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET /livez HT",
    ],
    ids=["nothing", "half a head", "half a body", "half of a second head"],
)
def test_who_does_not_finish_his_request_is_broken_off(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    for name in ("HEAD_SECS", "BODY_SECS"):
        monkeypatch.setattr(listener, name, 0.1)
    monkeypatch.setattr(listener, "_TICKS_PER_LOOK", 1)
    with server.connect() as connection:
        connection.sendall(sent)
        received = b""
        try:
            while part := connection.recv(1 << 16):
                received += part
        except ConnectionResetError:
            pass
    assert received.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\nGET")


def test_an_idle_connection_that_has_asked_before_stays(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEAD_SECS", 0.1)
    monkeypatch.setattr(listener, "_TICKS_PER_LOOK", 1)
    with server.connect() as connection, server.connect() as never:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + LOCAL + b"\r\n")
        assert replies(connection, 1)[0][0] == 200
        with contextlib.suppress(ConnectionResetError):
            assert never.recv(1) == b""  # cut; by then the other one has been looked at, too
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + LOCAL + b"\r\n")
        assert replies(connection, 1)[0][0] == 200


def test_an_idle_connection_is_closed_after_its_time_and_not_broken_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "IDLE_SECS", 0.1)
    monkeypatch.setattr(listener, "_TICKS_PER_LOOK", 1)
    with server.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + LOCAL + b"\r\n")
        assert replies(connection, 1)[0][0] == 200
        assert connection.recv(1) == b""  # and no ConnectionResetError


def test_who_asks_for_another_protocol_gets_http_and_may_go_on(server: Server) -> None:
    body = json.dumps({"event_key": "h2c", "if_waiting": "join"}).encode()
    upgrade = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAEAAEAAAAIAAAAB")
    with server.connect() as connection:
        for status in (201, 200, 200):  # as the HTTP client of Java does, by default
            connection.sendall(post(b"/v1/events", body, *upgrade))
            assert replies(connection, 1)[0][0] == status
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + LOCAL + b"\r\n")
        assert replies(connection, 1)[0][0] == 200


def test_an_absolute_target_is_its_path(server: Server) -> None:
    assert talk(server, b"GET http://localhost/livez HTTP/1.1\r\n" + LOCAL + b"\r\n").status == 200
    for target in (b"http://localhost", b"*", b"localhost:80", b"", b"livez", b"http://"):
        answer = talk(server, b"OPTIONS " + target + b" HTTP/1.1\r\n" + LOCAL + b"\r\n")
        assert answer.status in (400, 404, 405), target
        assert answer.headers["content-type"] == "application/json"


def test_http_1_0_gets_its_reply_and_a_closed_connection(server: Server) -> None:
    for version in (b"1.0", b"1.1"):
        with server.connect() as connection:
            connection.sendall(b"GET /livez HTTP/" + version + b"\r\n" + LOCAL + b"connection: close\r\n\r\n")
            assert read_answer(connection).json == {"status": "ok"}
    with server.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert read_answer(connection).status == 200


@pytest.mark.parametrize(
    "path", [b"/v1/events/\xff", b"/v1/events/\xc3\x28", b"/\xf0\x9f\x92\xa9", b"/v1/events/%ed%a0%80"]
)
def test_a_path_that_is_no_utf_8_is_400(server: Server, path: bytes) -> None:
    answer = talk(server, b"GET " + path + b" HTTP/1.1\r\n" + LOCAL + b"\r\n")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_nothing_of_a_request_becomes_a_header_of_the_reply(server: Server) -> None:
    for raw in (
        b"GET /v1/events/a%0d%0ax-evil:%201 HTTP/1.1\r\n" + LOCAL + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + LOCAL + b"x-request-id: a%0d%0ax-evil: 1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + LOCAL + b"x-request-id: a\nx-evil: 1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + LOCAL + b"origin: http://localhost\xe4\r\n\r\n",
    ):
        assert "x-evil" not in talk(server, raw).headers


def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(server: Server) -> None:
    opening = b'{"event_key":"limit","if_waiting":"join","request_payload":"'
    for size, status in ((1 << 20, 201), ((1 << 20) + 1, 413)):
        body = opening + b"x" * (size - len(opening) - 2) + b'"}'
        assert len(body) == size
        assert talk(server, post(b"/v1/events", body)).status == status
        head = b"POST /v1/events HTTP/1.1\r\n" + LOCAL + b"transfer-encoding: chunked\r\n\r\n"
        chunked = head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        assert talk(server, chunked).status == (200 if status == 201 else 413)


@pytest.mark.parametrize("depth", [10, 62, 200, 500_000])
@pytest.mark.parametrize("field", ["payload", "unknown", "hold_secs"])
def test_nesting_of_any_depth_is_survived(server: Server, field: str, depth: int) -> None:
    body = b'{"%b":' % field.encode() + b"[" * depth + b"]" * depth + b"}"
    answer = talk(server, post(b"/v1/events/deep/send", body))
    assert answer.status in (400, 404)
    assert talk(server, b"GET /livez HTTP/1.1\r\n" + LOCAL + b"\r\n").status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f.1", "evil.example:8080"],
)
def test_another_name_for_this_machine_is_misdirected(server: Server, host: str) -> None:
    answer = talk(server, f"GET /v1/events HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    assert (answer.status, answer.json["code"]) == (421, "misdirected_request")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://localhost.evil.example",
        "file://",
        "http://evil.example#localhost",
    ],
)
def test_a_page_of_somebody_else_changes_nothing(server: Server, origin: str) -> None:
    body = b'{"event_key":"forged"}'
    more = (b"content-type: text/plain", b"origin: " + origin.encode())
    for path in (b"/v1/events", b"/h/" + b"x" * 43, b"/v1/events/forged/send"):
        assert talk(server, post(path, body, *more)).status == 403
    assert server.ask("GET /v1/events/forged HTTP/1.1").status == 404
