"""The run plane over HTTP: what a dispatch may ask for its run, and that nothing of an earlier one counts.
Waits for events are in `test_run_waits.py`; who may ask at all, in `test_every_route.py`."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from narrows.config import Config
from narrows.operations import run_plane
from narrows.operations.dispatch import WakeRuns
from narrows.testing import ManualClock
from tests.api.harness import opened
from tests.api.run_kit import Dispatch, claim, dispatched, make_job, start, stored_in

#: The 256 bits at the end of each token, in base64url, of whose characters `_` is one.
BITS_LENGTH = 43
#: Every call that a dispatch may make, with a body that is good.
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "payload", None),
    ("GET", "checkpoint", None),
    ("POST", "checkpoint", {"state": 1}),
    ("POST", "log", {"message": "m"}),
    ("POST", "progress", {"percent": 1}),
    ("POST", "heartbeat", None),
    ("POST", "complete", {"result": 1}),
    ("POST", "fail", {"error": "e"}),
    ("POST", "sleep", {"duration_secs": 60}),
    ("POST", "wait-for-event", {"event_key": "plane"}),
    ("POST", "release", None),
]
ENDING: list[tuple[str, Any, Any]] = [
    ("complete", {"result": {"n": 1.50}}, {"result": 2}),
    ("fail", {"error": "e"}, {"error": "f"}),
    ("fail", {"error": "e", "retry": False}, {"error": "e"}),
    ("sleep", {"duration_secs": 60}, {"duration_secs": 61}),
    ("wait-for-event", {"event_key": "k", "callback_url": True}, {"event_key": "k2"}),
    ("release", {}, None),
]


async def test_the_payload_comes_to_the_letter(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        for raw, payload in (
            (b'{"payload": {"z": 1.50e1, "a": [12345678901234567890123]}}', b'{"z":1.50e1,"a":[12345678901234567890123]}'),
            (b'{"payload": "' + b"x" * 2_000 + b'"}', b'"' + b"x" * 2_000 + b'"'),
            (b'{"payload": null}', b"null"),
            (b"{}", b"null"),
        ):  # fmt: skip
            await client("POST", "/v1/jobs/job/trigger", raw=raw)
            (run,) = await claim(client)
            answer = await run.get("payload")
            assert (answer.status, answer.body) == (200, payload)
            assert answer.headers["content-type"] == "application/json"


async def test_what_is_kept_is_there_in_later_dispatches_and_the_newest_counts(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        assert (await run.get("checkpoint")).json == run.claimed["checkpoint"] == {}
        for state in ("small", "L" * 5_000, {"n": [1]}):
            kept = await run("checkpoint", {"state": state})
            assert (kept.status, kept.json) == (200, {"status": "executing"})
            assert (await run.get("checkpoint")).json == {"state": state}
        await run("release")
        (again,) = await claim(client)
        assert again.claimed["checkpoint"] == {"state": {"n": [1]}}
        assert (await again("checkpoint", {"state": None})).status == 200
        assert (await again.get("checkpoint")).json == {"state": None}
        await again("checkpoint", {"state": "L" * 5_000})
        await again("release")
        (third,) = await claim(client)
        assert third.claimed["checkpoint"]["state"] == "L" * 5_000


async def test_a_heartbeat_renews_the_lease_within_the_time_of_the_dispatch(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        await make_job(client, timeout_secs=100)
        await start(client)
        (run,) = await claim(client)
        first = run.claimed["lease_until"]
        clock.advance(secs=30)
        second = (await run("heartbeat")).json
        assert (second["status"], second["lease_until"] > first) == ("executing", True)
        clock.advance(secs=50)
        third = (await run("heartbeat", {})).json["lease_until"]
        clock.advance(secs=10)
        assert (await run("heartbeat")).json["lease_until"] == third  # never beyond timeout_secs


async def test_failures_are_tried_again_up_to_the_attempts_and_then_lie_in_the_dead_letter(
    config: Config,
) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        await make_job(client, max_attempts=2)
        await start(client)
        (run,) = await claim(client)
        assert (await run("fail", {"error": "one"})).json == {"status": "delayed"}
        shown = (await client("GET", f"/v1/runs/{run.id}")).json
        assert (shown["error"], shown["attempt"], "due_at" in shown) == ("one", 2, True)
        clock.advance(secs=2)
        await client.api.service.perform(WakeRuns(ids=(("default", run.id),), entropy=1))
        (again,) = await claim(client)
        assert (await again("fail", {"error": "two"})).json == {"status": "dead_letter"}
        assert (await client("GET", "/v1/runs?status=dead_letter")).json["data"][0]["error"] == "two"


async def test_a_sleep_ends_by_itself_and_by_no_event(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        slept = (await run("sleep", {"duration_secs": 3_600})).json
        assert (slept["status"], slept["event_key"]) == ("waiting", f"sleep:{run.id}:1")
        trigger = (await client("GET", f"/v1/triggers/{slept['trigger_id']}")).json
        assert (trigger["trigger_type"], trigger["expires_at"]) == ("sleep", slept["expires_at"])
        for path in (f"/v1/triggers/{trigger['id']}/send", f"/v1/events/{slept['event_key']}/send"):
            assert (await client("POST", path, {"payload": 1})).status == 409
        assert (await client("POST", "/v1/events/prefix/sleep:/send", {})).json["resolved"] == 0
        assert await run.status() == "waiting"
        short = await dispatched(client)
        await short("sleep", {"duration_secs": 0})
        (woken,) = await claim(client)
        assert (woken.id, woken.claimed["checkpoint"]["event"]["status"]) == (short.id, "received")


# ---- fences --------------------------------------------------------------------------------------


async def ask(run: Dispatch, method: str, name: str, body: Any) -> int:
    answer = await run(name, body, method=method)
    if answer.status >= 400:
        assert answer.json["code"] == {409: "conflict", 410: "gone"}[answer.status]
    return answer.status


@pytest.mark.parametrize(("method", "name", "body"), CALLS)
async def test_a_token_of_an_earlier_dispatch_is_409_and_of_an_ended_run_410(
    config: Config, method: str, name: str, body: Any
) -> None:
    async with opened(config) as client:
        first = await dispatched(client)
        await first("release")
        (second,) = await claim(client)
        if name != "release":
            assert await ask(first, method, name, body) == 409
        assert await second.status() == "executing"
        await client("DELETE", f"/v1/runs/{first.id}")
        assert await ask(second, method, name, body) == 410
        if name != "release":
            assert await ask(first, method, name, body) == 410
        assert await second.status() == "canceled"


@pytest.mark.parametrize(("method", "name", "body"), [each for each in CALLS if each[1] != "wait-for-event"])
async def test_a_granted_wait_ends_its_dispatch(config: Config, method: str, name: str, body: Any) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await run("wait-for-event", {"event_key": "k"})
        assert await ask(run, method, name, body) == 409
        assert await run.status() == "waiting"
        await client("POST", "/v1/events/k/send", {})
        assert await ask(run, method, name, body) == 409
        assert await run.status() == "queued"


@pytest.mark.parametrize(("name", "body", "other"), ENDING)
async def test_a_repeat_of_the_call_that_ended_a_dispatch_gets_its_first_answer_also_later(
    config: Config, name: str, body: Any, other: Any
) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        first = await run(name, body)
        assert first.status == 200, first.body

        async def is_repeated() -> bool:
            again = await run(name, body)
            return (again.status, again.json) == (200, first.json)

        assert await is_repeated()
        if other is not None:
            assert (await run(name, other)).status in (409, 410)
        if name in ("sleep", "wait-for-event"):
            await client("DELETE", f"/v1/triggers/{first.json['trigger_id']}")
        else:
            await client("DELETE", f"/v1/runs/{run.id}")
        assert await is_repeated()  # the run has long ended another way
        before = (await client("GET", f"/v1/runs/{run.id}")).json
        assert await is_repeated()
        assert (await client("GET", f"/v1/runs/{run.id}")).json == before


async def test_a_repeated_complete_keeps_the_first_result_and_makes_no_second_fact(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        for _ in range(3):
            assert (await run("complete", {"result": "a"})).json == {"status": "completed"}
        assert (await run("complete", {"result": "b"})).status == 410
        assert (await run("fail", {"error": "no"})).status == 410
        shown = (await client("GET", f"/v1/runs/{run.id}")).json
        assert (shown["status"], shown["result"]) == ("completed", "a")
        kinds = [each["kind"] for each in (await client("GET", f"/v1/runs/{run.id}/events")).json["data"]]
        assert kinds.count("run.completed") == 1


async def test_what_a_run_may_note_is_bounded_and_it_may_still_end(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_plane, "MAX_CHANGES", 6)
    async with opened(config) as client:
        run = await dispatched(client)
        noted = [await run("log", {"message": str(number)}) for number in range(5)]
        assert [answer.status for answer in noted] == [200, 200, 200, 200, 429]
        assert "retry-after" in noted[-1].headers
        assert (await run("checkpoint", {"state": 1})).status == 429
        assert (await run("heartbeat")).status == 200
        assert (await run("complete", {"result": 1})).status == 200


async def test_an_idempotency_key_means_nothing_here(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        for state in (1, 2):
            answer = await run("checkpoint", {"state": state}, idempotency_key="a")
            assert (answer.status, "idempotency-replayed" in answer.headers) == (200, False)
        assert (await run.get("checkpoint")).json == {"state": 2}
        assert (await run("log", {"message": "m"}, idempotency_key="é")).status == 200


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("checkpoint", {}), ("log", {}), ("log", {"message": "m", "level": "loud"}),
        ("log", {"message": "m" * 4_097}), ("log", {"message": 1}),
        ("progress", {}), ("progress", {"percent": 101}), ("progress", {"percent": -1}),
        ("progress", {"percent": "5"}), ("progress", {"message": "m" * 1_001}),
        ("fail", {}), ("fail", {"error": "e" * 10_001}), ("fail", {"error": "e", "retry": "no"}),
        ("sleep", {}), ("sleep", {"duration_secs": -1}), ("sleep", {"duration_secs": 31_536_001}),
        ("sleep", {"duration_secs": 1.5}),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_is_400_and_changes_nothing(config: Config, name: str, body: Any) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        before = (await client("GET", f"/v1/runs/{run.id}")).json
        answer = await run(name, body)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert (await client("GET", f"/v1/runs/{run.id}")).json == before


@pytest.mark.parametrize("name", ["complete", "checkpoint"])
async def test_results_and_states_are_payloads_of_at_most_1_mib(config: Config, name: str) -> None:
    field = {"complete": b"result", "checkpoint": b"state"}[name]
    async with opened(config) as client:
        run = await dispatched(client)
        for bad in (b"NaN", b'{"a":1,"a":2}', b'"\\u0000"', b'"\xff"', b"[" * 65 + b"]" * 65, b"1e999"):
            assert (await run(name, raw=b'{"%s":%s}' % (field, bad))).status == 400, bad
        large = await run(name, raw=b'{"%s":"%s"}' % (field, b"x" * (1 << 20)))
        assert (large.status, large.json["code"]) == (413, "payload_too_large")
        fits = await run(name, raw=b'{"%s":"%s"}' % (field, b"x" * ((1 << 20) - 100)))
        assert fits.status == 200


async def test_tokens_are_neither_logged_nor_stored(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(config) as client:
        run = await dispatched(client)
        granted = (await run("wait-for-event", {"event_key": "k", "callback_url": True})).json
        await client("POST", "/v1/events/k/send", {})
        (again,) = await claim(client)
        await again("complete", {"result": 1})
        await again("complete", {"result": 2})
        await client("GET", f"/v1/runs/{run.token}")
        await client("GET", f"/v1/nothing/{run.token}?token={run.token}")
        secrets = (run.token, again.token, granted["callback_url"].rpartition("/")[2])
        for secret in secrets:
            assert secret not in caplog.text
            assert len(secret) >= BITS_LENGTH
            assert secret[-BITS_LENGTH:] not in caplog.text
            assert secret.encode() not in stored_in(config)
        assert f"actor=run:{run.id}" in caplog.text
