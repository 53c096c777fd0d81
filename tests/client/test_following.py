"""`wait` and `stream` through lost connections, restarts and local time-outs, for both clients."""

from __future__ import annotations

import pytest

from narrows.client import Client, StillWaiting
from narrows.errors import ConnectionFailed, NotFound
from tests.client.conftest import Face
from tests.client.scripted import DROP, Answer, ManualPace, ScriptedServer, frame, problem, stream, trigger

NO_CONTENT = Answer(204)


def statuses(face: Face, *args: str) -> list[str]:
    return [each.status for each in face.collect("stream", *args)]


def test_a_stream_ends_when_the_trigger_is_settled(face: Face, server: ScriptedServer) -> None:
    server.play(stream(frame(1), b": ping\n\n", frame(2), frame(3, status="received"), frame(4)))
    assert statuses(face, "a/b") == ["waiting", "waiting", "received"]
    assert server.seen[0].target == "/v1/events/a%2Fb/stream"
    assert server.seen[0].headers["Accept"] == "text/event-stream"


def test_a_stream_goes_on_by_id_after_what_it_has_seen(face: Face, server: ScriptedServer) -> None:
    server.play(
        stream(frame(1), frame(2)[:20]),
        DROP,
        problem(503, "unavailable", retry_after=1),
        stream(b": nothing new\n\n"),
        stream(frame(2), frame(3, status="timed_out")),
    )
    assert statuses(face, "k") == ["waiting", "waiting", "timed_out"]
    assert [seen.target for seen in server.seen[1:]] == ["/v1/triggers/t1/stream"] * 4
    assert [seen.headers.get("Last-Event-ID") for seen in server.seen] == [None, *["t1.1"] * 4]


def test_a_frame_that_comes_again_is_not_shown_again(face: Face, server: ScriptedServer) -> None:
    server.play(stream(frame(1)), stream(frame(1), frame(2, status="canceled")))
    assert statuses(face, "k") == ["waiting", "canceled"]


def test_a_stream_ends_at_204(face: Face, server: ScriptedServer) -> None:
    server.play(stream(frame(1)), NO_CONTENT)
    assert statuses(face, "k") == ["waiting"]


def test_a_stream_cut_anywhere_is_the_same(face: Face, server: ScriptedServer) -> None:
    text = frame(1) + b": ping\r\n\r\n" + frame(2, status="received").replace(b"\n", b"\r\n")
    server.play(stream(*(text[i : i + 1] for i in range(len(text)))))
    assert statuses(face, "k") == ["waiting", "received"]


def test_other_events_of_a_stream_are_skipped(face: Face, server: ScriptedServer) -> None:
    server.play(stream(b"event: bye\ndata: {}\n\n", frame(1, status="received")))
    assert statuses(face, "k") == ["received"]


def test_a_stream_of_nothing_is_a_refusal(face: Face, server: ScriptedServer) -> None:
    server.play(problem(404, "not_found"))
    with pytest.raises(NotFound):
        statuses(face, "k")


def test_a_stream_gives_up_in_the_end(face: Face, server: ScriptedServer, pace: ManualPace) -> None:
    face.options |= {"retry_secs": 1, "reconnect_secs": 20}
    server.play(stream(frame(1)), *[DROP] * 30)
    with pytest.raises(ConnectionFailed):
        statuses(face, "k")
    assert 10 < sum(pace.pauses) <= 20


def test_a_stream_that_is_left_is_closed(server: ScriptedServer) -> None:
    server.play(stream(frame(1), frame(2)), trigger())
    with Client(server.url) as client:
        for each in client.stream("k"):
            assert each.status == "waiting"
            break
        assert client.get("k").id == "t1"
    assert len(server.seen) == 2


def test_wait_polls_by_id_until_the_trigger_is_settled(face: Face, server: ScriptedServer) -> None:
    server.play(
        trigger(), trigger(), DROP, problem(503, "unavailable", retry_after=2), trigger(status="received")
    )
    assert face.call("wait", "k").status == "received"
    assert [seen.target for seen in server.seen] == [
        "/v1/events/k",
        *["/v1/triggers/t1/wait?timeout_secs=30"] * 4,
    ]


def test_wait_returns_what_is_settled_already(face: Face, server: ScriptedServer) -> None:
    server.play(trigger(status="timed_out"))
    settled = face.call("wait", "k")
    assert settled.status == "timed_out"
    assert face.call("wait", settled) is settled
    assert len(server.seen) == 1


def test_wait_survives_a_long_restart_once_it_has_reached_the_server(
    face: Face, server: ScriptedServer, pace: ManualPace
) -> None:
    face.options |= {"retry_secs": 1, "reconnect_secs": 60}
    server.play(trigger(), *[DROP] * 12, trigger(status="received"))
    assert face.call("wait", "k").status == "received"
    assert sum(pace.pauses) > 30


def test_wait_survives_a_long_restart_from_the_start_where_the_wait_is_known(
    face: Face, server: ScriptedServer, pace: ManualPace
) -> None:
    """Whoever has opened it has reached the server: `narrows events wait` gives its trigger."""
    face.options |= {"retry_secs": 1, "reconnect_secs": 60}
    server.play(trigger(), *[DROP] * 12, trigger(status="received"))
    assert face.call("wait", face.call("get", "k")).status == "received"
    assert sum(pace.pauses) > 30


def test_wait_gives_up_on_a_server_that_stays_away(face: Face, server: ScriptedServer) -> None:
    face.options |= {"reconnect_secs": 20}
    server.play(trigger(), *[DROP] * 30)
    with pytest.raises(ConnectionFailed):
        face.call("wait", "k")


def test_the_local_time_out_of_wait(face: Face, server: ScriptedServer, pace: ManualPace) -> None:
    server.play(trigger(), *[DROP] * 30)
    with pytest.raises(TimeoutError) as caught:
        face.call("wait", "k", timeout_secs=7)
    assert isinstance(caught.value, StillWaiting)
    assert caught.value.trigger.id == "t1"
    assert sum(pace.pauses) <= 7


def test_wait_without_time_looks_once(face: Face, server: ScriptedServer) -> None:
    server.play(trigger())
    with pytest.raises(StillWaiting):
        face.call("wait", "k", timeout_secs=0)
    server.play(trigger(), trigger(status="received"))
    known = face.call("get", "k")
    assert face.call("wait", known, timeout_secs=0).status == "received"
    assert server.seen[1].target == "/v1/triggers/t1"


def test_wait_for_nothing_is_a_refusal(face: Face, server: ScriptedServer) -> None:
    server.play(problem(404, "not_found", details=["order:1 is waiting."]))
    with pytest.raises(NotFound) as caught:
        face.call("wait", "Order:1")
    assert caught.value.details == ("order:1 is waiting.",)
