"""What only a real socket shows: raw paths through uvicorn, odd clients, chunked bodies, HEAD."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from narrows.config import Config
from tests.api.harness import Server, read_answer

#: A connection that is closed with it is reset.
NO_LINGER = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Config(data=tmp_path_factory.mktemp("data")), body_limit_bytes=2000) as running:
        yield running


def open_wait(server: Server, key: str) -> None:
    body = json.dumps({"event_key": key, "if_waiting": "join"}).encode()
    assert server.ask("POST /v1/events HTTP/1.1", body).status in (200, 201)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/events/order:1", "order:1"),
        ("/v1/events/order%3A1", "order:1"),
        ("/v1/events/a/b", "a/b"),
        ("/v1/events/a%2Fb", "a/b"),
        ("/v1/events/..", ".."),
        ("/v1/events/%2e%2e", ".."),
        ("/v1/events/../x", "../x"),
        ("/v1/events/t/", "t/"),
        ("/v1/events/purge", "purge"),
        ("/v1/events/prefix/order", "prefix/order"),
        ("/v1/events//", "/"),
        ("/v1/events/" + "%C3%BC" * 256, "ü" * 256),
    ],
)
def test_a_raw_path_reaches_its_key(server: Server, path: str, key: str) -> None:
    open_wait(server, key)
    assert server.ask(f"GET {path} HTTP/1.1").json["event_key"] == key


def test_a_prefix_with_an_encoded_slash_is_a_key(server: Server) -> None:
    open_wait(server, "prefix/one")
    sent = server.ask("POST /v1/events/prefix%2Fone/send HTTP/1.1", b'{"payload":1}')
    assert (sent.status, sent.json["event_key"]) == (200, "prefix/one")


@pytest.mark.parametrize(
    "path", ["/v1/events/%", "/v1/events/%zz", "/v1/events/%ff", "/v1/events/ü", "/v1/events/%00"]
)
def test_a_path_that_cannot_be_decoded_is_400(server: Server, path: str) -> None:
    answer = server.ask(f"GET {path} HTTP/1.1")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_there_are_no_redirects_and_unknown_paths_are_json(server: Server) -> None:
    for path in ("/", "//v1/events", "/v1", "/v1/events/../../etc", "/V1/events"):
        answer = server.ask(f"GET {path} HTTP/1.1")
        assert answer.status in (200, 404), path
        assert answer.headers["content-type"] == "application/json"


def test_head_is_get_without_a_body(server: Server) -> None:
    open_wait(server, "head")
    for path in ("/v1/events/head", "/v1/events", "/livez"):
        head, get = server.ask(f"HEAD {path} HTTP/1.1"), server.ask(f"GET {path} HTTP/1.1")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(get.body))
    assert server.ask("HEAD /v1/events/head/stream HTTP/1.1").status == 405


def test_odd_clients_are_served(server: Server) -> None:
    open_wait(server, "odd")
    typed = "content-type: application/json"
    assert server.ask(f"GET /v1/events/odd HTTP/1.1\n{typed}").status == 200
    assert server.ask(f"GET /v1/events/odd HTTP/1.1\n{typed}", b"ignored").status == 200
    assert server.ask("GET /v1/events/odd HTTP/1.0").status == 200
    assert server.ask(f"POST /v1/events/odd/send HTTP/1.1\n{typed}\ncontent-length: 0").status == 200
    open_wait(server, "odd")
    assert (
        server.ask("POST /v1/events/odd/send HTTP/1.1\ncontent-type: text/plain", b'{"payload":1}').status
        == 200
    )
    open_wait(server, "odd")
    assert server.ask(f"DELETE /v1/events/odd HTTP/1.1\n{typed}").json["error"] == "canceled by user"


def test_a_chunked_body_is_read_whole_and_within_its_limit(server: Server) -> None:
    open_wait(server, "chunked")
    head = "POST /v1/events/chunked/send HTTP/1.1\ntransfer-encoding: chunked"
    chunks = b'8\r\n{"payloa\r\n7\r\nd":"x"}\r\n0\r\n\r\n'
    assert server.ask(head, chunks, length=False).json["response_payload"] == "x"
    large = b"%x\r\n%s\r\n" % (1500, b" " * 1500)
    assert server.ask(head, large * 3 + b"0\r\n\r\n", length=False).status == 413


def test_an_announced_oversize_is_refused_before_it_is_sent(server: Server) -> None:
    answer = server.ask("POST /v1/events HTTP/1.1\ncontent-length: 2001\nexpect: 100-continue")
    assert (answer.status, answer.json["code"]) == (413, "payload_too_large")


def test_what_is_no_http_gets_json(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        answer = read_answer(connection)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_a_client_that_leaves_in_the_middle_of_its_body_changes_nothing(server: Server) -> None:
    open_wait(server, "leaving")
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/events/leaving/send HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
        )
    assert server.ask("GET /v1/events/leaving HTTP/1.1").json["status"] == "waiting"


@pytest.mark.parametrize("is_database_awaited", [False, True])
def test_a_client_that_says_it_sends_no_more_has_the_reply_that_is_ready(
    server: Server, monkeypatch: pytest.MonkeyPatch, is_database_awaited: bool
) -> None:
    monkeypatch.setattr("narrows.pace.AT_ONCE", 0)  # its turn would not come before the end of the connection
    with awaited(server) if is_database_awaited else contextlib.nullcontext():
        for _ in range(50):
            with server.connect() as connection:
                connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                assert read_answer(connection).status == 200


@contextlib.contextmanager
def awaited(server: Server) -> Iterator[None]:
    """While a writer of PostgreSQL has a batch under way."""
    held = server.pace.awaiting()
    server.call(held.__enter__)
    until(lambda: server.pace._awaited == 1)
    try:
        yield
    finally:
        server.call(held.__exit__, None, None, None)
        until(lambda: server.pace._awaited == 0)


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so, ten seconds at most."""
    for _ in range(5_000):
        if is_so():
            return
        threading.Event().wait(0.002)
    raise AssertionError("it never came")


def reset_behind(server: Server, requests: bytes) -> None:
    """Ask much at once, take a byte of the replies and reset the connection."""
    with server.connect() as connection:
        connection.sendall(requests)
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)


def test_whoever_resets_his_connection_holds_up_nobody_elses_replies(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with server.connect() as other:
        for _ in range(50):
            reset_behind(server, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n" * 40)
            other.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert not caplog.records, "and fills no log"


def test_while_the_database_is_awaited_requests_begin_in_their_turn(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("narrows.pace.AT_ONCE", 0)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(20)]
        with awaited(server):
            for connection in connections:
                connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            until(lambda: len(server.pace._due) == len(connections))
        assert all(connection.recv(65536).startswith(b"HTTP/1.1 200 ") for connection in connections)


def test_a_request_whose_connection_is_lost_before_its_turn_begins_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_wait(server, "lost")
    monkeypatch.setattr("narrows.pace.AT_ONCE", 0)
    with awaited(server):
        with server.connect() as connection:
            connection.sendall(b"DELETE /v1/events/lost HTTP/1.1\r\nhost: localhost\r\n\r\n")
            until(lambda: len(server.pace._due) == 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        until(lambda: not server.listener.server_state.connections)
        assert server.listener.server_state.tasks, "a stop of the server waits for these"
    until(lambda: not server.listener.server_state.tasks)
    assert server.ask("GET /v1/events/lost HTTP/1.1").json["status"] == "canceled"


def test_requests_that_never_began_are_freed_with_their_connection(server: Server) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            reset_behind(server, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n" * 500)
        while server.listener.server_state.connections:
            server.ask("GET /livez HTTP/1.1")
        assert gc.collect() < 500
    finally:
        gc.enable()
