"""Workers that die, stand still for longer than their lease, answer late or twice, or lose their connection:
over the API, with an engine on a manual clock."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from narrows.config import Config
from narrows.testing import ManualClock
from tests.api.harness import Server, opened
from tests.api.push_kit import Life, serving
from tests.api.run_kit import ALONE, Dispatch, claim, make_job, start

LEASE_SECS = 60
#: Whatever a worker may still say of a run that is no longer his.
LATE: list[tuple[str, Any]] = [
    ("complete", {"result": "late"}),
    ("fail", {"error": "late"}),
    ("wait-for-event", {"event_key": "late"}),
    ("sleep", {"duration_secs": 0}),
    ("checkpoint", {"state": "late"}),
    ("heartbeat", None),
]


async def claimed(client: Life) -> Dispatch:
    (run,) = await claim(client)
    return run


async def test_the_run_of_a_killed_worker_goes_to_the_next_with_what_it_kept(config: Config) -> None:
    async with serving(config) as client:
        await make_job(client)
        run_id = (await start(client, payload="P"))["id"]
        killed = await claimed(client)
        await killed("checkpoint", {"state": "half"})
        await client.pass_time(LEASE_SECS - 5)
        assert await claim(client) == [], "his lease holds"
        next_one = asyncio.ensure_future(client("POST", "/v1/workers/claim", {"jobs": ["job"]}))
        await client.until(lambda: client.api.service.claims.waiting)
        await client.pass_time(5)
        (found,) = (await next_one).json["runs"]
        run = found["run"]
        assert (run["id"], run["attempt"], run["dispatches"]) == (run_id, 2, 2)
        assert (run["payload"], found["checkpoint"]) == ("P", {"state": "half"})
        shown = await client.kinds(run_id)
        assert shown == ["created", "dispatched", "checkpointed", "lease_lost", "dispatched"]


@pytest.mark.parametrize("taken_by_another", [True, False])
async def test_who_stood_still_for_longer_than_his_lease_answers_in_vain_also_twice(
    config: Config, taken_by_another: bool
) -> None:
    async with serving(config) as client:
        await make_job(client)
        await start(client)
        late = await claimed(client)
        await client.pass_time(LEASE_SECS)
        await client.becomes(late.id, "queued")
        second = await claimed(client) if taken_by_another else None
        before = (await client("GET", f"/v1/runs/{late.id}")).json
        for name, body in LATE * 2:
            answer = await late(name, body)
            assert (answer.status, answer.json["code"]) == (409, "conflict"), name
        assert (await client("GET", f"/v1/runs/{late.id}")).json == before
        second = second or await claimed(client)
        for _ in range(2):
            assert (await second("complete", {"result": "mine"})).json == {"status": "completed"}
        for name, body in LATE * 2:
            answer = await late(name, body)
            assert (answer.status, answer.json["code"]) == (410, "gone"), name
        assert (await client("GET", f"/v1/runs/{late.id}")).json["result"] == "mine"
        assert (await client("GET", "/v1/events")).json["data"] == []


async def test_an_answer_after_the_lease_counts_as_long_as_nobody_noticed(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:  # without an engine: the role is late
        await make_job(client)
        await start(client)
        (late,) = await claim(client)
        clock.advance(secs=LEASE_SECS + 1)
        assert (await late("heartbeat")).status == 200
        clock.advance(secs=LEASE_SECS + 1)
        assert (await late("complete", {"result": 1})).json == {"status": "completed"}


async def test_heartbeats_keep_the_run_up_to_the_time_of_the_dispatch(config: Config) -> None:
    async with serving(config) as client:
        await make_job(client, timeout_secs=200)
        await start(client)
        busy = await claimed(client)
        for _ in range(4):
            await client.pass_time(45)
            assert (await busy("heartbeat")).status == 200
        assert (await client.status(busy.id), await claim(client)) == ("executing", [])
        await client.pass_time(20)
        run = await client.becomes(busy.id, "delayed")
        assert (run["error"], run["attempt"]) == ("the dispatch took longer than 200 s", 2)
        assert (await busy("heartbeat")).status == 409


async def test_a_run_that_every_worker_loses_lies_in_the_dead_letter(config: Config) -> None:
    async with serving(config) as client:
        await make_job(client, max_attempts=2)
        run_id = (await start(client))["id"]
        for attempt in (1, 2):
            assert (await claimed(client)).run["attempt"] == attempt
            await client.pass_time(LEASE_SECS)
            await client.becomes(run_id, "queued" if attempt == 1 else "dead_letter")
        assert "lease was lost" in (await client("GET", f"/v1/runs/{run_id}")).json["error"]


async def test_one_given_back_is_no_attempt_and_neither_is_a_resume(config: Config) -> None:
    async with serving(config) as client:
        await make_job(client, max_attempts=2)
        await start(client)
        for _ in range(3):
            await (await claimed(client))("release")
        first = await claimed(client)
        await client.pass_time(LEASE_SECS)
        await client.becomes(first.id, "queued")
        second = await claimed(client)
        assert (second.run["attempt"], second.run["dispatches"]) == (2, 5)
        await second("wait-for-event", {"event_key": "k"})
        await client("POST", "/v1/events/k/send", {})
        assert (await claimed(client)).run["attempt"] == 1, "failures count anew after a wait"


@ALONE
async def test_a_worker_keeps_his_run_over_a_restart_of_the_server(config: Config) -> None:
    clock = ManualClock()
    async with serving(config, clock) as client:
        await make_job(client)
        await start(client)
        before = await claimed(client)
    clock.advance(secs=LEASE_SECS - 1)  # he cannot reach anybody to renew it
    async with serving(config, clock) as client:
        await client.pass_time(LEASE_SECS - 5)
        assert await client.status(before.id) == "executing"
        after = Dispatch(client, before.claimed)
        assert (await after("heartbeat")).status == 200
        assert (await after("complete", {"result": 1})).json == {"status": "completed"}


@pytest.mark.parametrize("reads", [0, 1])
def test_a_complete_whose_connection_broke_is_repeated_and_answered_as_the_first_time(
    config: Config, reads: int
) -> None:
    def ask(path: str, body: Any, token: str | None = None) -> Any:
        bearer = f"\nauthorization: Bearer {token}" if token else ""
        return server.ask(f"POST {path} HTTP/1.1{bearer}", json.dumps(body).encode()).json

    with Server(config) as server:
        ask("/v1/jobs", {"slug": "job"})
        run_id = ask("/v1/jobs/job/trigger", {})["id"]
        (found,) = ask("/v1/workers/claim", {"jobs": ["job"]})["runs"]
        path, body = f"/sdk/v1/runs/{run_id}/complete", {"result": "r"}
        content = json.dumps(body).encode()
        with server.connect() as broken:
            head = (
                f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
                f"authorization: Bearer {found['run_token']}\r\n\r\n"
            )
            broken.sendall(head.encode() + content)
            broken.recv(reads)  # of the answer it sees nothing, or its first byte
        for _ in range(2):
            assert ask(path, body, found["run_token"]) == {"status": "completed"}
        kinds = server.ask(f"GET /v1/runs/{run_id}/events HTTP/1.1").json["data"]
        assert [each["kind"] for each in kinds].count("run.completed") == 1
