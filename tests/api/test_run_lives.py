"""What a run outlives and what goes along with it, over the API: a killed server, leases, webhooks about its
waits, clocks that are late."""

from __future__ import annotations

import json
from typing import Any

import pytest

from narrows.config import Config
from narrows.operations import reads
from narrows.testing import ManualClock
from narrows.wire import signatures
from tests.api.harness import Client, opened
from tests.api.push_kit import handled, hang, serving
from tests.api.run_kit import ALONE, Dispatch, claim, dispatched, make_job, start
from tests.outgoing.servers import Reader, Target, Writer, answer, target


async def leased_secs(client: Client, run_id: str) -> float:
    """For how long from now the run is its holder's."""
    service = client.api.service
    run = await service.read(reads.GetRun("default", run_id))
    return float(round((run.due_at - service.clock.now()) / 1_000_000, 3))


async def test_a_dispatch_of_the_server_has_15_s_and_is_renewed_every_5(config: Config) -> None:
    async with serving(config) as client, handled(client, hang):
        run_id = (await start(client))["id"]
        await client.becomes(run_id, "executing")
        assert await leased_secs(client, run_id) == 15
        await client.leap(4)
        assert await leased_secs(client, run_id) == 11
        await client.leap(1)
        await client.rest()
        assert await leased_secs(client, run_id) == 15


async def test_a_dispatch_of_a_worker_has_60_s_and_as_much_from_each_heartbeat(config: Config) -> None:
    async with serving(config) as client:
        run = await dispatched(client)
        assert await leased_secs(client, run.id) == 60
        await client.leap(59)
        assert await leased_secs(client, run.id) == 1
        await run("heartbeat")
        assert await leased_secs(client, run.id) == 60


@ALONE
async def test_a_killed_server_calls_again_at_once_and_the_call_before_the_kill_is_fenced(
    config: Config,
) -> None:
    async def second_time(made: Target, reader: Reader, writer: Writer) -> None:
        await made.request(reader)
        if len(made.requests) == 1:
            await reader.read()  # it hangs until the server is gone
        else:
            await made.send(writer, answer(b'"second"'))

    clock = ManualClock()
    async with target(second_time) as listening:
        async with serving(config, clock) as client:
            await make_job(client, endpoint_url=listening.url())
            run_id = (await start(client))["id"]
            await client.until(lambda: listening.requests)
            client.kill()
        async with serving(config, clock) as client:
            run = await client.becomes(run_id, "completed")
            assert (run["result"], run["attempt"], run["dispatches"]) == ("second", 1, 2)
            happened = ["created", "dispatched", "released", "dispatched", "completed"]
            assert await client.kinds(run_id) == happened
            first, again = [_headers(head) for head, _ in listening.requests]
            assert first["x-run-id"] == again["x-run-id"] == run_id
            late = Dispatch(client, {"run": run, "run_token": first["x-run-token"]})
            assert (await late("complete", {"result": "first"})).status == 410


async def test_both_webhooks_of_a_runs_wait_are_signed_and_show_the_trigger(config: Config) -> None:
    posted: list[tuple[bytes, bytes]] = []

    async def receive(made: Target, reader: Reader, writer: Writer) -> None:
        while True:
            posted.append(await made.request(reader))
            await made.send(writer, answer())

    async with serving(config) as client, target(receive) as listening:
        secret = (await client("POST", "/v1/projects/default/rotate-secret", {"overlap_secs": 0})).json
        run = await dispatched(client)
        events = [{"event_key": "a", "notify_url": listening.url()}, {"event_key": "b"}]
        await run("wait-for-event", {"events": events})
        await client.pass_time(1)
        await client.until(lambda: len(posted) == 1)
        await client("POST", "/v1/events/b/send", {"payload": 1})  # `a` is of no use any more
        await client.pass_time(1)
        await client.until(lambda: len(posted) == 2)
        asked = [(_headers(head), body) for head, body in posted]
        for headers, body in asked:
            now = client.clock.now() // 1_000_000
            signatures.verify(secret["signing_secret"], headers, body, now_secs=now)
        bodies = [json.loads(body) for _, body in asked]
        assert [each["type"] for each in bodies] == ["trigger.opened", "trigger.settled"]
        assert [each["data"]["status"] for each in bodies] == ["waiting", "canceled"]
        assert {each["data"]["job_run_id"] for each in bodies} == {run.id}
        assert len({headers["webhook-id"] for headers, _ in asked}) == 2


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.decode().split("\r\n")[1:-2])
    return {name.lower(): value.strip() for name, _, value in lines}


# ---- late timers ---------------------------------------------------------------------------------


async def overdue(client: Client, clock: ManualClock, **wait: Any) -> Dispatch:
    """A run whose wait for `k` is over by its time, and no role has done anything about it."""
    run = await dispatched(client)
    assert (await run("wait-for-event", {"event_key": "k", "timeout_secs": 5, **wait})).status == 200
    clock.advance(secs=6)
    return run


@pytest.mark.parametrize(("on", "status"), [("end", "timed_out"), ("resume", "queued")])
async def test_an_event_that_comes_after_the_time_finds_the_wait_timed_out(
    config: Config, on: str, status: str
) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        run = await overdue(client, clock, on_timeout=on)
        refused = await client("POST", "/v1/events/k/send", {"payload": 1})
        assert (refused.status, "timed_out" in refused.json["error"]) == (409, True)
        assert await run.status() == status


async def test_a_run_whose_wait_was_over_is_not_canceled_any_more(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        run = await overdue(client, clock)
        refused = await client("DELETE", f"/v1/runs/{run.id}")
        assert (refused.status, "timed_out" in refused.json["error"]) == (409, True)
        assert await run.status() == "timed_out"


async def test_a_key_whose_wait_was_over_may_be_waited_for_again(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        first = await overdue(client, clock)
        second = await dispatched(client)
        assert (await second("wait-for-event", {"event_key": "k"})).status == 200
        assert (await first.status(), await second.status()) == ("timed_out", "waiting")
        await client("POST", "/v1/events/k/send", {"payload": "for the second"})
        assert (await first.status(), await second.status()) == ("timed_out", "queued")


async def test_a_heartbeat_of_a_run_whose_wait_was_over_says_how_it_ended(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        run = await overdue(client, clock)
        assert (await run("complete", {"result": 1})).status == 410
        assert await run.status() == "timed_out"


async def test_a_sleep_that_is_over_resumes_for_whoever_looks_first(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        run = await dispatched(client)
        slept = (await run("sleep", {"duration_secs": 5})).json
        clock.advance(secs=6)
        refused = await client("DELETE", f"/v1/triggers/{slept['trigger_id']}")
        assert (refused.status, "received" in refused.json["error"]) == (409, True)
        assert [each.id for each in await claim(client)] == [run.id]
