"""Repeats, refusals and lost connections, over real sockets, for both clients."""

from __future__ import annotations

import socket
import traceback
from typing import Any

import pytest

from narrows import errors
from narrows.client import AsyncClient, Client
from narrows.errors import (
    STATUS,
    Conflict,
    ConnectionFailed,
    InternalError,
    LimitReached,
    NarrowsError,
    OutcomeUnknown,
    Refusal,
    Unavailable,
)
from tests.client.conftest import Face
from tests.client.scripted import DROP, Answer, ManualPace, ScriptedServer, problem, trigger


@pytest.mark.parametrize(("cls", "status"), STATUS.items(), ids=lambda each: getattr(each, "code", each))
def test_refusals_are_raised_as_the_servers_classes(
    face: Face, server: ScriptedServer, cls: type[NarrowsError], status: int
) -> None:
    face.options["retry_secs"] = 0
    server.play(problem(status, cls.code, retry_after=7, details=["a", "b"]))
    with pytest.raises(cls) as caught:
        face.call("get", "k")
    assert type(caught.value) is cls
    assert caught.value.message == f"It is {cls.code}."
    assert caught.value.details == ("a", "b")
    assert caught.value.retry_after_secs == 7
    assert caught.value.request_id == "r-1"


@pytest.mark.parametrize(
    "answer", [DROP, problem(503, "unavailable", retry_after=1), problem(504, "outcome_unknown")]
)
def test_a_safe_call_is_repeated(
    face: Face, server: ScriptedServer, pace: ManualPace, answer: Answer
) -> None:
    server.play(answer, answer, trigger())
    assert face.call("get", "k").id == "t1"
    assert len(server.seen) == 3
    assert pace.pauses in ([0.1, 0.2], [1, 1]) or pytest.approx([0.1, 0.2], abs=1e-6) == pace.pauses


def test_repeats_share_one_idempotency_key(face: Face, server: ScriptedServer) -> None:
    server.play(DROP, problem(409, "conflict", retry_after=1), trigger())
    assert face.call("open", "k").id == "t1"
    assert {seen.headers["Idempotency-Key"] for seen in server.seen} == {"ff" * 16}


def test_a_given_idempotency_key_is_used(face: Face, server: ScriptedServer) -> None:
    server.play(trigger())
    face.call("send", "k", 1, idempotency_key="mine")
    assert server.seen[0].headers["Idempotency-Key"] == "mine"


def test_a_send_by_id_needs_no_key(face: Face, server: ScriptedServer) -> None:
    server.play(DROP, trigger(status="received"))
    assert face.call("send", trigger_id="t1", payload=1).status == "received"
    assert "Idempotency-Key" not in server.seen[1].headers


@pytest.mark.parametrize(
    "answer",
    [DROP, problem(504, "outcome_unknown"), Answer(502, b"bad gateway"), Answer(503, b"from a proxy")],
)
def test_a_call_that_is_not_safe_is_not_repeated_in_doubt(
    face: Face, server: ScriptedServer, answer: Answer
) -> None:
    server.play(answer, trigger())
    with pytest.raises((ConnectionFailed, OutcomeUnknown, Unavailable)):
        face.call("cancel", "k")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "answer", [problem(503, "unavailable", retry_after=1), problem(429, "limit_reached", retry_after=1)]
)
def test_a_call_that_was_certainly_not_done_is_always_repeated(
    face: Face, server: ScriptedServer, answer: Answer
) -> None:
    server.play(answer, trigger(status="canceled"))
    assert face.call("cancel", "k").status == "canceled"


def test_retry_after_is_honoured(face: Face, server: ScriptedServer, pace: ManualPace) -> None:
    server.play(problem(429, "limit_reached", retry_after=3), trigger())
    face.call("get", "k")
    assert pace.pauses == [3]


def test_a_retry_after_beyond_the_budget_is_not_waited_for(
    face: Face, server: ScriptedServer, pace: ManualPace
) -> None:
    server.play(problem(429, "limit_reached", retry_after=60))
    with pytest.raises(LimitReached):
        face.call("get", "k")
    assert pace.pauses == []


def test_repeats_are_bounded_and_spread(face: Face, server: ScriptedServer, pace: ManualPace) -> None:
    server.otherwise = DROP
    pace.byte = 0
    with pytest.raises(ConnectionFailed, match="call again"):
        face.call("get", "k")
    server.otherwise = Answer(status=599)
    assert pace.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5]
    assert sum(pace.pauses) <= 10


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 415, 422, 500])
def test_other_refusals_are_not_repeated(face: Face, server: ScriptedServer, status: int) -> None:
    code = next(cls.code for cls, each in STATUS.items() if each == status)
    server.play(problem(status, code), trigger())
    with pytest.raises(NarrowsError):
        face.call("get", "k")
    assert len(server.seen) == 1


def test_a_cancel_by_id_whose_answer_was_lost_is_found_done(face: Face, server: ScriptedServer) -> None:
    server.play(DROP, problem(409, "conflict"), trigger(status="canceled"))
    assert face.call("cancel", trigger_id="t1").status == "canceled"
    assert [seen.method for seen in server.seen] == ["DELETE", "DELETE", "GET"]


def test_a_cancel_by_id_that_lost_to_a_send_is_a_conflict(face: Face, server: ScriptedServer) -> None:
    server.play(DROP, problem(409, "conflict"), trigger(status="received"))
    with pytest.raises(Conflict):
        face.call("cancel", trigger_id="t1")


def test_a_conflict_at_the_first_try_is_one(face: Face, server: ScriptedServer) -> None:
    server.play(problem(409, "conflict"))
    with pytest.raises(Conflict):
        face.call("cancel", trigger_id="t1")
    assert len(server.seen) == 1


def test_redirects_are_never_followed(face: Face, server: ScriptedServer) -> None:
    server.play(Answer(307, b"", (("Location", f"{server.url}/other"),)))
    with pytest.raises(ConnectionFailed, match="NARROWS_URL"):
        face.call("send", "k", 1)
    assert len(server.seen) == 1


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"id": 3}', b"\xff"])
def test_another_servers_answer_is_named_as_such(face: Face, server: ScriptedServer, body: bytes) -> None:
    server.play(Answer(200, body))
    with pytest.raises(InternalError, match="Is it a Narrows server"):
        face.call("get", "k")


@pytest.mark.parametrize(("status", "cls"), [(404, errors.NotFound), (418, Refusal), (599, InternalError)])
def test_an_error_without_our_body(
    face: Face, server: ScriptedServer, status: int, cls: type[NarrowsError]
) -> None:
    server.play(Answer(status, b"<html>", (("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"),)))
    with pytest.raises(cls, match="proxy"):
        face.call("get", "k")


def test_no_server_says_what_to_do(face: Face, pace: ManualPace) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        face.options["url"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match="narrows dev"):
            face.call("cancel", "k")
    assert pace.pauses, "nothing was sent, so even an unsafe call was tried again"


def test_not_ready_is_an_answer(face: Face, server: ScriptedServer) -> None:
    server.play(Answer(503, {"status": "unavailable", "reasons": ["The disk is full."]}))
    assert face.call("ready").reasons == ["The disk is full."]


def test_a_held_event_is_told_from_a_trigger(face: Face, server: ScriptedServer) -> None:
    held = {
        "id": "h1",
        "event_key": "k",
        "project_id": "p",
        "held": True,
        "held_until": "2026-11-24T00:00:00Z",
    }
    server.play(Answer(202, held), trigger(status="received"))
    assert face.call("hold", "k", 1, hold_secs=60).held is True
    assert face.call("hold", "k", 1, hold_secs=60).status == "received"


def test_what_needs_an_id_resolves_its_key(face: Face, server: ScriptedServer) -> None:
    server.play(trigger(), trigger(), trigger())
    face.call("extend", "a/b", timeout_secs=5)
    face.call("extend", trigger_id="t1", timeout_secs=5)
    assert [seen.target for seen in server.seen] == [
        "/v1/events/a%2Fb",
        "/v1/triggers/t1/extend",
        "/v1/triggers/t1/extend",
    ]


def test_all_pages_are_iterated(face: Face, server: ScriptedServer) -> None:
    page = {"data": [trigger(id="a").body], "has_more": True, "next_cursor": "c/1"}
    empty = {"data": [], "has_more": True, "next_cursor": "c2"}
    server.play(
        Answer(body=page),
        DROP,
        Answer(body=empty),
        Answer(body={"data": [trigger(id="b").body], "has_more": False}),
    )
    assert [each.id for each in face.collect("iterate", status="waiting")] == ["a", "b"]
    assert server.seen[1].target == "/v1/events?status=waiting&limit=100&cursor=c%2F1"


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_the_key_is_never_shown(cls: Any, server: ScriptedServer, pace: ManualPace) -> None:
    client = cls(server.url, api_key="canary-1f2e", pace=pace)
    assert "canary" not in repr(client) + repr(client._connection) + repr(client._connection.conditions)
    with pytest.raises(errors.InvalidRequest) as caught:
        cls(server.url, api_key="canary-1f2e\n")
    assert "canary" not in str(caught.value)


def test_the_key_is_in_no_error(server: ScriptedServer, pace: ManualPace) -> None:
    with Client(server.url, api_key="canary-1f2e", pace=pace, retry_secs=0) as client:
        for answer in (DROP, problem(401, "unauthenticated"), Answer(200, b"{")):
            server.play(answer)
            with pytest.raises(NarrowsError) as caught:
                client.get("k")
            assert server.seen[0].headers["Authorization"] == "Bearer canary-1f2e"
            assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://h", "http://user:canary@h", "http://h:99999", "http://h/?a=1"]
)
def test_urls_that_are_none_are_refused_without_being_shown(url: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        Client(url)
    assert "canary" not in str(caught.value)


def test_settings_come_from_the_environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARROWS_URL", server.url + "/")
    monkeypatch.setenv("NARROWS_API_KEY", "from-env")
    server.play(trigger())
    with Client(project_id="p1") as client:
        client.get("k")
    assert server.seen[0].headers["Authorization"] == "Bearer from-env"
    assert server.seen[0].headers["X-Project-Id"] == "p1"


def test_a_prefix_of_the_url_is_kept(server: ScriptedServer) -> None:
    server.play(trigger())
    with Client(f"{server.url}/narrows/") as client:
        client.get("..")
    assert server.seen[0].target == "/narrows/v1/events/%2E%2E"
