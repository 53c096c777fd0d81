"""Calls as pure values: how keys, queries and payloads are spelled, and when a call may be repeated."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from http.client import HTTPMessage
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.client import BatchItem, Client, RunClient, Trigger, calls
from narrows.client.call import Call, Repeat, encode_segment
from narrows.errors import InvalidRequest
from tests.client.scripted import TRIGGER

KNOWN = msgspec.convert(TRIGGER, Trigger)


@pytest.mark.parametrize(
    ("key", "segment"),
    [
        ("order:1", "order%3A1"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a..b", "a..b"),
        ("%2e%2e", "%252e%252e"),
        ("ä b+c?d#e", "%C3%A4%20b%2Bc%3Fd%23e"),
        ("x/send", "x%2Fsend"),
        ("stats", "stats"),
        ("A-z_0.9~", "A-z_0.9~"),
    ],
)
def test_keys_are_percent_encoded(key: str, segment: str) -> None:
    assert calls.get(key).target == f"/v1/events/{segment}"


@given(st.text(min_size=1).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_any_key_decodes_to_itself_and_is_one_segment(key: str) -> None:
    segment = encode_segment(key)
    assert unquote_to_bytes(segment).decode() == key
    assert segment.isascii()
    assert not set(segment) & set("/?#")
    assert segment not in {".", ".."}


@pytest.mark.parametrize("key", ["", "\ud800"])
def test_keys_that_no_request_can_hold_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        calls.get(key)


def test_the_id_is_used_wherever_it_is_known() -> None:
    assert calls.get(KNOWN).target == calls.get(trigger_id="t1").target == "/v1/triggers/t1"
    assert calls.send(KNOWN, 1).target == "/v1/triggers/t1/send"
    assert calls.cancel(KNOWN).target == "/v1/triggers/t1"
    assert json.loads(calls.create_stream_token(KNOWN).body or b"") == {"trigger_id": "t1"}


@pytest.mark.parametrize("arguments", [{}, {"event_key": "a", "trigger_id": "t1"}])
def test_a_wait_is_named_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="one of them"):
        calls.get(**arguments)


def test_queries_leave_out_what_is_not_asked() -> None:
    assert calls.list().target == "/v1/events"
    assert calls.list(key_prefix="a&b", limit=0).target == "/v1/events?key_prefix=a%26b&limit=0"


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (msgspec.UNSET, b"{}"),
        (None, b'{"payload":null}'),
        ({"a": [1, 2.5, "ä"]}, '{"payload":{"a":[1,2.5,"ä"]}}'.encode()),
        (2**70, b'{"payload":1180591620717411303424}'),
        (msgspec.Raw(b"1.10"), b'{"payload":1.10}'),
        (datetime(2026, 1, 1, tzinfo=UTC), b'{"payload":"2026-01-01T00:00:00Z"}'),
        ((1, 2), b'{"payload":[1,2]}'),
    ],
)
def test_payloads(payload: Any, body: bytes) -> None:
    assert calls.send("k", payload).body == body


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("payload", [float("nan"), [float("inf")], "\ud800", object(), CIRCLE])
def test_payloads_that_are_no_json_are_refused(payload: Any) -> None:
    with pytest.raises(InvalidRequest, match="payload"):
        calls.send("k", payload)


@pytest.mark.parametrize(
    ("call", "repeat"),
    [
        (calls.open("k"), Repeat.KEYED),
        (calls.open("k", if_waiting="join"), Repeat.KEYED),
        (calls.send("k", 1), Repeat.KEYED),
        (calls.send(trigger_id="t1"), Repeat.SAFE),
        (calls.hold("k", hold_secs=1), Repeat.KEYED),
        (calls.send_batch([BatchItem(event_key="k")]), Repeat.KEYED),
        (calls.send_prefix("k"), Repeat.KEYED),
        (calls.send_prefix("k", dry_run=True), Repeat.SAFE),
        (calls.cancel("k"), Repeat.NEVER),
        (calls.cancel(trigger_id="t1"), Repeat.SAFE),
        (calls.create_project("p"), Repeat.NEVER),
        (calls.create_api_key(scopes=["*"]), Repeat.KEYED),
        (calls.purge(older_than_days=1), Repeat.SAFE),
    ],
)
def test_what_may_be_repeated(call: Call[Any], repeat: Repeat) -> None:
    assert call.repeat is repeat


def test_calls_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        calls.get("k").path = "/"  # type: ignore[misc]


@pytest.mark.parametrize("url", ["http://h/x", "http://h/h/", "nonsense", "http://h/hh/tok"])
def test_what_is_no_callback_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        calls.send_to_callback(url)
    assert url not in str(caught.value)


def test_a_run_is_read_from_the_headers_of_any_server() -> None:
    """`http.server` gives a mapping that is no `Mapping`."""
    pairs = [("X-Run-ID", "r1"), ("X-Run-Token", "secret"), ("X-Resume-Trigger", "t1")]
    message = HTTPMessage()
    for name, value in pairs:
        message[name] = value
    with Client("http://127.0.0.1:1") as client:
        for headers in (message, dict(pairs), pairs, {"HTTP_X_RUN_ID": "r1", "HTTP_X_RUN_TOKEN": "secret"}):
            run = RunClient.from_headers(client, headers)
            assert run.id == "r1"
            assert run.plane.run_token == "secret"
        with pytest.raises(InvalidRequest, match="no dispatch"):
            RunClient.from_headers(client, HTTPMessage())
