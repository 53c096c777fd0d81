"""Jobs with an endpoint, the whole way: the API, the engine with a manual clock, and a real HTTP handler
that waits, ends by the run plane, or misbehaves. How places are dealt out stands in
`tests/engine/test_dispatch_limits.py`, what is sent over the wire in `tests/outgoing/`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from narrows.clock import SystemClock
from narrows.config import Config
from narrows.engine.in_flight import PATIENCE_US
from tests.api.push_kit import (
    KEYRING,
    Asked,
    Handle,
    first_outcome,
    handled,
    hang,
    in_turn,
    pushed,
    says,
    serving,
)
from tests.api.run_kit import make_job, start
from tests.outgoing.servers import answer, saying_for_ever, silent, target

MIB = 1 << 20


async def done(asked: Asked) -> bytes:
    return answer(b'"done"')


async def waits(asked: Asked) -> bytes:
    """Asks to wait for `k`, then answers as if it were done."""
    assert (await asked.plane("wait-for-event", {"event_key": "k"})).status == 200
    return answer(b'"early"')


async def its_event(asked: Asked) -> bytes:
    """Answers with the payload of the event that resumed it."""
    event = (await asked.plane.get("checkpoint")).json["event"]
    assert asked.headers["x-resume-trigger"] == event["id"]
    return answer(json.dumps(event["response_payload"]).encode())


async def test_a_dispatch_has_the_headers_of_the_contract_and_the_payload_to_the_letter(
    config: Config,
) -> None:
    async with serving(config, SystemClock()) as client, handled(client, done) as handler:
        job = (await client("GET", "/v1/jobs/job")).json
        raw = b'{"payload": {"z": 1.50, "a": [12345678901234567890123]}}'
        run = (await client("POST", "/v1/jobs/job/trigger", raw=raw)).json
        secret = (await client("POST", "/v1/jobs/job/rotate-secret")).json["signing_secret"]
        second = await start(client)
        await client.becomes(run["id"], "completed")
        await client.becomes(second["id"], "completed")
        asked, other = sorted(handler.asked, key=lambda each: each.headers["x-run-id"])
        assert asked.body == b'{"z":1.50,"a":[12345678901234567890123]}'
        headers = asked.headers
        assert (headers["x-run-id"], headers["x-job-id"]) == (run["id"], job["id"])
        assert (headers["x-attempt"], headers["content-type"]) == ("1", "application/json")
        assert "x-resume-trigger" not in headers
        ticket = KEYRING.open_run_token(headers["x-run-token"], run["id"])
        assert ticket is not None
        assert (ticket.project_id, ticket.dispatch) == ("default", 1)
        assert [len(each) for each in headers["traceparent"].split("-")] == [2, 32, 16, 2]
        assert headers["traceparent"] != other.headers["traceparent"]
        assert (other.body, other.headers["webhook-id"]) == (b"null", f"{second['id']}.1")
        Webhook(secret).verify(other.body, other.headers, json_parse=False)


async def test_the_old_secret_signs_beside_the_new_one_during_its_overlap(config: Config) -> None:
    async with serving(config, SystemClock()) as client:
        async with handled(client, done, slug="other"):
            pass
        job = (await client("POST", "/v1/jobs", {"slug": "signed"})).json
        new = (await client("POST", "/v1/jobs/signed/rotate-secret", {"overlap_secs": 60})).json
        async with handled(client, done) as handler:
            url = (await client("GET", "/v1/jobs/job")).json["endpoint_url"]
            await client("PATCH", "/v1/jobs/signed", {"endpoint_url": url})
            await client.becomes((await start(client, "signed"))["id"], "completed")
            (asked,) = handler.asked
        assert len(asked.headers["webhook-signature"].split()) == 2
        for secret in (job["signing_secret"], new["signing_secret"]):
            Webhook(secret).verify(asked.body, asked.headers, json_parse=False)


# ---- waiting -------------------------------------------------------------------------------------


async def test_an_event_before_the_handlers_2xx_resumes_and_the_2xx_completes_nothing(
    config: Config,
) -> None:
    async with serving(config) as client:
        resumed, was_answered = asyncio.Event(), asyncio.Event()

        async def first(asked: Asked) -> bytes:
            await asked.plane("wait-for-event", {"event_key": "k"})
            assert (await client("POST", "/v1/events/k/send", {"payload": {"n": 1}})).status == 200
            await resumed.wait()  # it has been called again, and has not yet answered the first call
            return answer(b'"early"')

        async def second(asked: Asked) -> bytes:
            resumed.set()
            await was_answered.wait()
            return await its_event(asked)

        async with handled(client, in_turn(first, second)) as handler:
            run_id = (await start(client))["id"]
            await client.until(lambda: client.role.in_flight.results["overtaken"])
            assert await client.status(run_id) == "executing"
            was_answered.set()
            run = await client.becomes(run_id, "completed")
        assert (run["result"], run["attempt"], run["dispatches"]) == ({"n": 1}, 1, 2)
        assert await client.kinds(run_id) == [
            "created", "dispatched", "waiting", "resumed", "dispatched", "completed",
        ]  # fmt: skip
        assert len({each.headers["x-run-token"] for each in handler.asked}) == 2
        assert {each.headers["x-run-id"] for each in handler.asked} == {run_id}


@pytest.mark.parametrize("late", [answer(b"{}"), answer(b"no", "500 Oops"), answer(b"no", "404 None"), b""])
async def test_whatever_a_handler_answers_after_its_wait_was_granted_changes_nothing(
    config: Config, late: bytes
) -> None:
    async def first(asked: Asked) -> bytes:
        await waits(asked)
        return late

    async with serving(config) as client, handled(client, in_turn(first, its_event), max_attempts=1):
        run_id = (await start(client))["id"]
        await client.until(lambda: client.role.in_flight.results["overtaken"])
        assert await client.status(run_id) == "waiting"
        await client("POST", "/v1/events/k/send", {"payload": "here"})
        run = await client.becomes(run_id, "completed")
        assert (run["result"], run["attempt"]) == ("here", 1)


async def test_the_time_of_a_dispatch_that_asked_to_wait_ends_nothing(config: Config) -> None:
    async def first(asked: Asked) -> bytes:
        await asked.plane("wait-for-event", {"event_key": "k", "timeout_secs": 3_600})
        return await hang(asked)

    async with (
        serving(config) as client,
        handled(client, in_turn(first, its_event), timeout_secs=10, max_attempts=1),
    ):
        run_id = (await start(client))["id"]
        await client.becomes(run_id, "waiting")
        await client.pass_time(600)
        assert await client.status(run_id) == "waiting"
        assert len(client.role.in_flight) == 0, "a request that outlives its dispatch is broken off"
        await client("POST", "/v1/events/k/send", {"payload": 1})
        assert (await client.becomes(run_id, "completed"))["result"] == 1


async def test_an_event_that_was_held_before_the_wait_calls_the_handler_again_at_once(config: Config) -> None:
    async with serving(config) as client, handled(client, in_turn(waits, its_event)):
        await client("POST", "/v1/events/k/send", {"payload": ["held"], "hold_secs": 60})
        run_id = (await start(client))["id"]
        assert (await client.becomes(run_id, "completed"))["result"] == ["held"]
        assert (await client("GET", "/v1/held-events")).json["data"] == []


async def test_a_wait_asked_twice_by_one_dispatch_is_one_wait_also_when_it_is_over(config: Config) -> None:
    answers: list[Any] = []
    is_told = asyncio.Event()

    async with serving(config) as client:

        async def first(asked: Asked) -> bytes:
            body = {"event_key": "k", "callback_url": True}
            answers.extend([(await asked.plane("wait-for-event", body)).json for _ in range(2)])
            await client("POST", "/v1/events/k/send", {})
            answers.append((await asked.plane("wait-for-event", body)).json)
            assert (await asked.plane("wait-for-event", {"event_key": "other"})).status == 409
            is_told.set()  # the event has let its run go on elsewhere meanwhile
            return answer()

        async def second(asked: Asked) -> bytes:
            await is_told.wait()
            return await done(asked)

        async with handled(client, in_turn(first, second)):
            run_id = (await start(client))["id"]
            await client.becomes(run_id, "completed")
        assert answers[0] == answers[1] == answers[2]
        assert len((await client("GET", "/v1/events")).json["data"]) == 1
        assert (await client.kinds(run_id)).count("waiting") == 1


# ---- endings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [answer(b'"other"'), answer(b"", "500 Oops"), b""])
async def test_what_the_handler_said_by_the_run_plane_counts_and_not_its_answer(
    config: Config, said: bytes
) -> None:
    async def completes(asked: Asked) -> bytes:
        for _ in range(2):  # the connection broke, so it asks again
            assert (await asked.plane("complete", {"result": "mine"})).json == {"status": "completed"}
        return said

    async with serving(config) as client, handled(client, completes):
        run_id = (await start(client))["id"]
        await client.until(lambda: client.role.in_flight.results["overtaken"])
        run = (await client("GET", f"/v1/runs/{run_id}")).json
        assert (run["status"], run["result"], run["dispatches"]) == ("completed", "mine", 1)
        assert (await client.kinds(run_id)).count("completed") == 1


MANY = b'"' + b"x" * (MIB - 2) + b'"'


@pytest.mark.parametrize(
    ("said", "status", "more"),
    [
        (answer(b'{"ok": 1.50}'), "completed", {"ok": 1.5}),
        (answer(b"done, thanks", "201 Created"), "completed", "done, thanks"),
        (answer(b"<html>ok</html>"), "completed", "<html>ok</html>"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "completed", None),
        (answer(MANY), "completed", "x" * (MIB - 2)),
        (answer(b"\xff\xfe\x00"), "failed", "neither JSON nor UTF-8"),
        (answer(MANY + b" "), "delayed", "more than 1,048,576 bytes"),
        (answer(b"why", "400 Bad"), "failed", "answered 400 (why)"),
        (answer(b"", "404 Not Found"), "failed", "answered 404"),
        (answer(b"", "429 Slow Down", "Retry-After: 7"), "delayed", "answered 429"),
        (answer(b"", "500 Oops"), "delayed", "answered 500"),
        (answer(b"", "503 Soon"), "delayed", "answered 503"),
        (answer(b"", "307 There", "Location: http://127.0.0.1:1/"), "delayed", "redirects are not followed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "delayed", "what is not HTTP/1.1"),
        (b"", "delayed", "closed the connection without an answer"),
    ],
)
async def test_what_becomes_of_a_run_follows_from_the_answer(
    config: Config, said: bytes, status: str, more: Any
) -> None:
    async with serving(config) as client:
        run = await pushed(client, says(said))
        assert run["status"] == status
        if status == "completed":
            assert run.get("result") == more
            return
        assert more in run["error"]
        assert run["attempt"] == (2 if status == "delayed" else 1)
        if b"Retry-After" in said:
            assert run["due_at"].startswith("2026-01-01T00:00:07")


@pytest.mark.parametrize("said", [answer(b"", "500 Oops"), answer(b"", "302 There", "Location: /"), b""])
async def test_attempts_that_are_used_up_lead_to_the_dead_letter_and_a_replay_out_of_it(
    config: Config, said: bytes
) -> None:
    async with serving(config) as client:
        handles = in_turn(says(said), says(said), says(said), done)
        async with handled(client, handles) as handler:
            run_id = (await start(client))["id"]
            for attempt in (2, 3):
                await client.becomes(run_id, "delayed", attempt)
                await client.pass_time(3)
            assert (await client.becomes(run_id, "dead_letter"))["attempt"] == 3
            assert [each.headers["x-attempt"] for each in handler.asked] == ["1", "2", "3"]
            replayed = (await client("POST", f"/v1/runs/{run_id}/replay")).json
            assert (await client.becomes(replayed["id"], "completed"))["replay_of"] == run_id
            assert await client.status(run_id) == "dead_letter"


async def test_a_redirect_is_never_followed(config: Config) -> None:
    async with serving(config) as client, target(silent) as elsewhere:
        run = await pushed(client, says(answer(b"", "308 There", f"Location: {elsewhere.url()}")))
        assert run["status"] == "delayed"
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4_096 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65_536),
    ],
    ids=["10 GB", "chunks for ever", "no length"],
)
async def test_an_answer_without_end_is_given_up_and_tried_again(
    config: Config, head: bytes, part: bytes
) -> None:
    async with (
        serving(config) as client,
        target(saying_for_ever(head, part, 10_000_000_000)) as endless,
    ):
        await make_job(client, endpoint_url=endless.url())
        run = await first_outcome(client)
        assert (run["status"], "more than 1,048,576 bytes" in run["error"]) == ("delayed", True)
        await client.until(endless.gone.is_set)
        assert endless.sent_bytes < 40 * MIB


async def trickle(asked: Asked) -> bytes:
    """Says for ever that it is about to answer."""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100


@pytest.mark.parametrize("handle", [hang, trickle])
async def test_an_endpoint_that_never_ends_loses_its_dispatch_after_its_time(
    config: Config, handle: Handle
) -> None:
    async with serving(config) as client, handled(client, handle, timeout_secs=12, max_attempts=2):
        run_id = (await start(client))["id"]
        for attempt, status in ((1, "delayed"), (2, "dead_letter")):
            await client.becomes(run_id, "executing", attempt)
            await client.pass_time(9)
            assert await client.status(run_id) == "executing"
            await client.pass_time(3)
            ended = await client.becomes(run_id, status)
            assert ended["error"] == "the dispatch took longer than 12 s"
            await client.pass_time(2)
        await client.pass_time(PATIENCE_US // 1_000_000)
        assert len(client.role.in_flight) == 0
        assert await client.status(run_id) == "dead_letter"


# ---- cancels -------------------------------------------------------------------------------------


async def test_canceling_a_run_that_is_being_called_breaks_its_request_off(config: Config) -> None:
    async with serving(config) as client, target(silent) as listening:
        await make_job(client, endpoint_url=listening.url())
        run_id = (await start(client))["id"]
        await client.until(lambda: listening.requests)
        assert (await client("DELETE", f"/v1/runs/{run_id}")).json["status"] == "canceled"
        await client.until(listening.gone.is_set)
        assert await client.kinds(run_id) == ["created", "dispatched", "canceled"]


async def test_canceling_a_run_that_waits_leaves_nobody_to_be_called(config: Config) -> None:
    async with serving(config) as client, handled(client, waits) as handler:
        run_id = (await start(client))["id"]
        await client.becomes(run_id, "waiting")
        assert (await client("DELETE", f"/v1/runs/{run_id}")).status == 200
        assert (await client("POST", "/v1/events/k/send", {})).status == 409
        await client.pass_time(30)
        assert (await client.status(run_id), len(handler.asked)) == ("canceled", 1)


async def test_canceling_a_run_between_its_attempts_ends_it(config: Config) -> None:
    async with serving(config) as client, handled(client, says(b"")) as handler:
        run_id = (await start(client))["id"]
        await client.becomes(run_id, "delayed")
        assert (await client("DELETE", f"/v1/runs/{run_id}")).status == 200
        await client.pass_time(30)
        assert (await client.status(run_id), len(handler.asked)) == ("canceled", 1)


async def test_deleting_a_job_with_cancel_runs_ends_all_that_it_has(config: Config) -> None:
    async def waits_by_payload(asked: Asked) -> bytes:
        if asked.body == b'"wait"':
            return await waits(asked)
        return b"" if asked.body == b'"fail"' else await hang(asked)

    async with serving(config) as client, handled(client, waits_by_payload, max_concurrency=1):
        waiting = (await start(client, payload="wait"))["id"]
        await client.becomes(waiting, "waiting")
        delayed = (await start(client, payload="fail"))["id"]
        await client.becomes(delayed, "delayed")
        executing = (await start(client))["id"]
        await client.becomes(executing, "executing")
        queued = (await start(client))["id"]
        later = (await start(client, scheduled_at="2026-02-01T00:00:00Z"))["id"]
        assert (await client("DELETE", "/v1/jobs/job")).status == 409
        assert (await client("DELETE", "/v1/jobs/job?cancel_runs=true")).status == 200
        await client.pass_time(1)
        for run_id in (waiting, delayed, executing, queued, later):
            assert (await client.becomes(run_id, "canceled"))["error"] == "its job was deleted"
        assert (await client("GET", "/v1/events/k")).json["status"] == "canceled"
        await client.until(lambda: not len(client.role.in_flight))


async def test_a_worker_takes_over_when_a_job_loses_its_endpoint_and_back(config: Config) -> None:
    async with serving(config) as client, handled(client, done):
        url = (await client("GET", "/v1/jobs/job")).json["endpoint_url"]
        await client("PATCH", "/v1/jobs/job", {"endpoint_url": None})
        run_id = (await start(client))["id"]
        await client.rest()
        assert await client.status(run_id) == "queued"
        await client("PATCH", "/v1/jobs/job", {"endpoint_url": url})
        await client.becomes(run_id, "completed")
