"""Runs that wait for events, over HTTP: one and several, early and late, and how a wait ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.config import Config
from narrows.operations.triggers import ExpireTriggers
from narrows.testing import ManualClock
from tests.api.harness import Client, opened
from tests.api.run_kit import Dispatch, claim, dispatched

WAIT = "wait-for-event"


async def resumed(client: Client) -> Dispatch:
    (one,) = await claim(client)
    return one


async def expire(client: Client, *trigger_ids: str) -> None:
    ids = tuple(("default", each) for each in trigger_ids)
    await client.api.service.perform(ExpireTriggers(ids=ids, entropy=1))


async def test_a_run_goes_on_with_the_payload_of_its_event(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client, payload="P")
        await run("checkpoint", {"state": "S"})
        granted = (await run(WAIT, {"event_key": "k", "request_payload": {"ask": 1}})).json
        assert set(granted) == {"status", "event_key", "expires_at", "trigger_id"}
        assert (granted["status"], granted["event_key"]) == ("waiting", "k")
        trigger = (await client("GET", "/v1/events/k")).json
        assert (trigger["id"], trigger["timeout_secs"]) == (granted["trigger_id"], 3_600)
        assert (trigger["expires_at"], trigger["request_payload"]) == (granted["expires_at"], {"ask": 1})
        assert await claim(client) == []
        await client("POST", "/v1/events/k/send", raw=b'{"payload": {"big": 12345678901234567890123}}')
        again = await resumed(client)
        assert (again.id, again.run["attempt"], again.run["payload"]) == (run.id, 1, "P")
        answer = await again.get("checkpoint")
        assert b'"response_payload":{"big":12345678901234567890123}' in answer.body
        assert answer.json == again.claimed["checkpoint"]
        assert answer.json["state"] == "S"
        assert answer.json["event"]["id"] == granted["trigger_id"]
        assert "events" not in answer.json


async def test_an_event_that_was_held_queues_the_run_at_once(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await client("POST", "/v1/events/k/send", {"payload": "early", "hold_secs": 60})
        granted = await run(WAIT, {"event_key": "k"})
        assert (granted.status, granted.json["status"]) == (200, "waiting")
        assert await run.status() == "queued"
        assert (await resumed(client)).claimed["checkpoint"]["event"]["response_payload"] == "early"


async def test_a_wait_asked_twice_is_one_wait_with_one_callback_url(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        asked = {"event_key": "k", "callback_url": True}
        first, second = [await run(WAIT, asked) for _ in range(2)]
        assert first.json == second.json
        assert len((await client("GET", "/v1/events?event_key=k")).json["data"]) == 1
        path = first.json["callback_url"].partition("8080")[2]
        assert (await client("POST", path, {"any": "body"})).status == 200
        event = (await resumed(client)).claimed["checkpoint"]["event"]
        assert (event["response_payload"], event["sent_by"][:9]) == ({"any": "body"}, "callback:")
        assert (await run(WAIT, asked)).json == first.json


async def test_a_key_that_waits_already_is_409_and_the_run_goes_on(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await client("POST", "/v1/events", {"event_key": "k"})
        assert (await run(WAIT, {"event_key": "k"})).status == 409
        assert (await run(WAIT, {"events": [{"event_key": "free"}, {"event_key": "k"}]})).status == 409
        assert await run.status() == "executing"
        assert (await client("GET", "/v1/events/free")).status == 404
        assert (await run(WAIT, {"event_key": "other"})).status == 200


@pytest.mark.parametrize(
    ("how", "on", "status", "event"),
    [
        ("timeout", "end", "timed_out", None), ("timeout", "resume", "executing", "timed_out"),
        ("cancel", "end", "canceled", None), ("cancel", "resume", "executing", "canceled"),
    ],
)  # fmt: skip
async def test_a_wait_that_ends_without_its_event_does_what_was_asked(
    config: Config, how: str, on: str, status: str, event: str | None
) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        run = await dispatched(client)
        granted = (await run(WAIT, {"event_key": "k", "timeout_secs": 10, f"on_{how}": on})).json
        if how == "cancel":
            await client("DELETE", "/v1/events/k")
        else:
            clock.advance(secs=11)
            await expire(client, granted["trigger_id"])
        found = await claim(client)
        assert await run.status() == status
        assert [each.claimed["checkpoint"]["event"]["status"] for each in found] == ([event] if event else [])
        if not found:
            assert "k" in (await client("GET", f"/v1/runs/{run.id}")).json["error"]


async def test_a_schema_is_held_and_one_that_cannot_be_used_is_400(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        for bad in ({"type": "nothing"}, {"$ref": "https://example.com/x"}, 5, {"pattern": "("}):
            assert (await run(WAIT, {"event_key": "k", "expected_schema": bad})).status == 400
        schema = {"type": "object", "required": ["ok"]}
        assert (await run(WAIT, {"event_key": "k", "expected_schema": schema})).status == 200
        assert (await client("POST", "/v1/events/k/send", {"payload": {}})).status == 422
        assert await run.status() == "waiting"
        assert (await client("POST", "/v1/events/k/send", {"payload": {"ok": 1}})).status == 200
        event = (await resumed(client)).claimed["checkpoint"]["event"]
        assert (event["response_payload"], event["expected_schema"]) == ({"ok": 1}, schema)


# ---- several -------------------------------------------------------------------------------------


def several(*keys: str, **more: Any) -> dict[str, Any]:
    return {"events": [{"event_key": key} for key in keys], **more}


async def test_any_of_several_resumes_and_the_others_are_canceled(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        granted = (await run(WAIT, several("a", "b", "c"))).json
        assert [each["event_key"] for each in granted["events"]] == ["a", "b", "c"]
        assert {key: granted[key] for key in granted["events"][0]} == granted["events"][0]
        await client("POST", "/v1/events/b/send", {"payload": "B"})
        checkpoint = (await resumed(client)).claimed["checkpoint"]
        assert [each["status"] for each in checkpoint["events"]] == ["canceled", "received", "canceled"]
        assert (checkpoint["event"]["event_key"], checkpoint["event"]["response_payload"]) == ("b", "B")
        for key in "ac":
            assert (await client("POST", f"/v1/events/{key}/send", {})).status == 409


@pytest.mark.parametrize(("mode", "needed"), [({"mode": "all"}, 3), ({"mode": "count", "count": 2}, 2)])
async def test_all_or_some_of_several(config: Config, mode: dict[str, Any], needed: int) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await run(WAIT, several("a", "b", "c", **mode))
        for count, key in enumerate("cab"[:needed], 1):
            assert await run.status() == "waiting"
            await client("POST", f"/v1/events/{key}/send", {"payload": count})
        checkpoint = (await resumed(client)).claimed["checkpoint"]
        assert sum(each["status"] == "received" for each in checkpoint["events"]) == needed
        assert checkpoint["event"]["response_payload"] == needed  # the last one that was needed


async def test_each_of_several_has_its_own_time_out_payload_and_callback_url(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        events = [
            {"event_key": "a", "timeout_secs": 5, "callback_url": True, "request_payload": 1},
            {"event_key": "b", "callback_url": True},
            {"event_key": "c", "timeout_secs": 0},
        ]
        granted = (await run(WAIT, {"events": events, "timeout_secs": 77})).json["events"]
        urls = [each.get("callback_url") for each in granted]
        assert len({*urls}) == 3
        assert urls[2] is None
        triggers = [(await client("GET", f"/v1/triggers/{each['trigger_id']}")).json for each in granted]
        assert [each["timeout_secs"] for each in triggers] == [5, 77, 0]
        assert granted[2]["expires_at"] == "9999-12-31T23:59:59Z"
        await client("POST", urls[1].partition("8080")[2], {"x": 1})
        assert (await resumed(client)).claimed["checkpoint"]["event"]["event_key"] == "b"


async def test_a_group_that_can_no_longer_be_reached_is_over(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await run(WAIT, several("a", "b", mode="all", on_cancel="resume"))
        await client("DELETE", "/v1/events/a")
        checkpoint = (await resumed(client)).claimed["checkpoint"]
        assert (checkpoint["event"]["event_key"], checkpoint["event"]["status"]) == ("a", "canceled")


async def test_fifty_events_at_once_resume_once(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        keys = [f"k{number}" for number in range(50)]
        await run(WAIT, several(*keys, mode="all"))
        sends = [client("POST", f"/v1/events/{key}/send", {"payload": 1}) for key in reversed(keys)]
        assert {answer.status for answer in await asyncio.gather(*sends)} == {200}
        assert (await resumed(client)).run["dispatches"] == 2
        kinds = [
            each["kind"] for each in (await client("GET", f"/v1/runs/{run.id}/events?limit=100")).json["data"]
        ]
        assert kinds.count("run.resumed") == 1


@pytest.mark.parametrize(
    "body",
    [
        {}, {"event_key": "k", "events": [{"event_key": "a"}]}, {"events": []}, {"event_key": ""},
        {"event_key": "a\x07"}, {"event_key": "k" * 513}, several(*map(str, range(101))),
        several("a", "a"), several("a", mode="count"), several("a", count=1),
        several("a", "b", mode="count", count=3), several("a", "b", mode="count", count=0),
        several("a", mode="some"), {"event_key": "k", "mode": "count"}, {"event_key": "k", "count": 1},
        several("a", callback_url=True), several("a", request_payload=1), several("a", expected_schema={}),
        several("a", notify_url="https://example.com/"), {"events": [{"timeout_secs": 1}]},
        {"event_key": "k", "timeout_secs": -1}, {"event_key": "k", "timeout_secs": 31_536_001},
        {"event_key": "k", "on_timeout": "retry"}, {"event_key": "k", "on_cancel": None},
        {"event_key": "k", "notify_url": "http://10.0.0.1/"}, {"event_key": "k", "notify_url": "nothing"},
        {"events": [{"event_key": "a", "notify_url": "http://localhost/"}]},
    ],
)  # fmt: skip
async def test_a_wait_that_is_not_clear_is_400_and_the_run_goes_on(config: Config, body: Any) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        answer = await run(WAIT, body)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request"), answer.body
        assert await run.status() == "executing"
        assert (await client("GET", "/v1/events/stats")).json["total_count"] == 0


async def test_a_wait_with_a_notify_url_makes_its_delivery(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        granted = (await run(WAIT, {"event_key": "k", "notify_url": "https://example.com/hook"})).json
        (delivery,) = (await client("GET", "/v1/deliveries")).json["data"]
        assert (delivery["type"], delivery["trigger_id"]) == ("trigger.opened", granted["trigger_id"])
