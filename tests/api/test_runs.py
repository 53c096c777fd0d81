"""Runs over HTTP: looked at, listed, waited for, canceled, replayed; their timeline."""

from __future__ import annotations

import asyncio

import pytest

from narrows.config import Config
from tests.api.harness import Server, make_api_key, opened
from tests.api.run_kit import claim, dispatched, make_job, start

NOBODY = "01a20a59-2952-7700-8000-1d650d1b38fa"


async def test_runs_are_listed_newest_first_and_by_status_job_and_tag(config: Config) -> None:
    async with opened(config) as client:
        job = await make_job(client)
        await make_job(client, "other")
        first = await start(client, payload="x" * 3_000)
        second = await start(client, tags={"team": "a"})
        third = await start(client, "other", tags={"team": "b"})
        await claim(client, "other")

        async def listed(query: str = "") -> list[str]:
            answer = await client("GET", f"/v1/runs{query}")
            assert answer.status == 200, answer.body
            return [run["id"] for run in answer.json["data"]]

        assert await listed() == [third["id"], second["id"], first["id"]]
        assert await listed("?status=queued") == [second["id"], first["id"]]
        assert await listed("?status=executing") == await listed("?job=other") == [third["id"]]
        assert await listed(f"?job={job['id']}") == [second["id"], first["id"]]
        assert await listed("?tag=team") == [third["id"], second["id"]]
        assert await listed("?tag=team:a&status=queued") == [second["id"]]
        assert await listed("?job=none") == []
        page = (await client("GET", "/v1/runs?limit=2")).json
        assert page["has_more"]
        assert await listed(f"?limit=2&cursor={page['next_cursor']}") == [first["id"]]
        whole = (await client("GET", "/v1/runs")).json["data"]
        assert whole[2]["payload"] == "x" * 3_000


@pytest.mark.parametrize(
    "query", ["status=nothing", "status=", "job=", "tag=", "limit=0", "limit=x", "cursor=x"]
)
async def test_a_filter_that_cannot_be_is_400(config: Config, query: str) -> None:
    async with opened(config) as client:
        assert (await client("GET", f"/v1/runs?{query}")).status == 400


async def test_a_run_shows_its_life(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client, payload={"a": 1})
        await run("progress", {"percent": 40, "message": "half"})
        path = f"/v1/runs/{run.id}"
        shown = (await client("GET", path)).json
        assert (shown["status"], shown["dispatches"], shown["holder"]) == ("executing", 1, "worker:dev")
        assert shown["progress"] == {"percent": 40.0, "message": "half"}
        assert "due_at" not in shown  # the lease is for whoever executes it
        waited = (await run("wait-for-event", {"event_key": "k"})).json
        assert (await client("GET", path)).json["waiting_for"] == [waited["trigger_id"]]
        assert (await client("GET", "/v1/runs?status=waiting")).json["data"][0]["waiting_for"]
        trigger = (await client("GET", "/v1/events/k")).json
        assert (trigger["source_type"], trigger["job_run_id"], "waiter" in trigger) == (
            "job_run",
            run.id,
            False,
        )
        await client("POST", "/v1/events/k/send", {})
        (resumed,) = await claim(client)
        await resumed("complete", {"result": ["r" * 3_000]})
        ended = (await client("GET", path)).json
        assert (ended["status"], ended["result"], ended["dispatches"]) == ("completed", ["r" * 3_000], 2)
        assert not {"waiting_for", "holder"} & set(ended)
        assert ended["created_at"] < ended["dispatched_at"] < ended["finished_at"]


async def test_the_timeline_has_all_that_happened_newest_first(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await run("log", {"message": "hello\nthere", "level": "warning"})
        await run("checkpoint", {"state": 1})
        await run("fail", {"error": "boom", "retry": False})
        path = f"/v1/runs/{run.id}/events"
        whole = (await client("GET", path)).json
        assert [each["kind"] for each in whole["data"]] == [
            "run.failed", "run.checkpointed", "run.logged", "run.dispatched", "run.created",
        ]  # fmt: skip
        assert whole["data"][2]["detail"] == {"level": "warning", "message": "hello\nthere"}
        assert whole["data"][2]["actor"] == f"run:{run.id}"
        assert not whole["has_more"]
        walked, query = [], "?limit=2"
        while query:
            page = (await client("GET", path + query)).json
            walked += page["data"]
            query = f"?limit=2&cursor={page['next_cursor']}" if page["has_more"] else ""
        assert walked == whole["data"]
        assert (await client("GET", f"/v1/runs/{NOBODY}/events")).status == 404


# ---- cancel --------------------------------------------------------------------------------------


async def test_a_queued_an_executing_and_a_waiting_run_are_canceled_once(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        queued = (await start(client))["id"]
        (run,) = await claim(client)
        assert run.id == queued
        waiting = await dispatched(client)
        await waiting("wait-for-event", {"event_key": "k"})
        later = await start(client, scheduled_at="2030-01-01T00:00:00Z")
        still_queued = await start(client)
        for run_id in (run.id, waiting.id, later["id"], still_queued["id"]):
            canceled = await client("DELETE", f"/v1/runs/{run_id}")
            assert (canceled.status, canceled.json["status"]) == (200, "canceled")
            assert canceled.json["error"] == "canceled by user"
            assert (await client("DELETE", f"/v1/runs/{run_id}")).status == 409
        trigger = (await client("GET", "/v1/events/k")).json
        assert trigger["status"] == "canceled"
        assert "ended" in trigger["error"] or "canceled" in trigger["error"]
        assert (await client("POST", "/v1/events/k/send", {})).status == 409
        assert await claim(client, limit=10) == []
        assert (await run("heartbeat")).status == 410
        assert (await client("DELETE", f"/v1/runs/{NOBODY}")).status == 404


# ---- replay --------------------------------------------------------------------------------------


async def test_a_replay_is_a_new_run_with_payload_state_and_the_end_of_the_last_wait(config: Config) -> None:
    async with opened(config) as client:
        first = await dispatched(client, payload={"p": "x" * 2_000}, priority=3, tags={"a": "b"})
        await first("checkpoint", {"state": {"s": "y" * 2_000}})
        await first("wait-for-event", {"event_key": "k"})
        await client("POST", "/v1/events/k/send", {"payload": 5})
        (second,) = await claim(client)
        await second("fail", {"error": "boom", "retry": False})
        answer = await client("POST", f"/v1/runs/{first.id}/replay", idempotency_key="a")
        assert answer.status == 201
        replayed = answer.json
        assert replayed["id"] != first.id
        assert (replayed["replay_of"], replayed["status"], replayed["priority"]) == (first.id, "queued", 3)
        assert (replayed["payload"], replayed["tags"]) == ({"p": "x" * 2_000}, {"a": "b"})
        (run,) = await claim(client)
        assert (run.id, run.claimed["checkpoint"]["state"]) == (replayed["id"], {"s": "y" * 2_000})
        assert run.claimed["checkpoint"]["event"]["response_payload"] == 5
        again = await client("POST", f"/v1/runs/{first.id}/replay", idempotency_key="a")
        assert (again.status, again.json) == (201, replayed)
        assert (await client("GET", f"/v1/runs/{first.id}")).json["status"] == "failed"


async def test_only_what_ended_badly_is_replayed(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        path = f"/v1/runs/{run.id}/replay"
        assert (await client("POST", path)).status == 409
        await run("complete")
        assert (await client("POST", path)).status == 409
        other = await dispatched(client)
        await client("DELETE", f"/v1/runs/{other.id}")
        assert (await client("POST", f"/v1/runs/{other.id}/replay")).status == 201
        assert (await client("POST", f"/v1/runs/{NOBODY}/replay")).status == 404
        await client("DELETE", "/v1/jobs/job?cancel_runs=true")
        assert (await client("POST", f"/v1/runs/{other.id}/replay")).status == 409


# ---- long poll -----------------------------------------------------------------------------------


async def test_a_long_poll_answers_as_soon_as_the_run_has_ended(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        path = f"/v1/runs/{run.id}/wait"
        assert (await client("GET", f"{path}?timeout_secs=0")).json["status"] == "executing"
        polls = [asyncio.ensure_future(client("GET", f"{path}?timeout_secs=60")) for _ in range(3)]
        while client.api.service.feed.watch_count < 3:
            await asyncio.sleep(0)
        await run("log", {"message": "a change that ends nothing"})
        await run("complete", {"result": "r" * 2_000})
        for answer in await asyncio.gather(*polls):
            assert (answer.status, answer.json["status"], answer.json["result"]) == (
                200,
                "completed",
                "r" * 2_000,
            )
        assert (await client("GET", f"{path}?timeout_secs=60")).json["status"] == "completed"
        assert client.api.service.feed.watch_count == 0
        assert (await client("GET", f"/v1/runs/{NOBODY}/wait")).status == 404
        assert (await client("GET", f"{path}?timeout_secs=-1")).status == 400


def test_a_long_poll_ends_with_the_server(config: Config) -> None:
    with Server(config) as server:
        server.ask("POST /v1/jobs HTTP/1.1", b'{"slug": "job"}')
        run_id = server.ask("POST /v1/jobs/job/trigger HTTP/1.1", b"{}").json["id"]
        connection = server.connect()
        head = f"GET /v1/runs/{run_id}/wait?timeout_secs=60 HTTP/1.1\r\nhost: localhost\r\n\r\n"
        connection.sendall(head.encode())

        async def is_watched() -> None:
            while not server.api.service.feed.watch_count:
                await asyncio.sleep(0.001)

        asyncio.run_coroutine_threadsafe(is_watched(), server.loop).result(10)
    with connection:
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b'"status":"queued"' in received


async def test_runs_of_another_project_are_not_there(config: Config) -> None:
    async with opened(config, dev=False) as client:
        mine, other = [await make_api_key(client, name, "*", number=n) for n, name in enumerate("ab", 1)]
        await client("POST", "/v1/jobs", {"slug": "job"}, key=mine)
        run_id = (await client("POST", "/v1/jobs/job/trigger", {}, key=mine)).json["id"]
        for method, tail in (
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/events"),
            ("GET", "/wait"),
            ("POST", "/replay"),
        ):
            assert (await client(method, f"/v1/runs/{run_id}{tail}", key=other)).status == 404, (method, tail)
        assert (await client("GET", "/v1/runs", key=other)).json["data"] == []
        assert (await client("GET", "/v1/runs?job=job", key=other)).json["data"] == []
        assert (await client("GET", f"/v1/runs/{run_id}", key=mine)).json["status"] == "queued"


async def test_who_may_read_runs_may_not_cancel_them(config: Config) -> None:
    async with opened(config, dev=False) as client:
        reader = await make_api_key(client, "a", "runs:read")
        writer = await make_api_key(client, "a", "runs:write", "jobs:write", "jobs:trigger", number=2)
        await client("POST", "/v1/jobs", {"slug": "job"}, key=writer)
        path = f"/v1/runs/{(await client('POST', '/v1/jobs/job/trigger', {}, key=writer)).json['id']}"
        assert (await client("GET", path, key=reader)).status == 200
        assert (await client("DELETE", path, key=reader)).status == 403
        assert (await client("POST", f"{path}/replay", key=reader)).status == 403
        assert (await client("GET", path, key=writer)).status == 403
        assert (await client("DELETE", path, key=writer)).status == 200
