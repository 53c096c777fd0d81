"""Claims over HTTP: what a worker gets, how long it waits, and that nothing is lost with one that goes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from narrows.config import Config
from narrows.errors import Unavailable
from narrows.operations.reads import RunsWithBodies
from tests.api.harness import Client, Server, make_api_key, opened, read_answer
from tests.api.run_kit import claim, make_job, start

CLAIM = "/v1/workers/claim"


async def test_the_highest_priority_comes_first_then_the_oldest(config: Config) -> None:
    async with opened(config) as client:
        job = await make_job(client)
        await make_job(client, "other")
        low, first, high, second = [
            (await start(client, slug, priority=priority))["id"]
            for slug, priority in (("job", -5), ("job", 0), ("other", 9), ("other", 0))
        ]
        both = ("job", "other", job["id"])
        assert [each.id for each in await claim(client, *both, limit=3)] == [high, first, second]
        assert [each.id for each in await claim(client, *both, limit=3)] == [low]
        assert await claim(client, *both) == []


async def test_a_claimed_run_comes_with_all_that_a_worker_needs(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        for payload in ("p" * 3_000, {"a": 1}):
            await start(client, payload=payload)
        answer = await client(
            "POST", CLAIM, {"jobs": ["job"], "limit": 2, "wait_secs": 0, "worker": "shop 1"}
        )
        large, small = answer.json["runs"]
        assert (large["run"]["payload"], small["run"]["payload"]) == ("p" * 3_000, {"a": 1})
        assert (large["job_slug"], large["checkpoint"]) == ("job", {})
        assert (large["run"]["status"], large["run"]["holder"]) == ("executing", "worker:shop 1")
        assert large["run_token"] != small["run_token"]
        assert large["lease_until"] > large["run"]["dispatched_at"]


async def test_a_limit_of_a_job_is_kept(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client, max_concurrency=2)
        for _ in range(4):
            await start(client)
        one, two = await claim(client, limit=10)
        assert await claim(client, limit=10) == []
        await one("complete")
        assert len(await claim(client, limit=10)) == 1
        await two("wait-for-event", {"event_key": "k"})
        assert len(await claim(client, limit=10)) == 1


async def test_unknown_jobs_are_404_and_those_that_the_server_calls_409(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        await make_job(client, "push", endpoint_url="https://example.com/")
        unknown = await client("POST", CLAIM, {"jobs": ["job", "nothing"]})
        assert (unknown.status, "'nothing'" in unknown.json["error"]) == (404, True)
        push = await client("POST", CLAIM, {"jobs": ["push"]})
        assert (push.status, "the server calls it" in push.json["error"]) == (409, True)
        await client("PATCH", "/v1/jobs/push", {"endpoint_url": None})
        assert await claim(client, "push") == []
        assert await claim(client, "job") == []
        await client("PATCH", "/v1/jobs/job", {"slug": "renamed"})
        assert (await client("POST", CLAIM, {"jobs": ["job"], "wait_secs": 0})).status == 404
        await client("DELETE", "/v1/jobs/renamed")
        assert (await client("POST", CLAIM, {"jobs": ["renamed"], "wait_secs": 0})).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {}, {"jobs": []}, {"jobs": "job"}, {"jobs": [1]}, {"jobs": [""]}, {"jobs": ["job"] * 101},
        {"jobs": ["job"], "limit": 0}, {"jobs": ["job"], "limit": 101}, {"jobs": ["job"], "wait_secs": -1},
        {"jobs": ["job"], "wait_secs": 61}, {"jobs": ["job"], "worker": ""}, {"jobs": ["job"], "worker": "a\x07"},
        {"jobs": ["job"], "worker": "w" * 101},
    ],
)  # fmt: skip
async def test_a_claim_that_cannot_be_is_400(config: Config, body: Any) -> None:
    async with opened(config) as client:
        await make_job(client)
        assert (await client("POST", CLAIM, body)).status == 400


async def test_an_idempotency_key_does_not_repeat_a_claim(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        ids = [(await start(client))["id"] for _ in range(2)]
        body = {"jobs": ["job"], "wait_secs": 0}
        answers = [await client("POST", CLAIM, body, idempotency_key="a") for _ in ids]
        assert [answer.json["runs"][0]["run"]["id"] for answer in answers] == ids


async def test_runs_of_another_project_are_never_claimed(config: Config) -> None:
    async with opened(config, dev=False) as client:
        mine, other = [await make_api_key(client, name, "*", number=n) for n, name in enumerate("ab", 1)]
        job = (await client("POST", "/v1/jobs", {"slug": "job"}, key=mine)).json
        await client("POST", "/v1/jobs/job/trigger", {}, key=mine)
        for named in ("job", job["id"]):
            answer = await client("POST", CLAIM, {"jobs": [named], "wait_secs": 0}, key=other)
            assert answer.status == 404
        await client("POST", "/v1/jobs", {"slug": "job"}, key=other)
        body = {"jobs": ["job"], "wait_secs": 0}
        assert (await client("POST", CLAIM, body, key=other)).json["runs"] == []
        (claimed,) = (await client("POST", CLAIM, body, key=mine)).json["runs"]
        assert claimed["run"]["holder"].startswith("worker:key:")


# ---- waiting -------------------------------------------------------------------------------------


async def parked(client: Client, count: int) -> None:
    """Return once so many claimers wait."""
    while client.api.service.claims.waiting != count:
        await asyncio.sleep(0)


async def test_a_claim_waits_and_a_commit_wakes_as_many_as_it_queued(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        body = {"jobs": ["job"], "wait_secs": 60}
        claims = [asyncio.ensure_future(client("POST", CLAIM, body)) for _ in range(3)]
        await parked(client, 3)
        ids = {(await start(client))["id"] for _ in range(2)}
        await parked(client, 1)
        ids.add((await start(client))["id"])
        answers = await asyncio.gather(*claims)
        assert {answer.json["runs"][0]["run"]["id"] for answer in answers} == ids
        assert [len(answer.json["runs"]) for answer in answers] == [1, 1, 1]


async def test_an_event_wakes_a_claimer_with_the_resumed_run(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        await start(client)
        (run,) = await claim(client)
        await run("wait-for-event", {"event_key": "k"})
        waiting = asyncio.ensure_future(client("POST", CLAIM, {"jobs": ["job"], "wait_secs": 60}))
        await parked(client, 1)
        await client("POST", "/v1/events/k/send", {"payload": [1]})
        (claimed,) = (await waiting).json["runs"]
        assert claimed["run"]["id"] == run.id
        assert claimed["checkpoint"]["event"]["response_payload"] == [1]


async def test_long_polls_count_towards_the_projects_limit(config: Config) -> None:
    async with opened(config, max_streams_per_project=1) as client:
        await make_job(client)
        waiting = asyncio.ensure_future(client("POST", CLAIM, {"jobs": ["job"], "wait_secs": 60}))
        await parked(client, 1)
        assert (await client("POST", CLAIM, {"jobs": ["job"]})).status == 429
        await start(client)
        assert (await waiting).status == 200
        assert await claim(client) == []


async def test_a_revoked_key_claims_nothing(config: Config) -> None:
    async with opened(config, dev=False) as client:
        boss = await make_api_key(client, "a", "*")
        worker = await make_api_key(client, "a", "workers:claim", number=2)
        await client("POST", "/v1/jobs", {"slug": "job"}, key=boss)
        waiting = asyncio.ensure_future(client("POST", CLAIM, {"jobs": ["job"], "wait_secs": 60}, key=worker))
        await parked(client, 1)
        await client("DELETE", f"/v1/api-keys/{worker[4:20]}", key=boss)
        run_id = (await client("POST", "/v1/jobs/job/trigger", {}, key=boss)).json["id"]
        assert (await waiting).status == 401
        assert (await client("GET", f"/v1/runs/{run_id}", key=boss)).json["status"] == "queued"


# ---- over sockets --------------------------------------------------------------------------------


@pytest.fixture
def server(config: Config) -> Iterator[Server]:
    with Server(config) as running:
        ask(running, "POST", "/v1/jobs", {"slug": "job"})
        yield running


def ask(server: Server, method: str, path: str, body: Any = None) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    return server.ask(f"{method} {path} HTTP/1.1", content).json


@contextmanager
def claiming(server: Server, **body: Any) -> Iterator[socket.socket]:
    """A connection with a claim on it that waits."""
    content = json.dumps({"jobs": ["job"], "wait_secs": 60, **body}).encode()
    head = f"POST {CLAIM} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    before = server.api.service.claims.waiting
    with server.connect() as connection:
        connection.sendall(head.encode() + content)
        wait_until(server, lambda: server.api.service.claims.waiting == before + 1)
        yield connection


def wait_until(server: Server, is_so: Any) -> None:
    async def watch() -> None:
        while not is_so():
            await asyncio.sleep(0.001)

    asyncio.run_coroutine_threadsafe(watch(), server.loop).result(10)


def test_a_waiting_claim_is_answered_over_its_connection(server: Server) -> None:
    with claiming(server) as connection:
        run_id = ask(server, "POST", "/v1/jobs/job/trigger", {"payload": 1})["id"]
        answer = read_answer(connection)
        assert (answer.status, answer.json["runs"][0]["run"]["id"]) == (200, run_id)


def test_a_worker_that_goes_while_it_waits_takes_no_run_with_it(server: Server) -> None:
    claims = server.api.service.claims
    for _ in range(5):
        with claiming(server):
            pass
        wait_until(server, lambda: claims.waiting == 0)
    run_id = ask(server, "POST", "/v1/jobs/job/trigger", {})["id"]
    assert ask(server, "GET", f"/v1/runs/{run_id}")["status"] == "queued"
    assert ask(server, "POST", CLAIM, {"jobs": ["job"], "wait_secs": 0})["runs"][0]["run"]["attempt"] == 1


def test_a_waiting_claim_ends_with_the_server(config: Config) -> None:
    with Server(config) as server:
        ask(server, "POST", "/v1/jobs", {"slug": "job"})
        waiting = claiming(server)
        connection = waiting.__enter__()
    answer = read_answer(connection)
    connection.close()
    assert (answer.status, answer.json) == (200, {"runs": []})


@pytest.mark.parametrize("goes", ["at once", "as its run is handed out"])
async def test_what_was_claimed_for_a_client_that_has_gone_is_given_back(config: Config, goes: str) -> None:
    async with opened(config) as client:
        await make_job(client)
        run_id = (await start(client))["id"]
        gone, sent = asyncio.Event(), []
        if goes == "at once":
            gone.set()
        client.api.service.feed.subscribe(lambda _: gone.set())
        came = [{"type": "http.request", "body": b'{"jobs": ["job"], "wait_secs": 60}'}]

        async def receive() -> dict[str, Any]:
            if came:
                return came.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "raw_path": CLAIM.encode(), "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8080")], "server": ("127.0.0.1", 8080), "scheme": "http",
        }  # fmt: skip
        await client.api(scope, receive, send)
        assert sent == []
        (other,) = await claim(client, wait_secs=60)
        assert (other.id, other.run["attempt"], client.api.service.claims.waiting) == (run_id, 1, 0)


async def test_what_was_claimed_and_cannot_be_shown_is_given_back(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(config) as client:
        await make_job(client)
        run_id = (await start(client, payload="x" * 5_000))["id"]
        read = client.api.service.read

        async def fails(question: Any) -> Any:
            if isinstance(question, RunsWithBodies):
                raise Unavailable("The store is busy.")
            return await read(question)

        with monkeypatch.context() as busy:
            busy.setattr(client.api.service, "read", fails)
            assert (await client("POST", CLAIM, {"jobs": ["job"], "wait_secs": 0})).status == 503
        (again,) = await claim(client, wait_secs=20)
        assert (again.id, again.run["attempt"]) == (run_id, 1)
