"""Waits of a run for several events that end in different ways, over the API: times that differ, batches in
any order, and what the checkpoint then says. The plain cases are in `test_run_waits.py`."""

from __future__ import annotations

import random
from typing import Any

import pytest

from narrows.config import Config
from narrows.testing import ManualClock
from tests.api.harness import Client, opened
from tests.api.push_kit import Asked, Life, handled, in_turn, serving
from tests.api.run_kit import Dispatch, claim, dispatched, start
from tests.outgoing.servers import answer

WAIT = "wait-for-event"


async def waiting(client: Client, timeouts_secs: dict[str, int], **more: Any) -> Dispatch:
    run = await dispatched(client)
    events = [{"event_key": key, "timeout_secs": secs} for key, secs in timeouts_secs.items()]
    assert (await run(WAIT, {"events": events, **more})).status == 200
    return run


async def checkpoint(client: Client) -> tuple[dict[str, str], str]:
    """How each wait of the resumed run ended, and which ended the group."""
    (run,) = await claim(client)
    found = run.claimed["checkpoint"]
    assert (await run.get("checkpoint")).json == found
    return {each["event_key"]: each["status"] for each in found["events"]}, found["event"]["event_key"]


async def send(client: Client, key: str) -> int:
    return (await client("POST", f"/v1/events/{key}/send", {"payload": key})).status


async def test_one_of_several_that_times_out_leaves_the_others_to_come(config: Config) -> None:
    async with serving(config) as client:
        run = await waiting(client, {"a": 5, "b": 60, "c": 60})
        await client.pass_time(10)
        assert await client.status(run.id) == "waiting"
        assert await send(client, "a") == 409
        assert await send(client, "b") == 200
        ended = {"a": "timed_out", "b": "received", "c": "canceled"}
        assert await checkpoint(client) == (ended, "b")


@pytest.mark.parametrize(("on", "status"), [("end", "timed_out"), ("resume", "queued")])
async def test_of_a_count_so_many_may_time_out_as_are_not_needed(
    config: Config, on: str, status: str
) -> None:
    async with serving(config) as client:
        times = {"a": 5, "b": 15, "c": 60, "d": 60}
        run = await waiting(client, times, mode="count", count=3, on_timeout=on)
        await send(client, "c")
        await client.pass_time(10)
        assert await client.status(run.id) == "waiting", "a is not needed"
        await client.pass_time(10)
        ended = await client.becomes(run.id, status)
        assert await send(client, "d") == 409
        if on == "resume":
            statuses = {"a": "timed_out", "b": "timed_out", "c": "received", "d": "canceled"}
            assert await checkpoint(client) == (statuses, "b")
        else:
            assert ended["error"] == "its wait for b timed out after 15 s"


@pytest.mark.parametrize(
    ("on_timeout", "on_cancel", "last", "status"),
    [
        ("end", "resume", "time", "timed_out"), ("end", "resume", "cancel", "queued"),
        ("resume", "end", "time", "queued"), ("resume", "end", "cancel", "canceled"),
    ],
)  # fmt: skip
async def test_what_made_it_impossible_decides_how_it_goes_on(
    config: Config, on_timeout: str, on_cancel: str, last: str, status: str
) -> None:
    async with serving(config) as client:
        run = await waiting(client, {"a": 20, "b": 3_600}, on_timeout=on_timeout, on_cancel=on_cancel)
        if last == "cancel":
            await client.pass_time(25)
            await client("DELETE", "/v1/events/b")
        else:
            await client("DELETE", "/v1/events/b")
            await client.pass_time(25)
        await client.becomes(run.id, status)
        if status == "queued":
            _, deciding = await checkpoint(client)
            assert deciding == ("b" if last == "cancel" else "a")


async def test_a_handler_that_is_called_again_is_told_which_wait_ended_also_by_its_time(
    config: Config,
) -> None:
    async def first(asked: Asked) -> bytes:
        events = [{"event_key": "a", "timeout_secs": 5}, {"event_key": "b"}]
        await asked.plane(WAIT, {"events": events, "mode": "all", "on_timeout": "resume"})
        return answer()

    async def second(asked: Asked) -> bytes:
        event = (await asked.plane.get("checkpoint")).json["event"]
        assert (event["event_key"], event["status"]) == ("a", "timed_out")
        assert asked.headers["x-resume-trigger"] == event["id"]
        return answer(b'"went on"')

    async with serving(config) as client, handled(client, in_turn(first, second)):
        run_id = (await start(client))["id"]
        await client.becomes(run_id, "waiting")
        await client.pass_time(10)
        assert (await client.becomes(run_id, "completed"))["result"] == "went on"


async def test_all_that_are_over_at_once_are_timed_out_in_the_order_of_their_times(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:  # without an engine: nobody noticed
        await waiting(client, {"c": 30, "a": 10, "b": 20}, mode="count", count=2, on_timeout="resume")
        clock.advance(secs=40)
        assert await send(client, "a") == 409
        statuses = {"c": "canceled", "a": "timed_out", "b": "timed_out"}
        assert await checkpoint(client) == (statuses, "b")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("mode", "taken"), [({}, 1), ({"mode": "count", "count": 20}, 20), ({"mode": "all"}, 50)]
)
async def test_fifty_events_in_one_batch_in_any_order(
    config: Config, seed: int, mode: dict[str, Any], taken: int
) -> None:
    keys = [f"k{number:02}" for number in range(50)]
    async with serving(config) as client:
        run = await waiting(client, dict.fromkeys(keys, 60), **mode)
        random.Random(seed).shuffle(keys)
        items = [{"event_key": key, "payload": key} for key in keys]
        results = (await client("POST", "/v1/events/batch", {"events": items})).json["results"]
        assert [each["status"] for each in results] == [200] * taken + [409] * (50 - taken)
        statuses, last = await checkpoint(client)
        assert {key for key, status in statuses.items() if status == "received"} == set(keys[:taken])
        assert last == keys[taken - 1]
        assert (await client.kinds(run.id)).count("resumed") == 1


async def test_a_key_twice_in_a_batch_counts_once(config: Config) -> None:
    async with serving(config) as client:
        run = await waiting(client, {"a": 60, "b": 60}, mode="all")
        items = [{"event_key": "a", "payload": 1}] * 3
        results = (await client("POST", "/v1/events/batch", {"events": items})).json["results"]
        assert [each["status"] for each in results] == [200] * 3
        assert await client.status(run.id) == "waiting"


async def test_events_that_were_held_for_some_of_several_count_at_once(config: Config) -> None:
    async def held(client: Life) -> list[str]:
        return [each["event_key"] for each in (await client("GET", "/v1/held-events")).json["data"]]

    async with serving(config) as client:
        for key in ("b", "c"):
            await client("POST", f"/v1/events/{key}/send", {"payload": key, "hold_secs": 600})
        run = await waiting(client, {"a": 60, "b": 60, "c": 60}, mode="all")
        assert (await client.status(run.id), await held(client)) == ("waiting", [])
        assert await send(client, "a") == 200
        assert await checkpoint(client) == (dict.fromkeys("abc", "received"), "a")
        for key in ("b", "c"):
            await client("POST", f"/v1/events/{key}/send", {"payload": key, "hold_secs": 600})
        await waiting(client, {"a": 60, "b": 60, "c": 60})
        assert await held(client) == ["c"], "one was enough, and the other is there for a later wait"
        ended = {"a": "canceled", "b": "received", "c": "canceled"}
        assert await checkpoint(client) == (ended, "b")
