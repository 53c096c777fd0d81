"""A run in each of its states, over the API: what canceling it, replaying it, claiming it and its run plane
then come to. How the states follow from one another stands in `tests/core/test_states.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import get_args

import pytest

from narrows.config import Config
from narrows.wire.run_messages import RunStatus
from tests.api.push_kit import Life, serving
from tests.api.run_kit import Dispatch, claim, dispatched, make_job, start

#: Brings a run into a state; answers its id, and its newest dispatch where it has had one.
Bring = Callable[[Life], Awaitable[tuple[str, Dispatch | None]]]


async def scheduled(client: Life) -> tuple[str, None]:
    await make_job(client)
    return (await start(client, scheduled_at="2026-03-01T00:00:00Z"))["id"], None


async def retried(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("fail", {"error": "once"})
    return run.id, run


async def new(client: Life) -> tuple[str, None]:
    await make_job(client)
    return (await start(client))["id"], None


async def resumed(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("wait-for-event", {"event_key": "k"})
    await client("POST", "/v1/events/k/send", {"payload": 1})
    return run.id, run


async def returned(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("release")
    return run.id, run


async def claimed(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    return run.id, run


async def waits(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    events = [{"event_key": "a"}, {"event_key": "b"}]
    await run("wait-for-event", {"events": events, "mode": "all", "on_cancel": "resume"})
    await client("POST", "/v1/events/a/send", {})
    return run.id, run


async def sleeps(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("sleep", {"duration_secs": 3_600})
    return run.id, run


async def completed(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("complete", {"result": 1})
    return run.id, run


async def failed(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("fail", {"error": "for good", "retry": False})
    return run.id, run


async def timed_out(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("wait-for-event", {"event_key": "k", "timeout_secs": 5})
    await client.pass_time(6)
    await client.becomes(run.id, "timed_out")
    return run.id, run


async def canceled(client: Life) -> tuple[str, Dispatch]:
    run = await dispatched(client)
    await run("wait-for-event", {"event_key": "k"})
    await client("DELETE", "/v1/events/k")
    return run.id, run


async def dead(client: Life) -> tuple[str, Dispatch]:
    await make_job(client, max_attempts=1)
    run = await dispatched(client)
    await run("fail", {"error": "the last attempt"})
    return run.id, run


LIVE: list[tuple[str, Bring]] = [
    ("delayed", scheduled), ("delayed", retried), ("queued", new), ("queued", resumed), ("queued", returned),
    ("executing", claimed), ("waiting", waits), ("waiting", sleeps),
]  # fmt: skip
ENDED: list[tuple[str, Bring]] = [
    ("completed", completed), ("failed", failed), ("timed_out", timed_out), ("canceled", canceled),
    ("dead_letter", dead),
]  # fmt: skip


def test_no_state_is_forgotten() -> None:
    assert {status for status, _ in LIVE + ENDED} == set(get_args(RunStatus))


@pytest.mark.parametrize(("status", "bring"), LIVE)
async def test_a_live_run_is_canceled_once_with_all_that_it_waits_for(
    config: Config, status: str, bring: Bring
) -> None:
    async with serving(config) as client:
        run_id, run = await bring(client)
        assert await client.status(run_id) == status
        assert (await client("POST", f"/v1/runs/{run_id}/replay")).status == 409
        assert (await client("DELETE", "/v1/jobs/job")).status == 409
        gone = await client("DELETE", f"/v1/runs/{run_id}")
        assert (gone.status, gone.json["status"], gone.json["error"]) == (200, "canceled", "canceled by user")
        assert "finished_at" in gone.json
        assert (await client("DELETE", f"/v1/runs/{run_id}")).status == 409
        triggers = (await client("GET", "/v1/events")).json["data"]
        assert "waiting" not in {each["status"] for each in triggers}
        await client.leap(7_200)
        assert (await client("GET", f"/v1/runs/{run_id}")).json == gone.json, "nothing brings it back"
        assert await claim(client) == []
        assert (await client.kinds(run_id))[-1] == "canceled"
        if run is not None:
            assert (await run("heartbeat")).status == 410
            assert (await run("complete", {"result": "late"})).status == 410


@pytest.mark.parametrize(("status", "bring"), ENDED)
async def test_an_ended_run_never_changes_and_is_replayed_unless_it_was_completed(
    config: Config, status: str, bring: Bring
) -> None:
    async with serving(config) as client:
        run_id, run = await bring(client)
        ended = (await client("GET", f"/v1/runs/{run_id}")).json
        assert ended["status"] == status
        assert ("error" in ended) == (status != "completed")
        refused = await client("DELETE", f"/v1/runs/{run_id}")
        assert (refused.status, status in refused.json["error"]) == (409, True)
        assert run is not None
        assert (await run("complete", {"result": "late"})).status == 410
        assert (await run("wait-for-event", {"event_key": "late"})).status == 410
        await client.leap(600)
        assert (await client("GET", f"/v1/runs/{run_id}")).json == ended
        replayed = await client("POST", f"/v1/runs/{run_id}/replay")
        assert replayed.status == (409 if status == "completed" else 201)
        assert [each.id for each in await claim(client)] == [
            each["id"] for each in [replayed.json] if "id" in each
        ]
        assert (await client("GET", f"/v1/runs/{run_id}")).json == ended
