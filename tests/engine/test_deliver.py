"""The role of deliveries over a real store: what it sends when, how many at once, and what it does when
everything goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from narrows.engine import deliver
from narrows.engine.deliver import host_of
from narrows.engine.loop import Engine
from narrows.errors import Unavailable
from narrows.operations.base import DEV
from narrows.operations.deliveries import FinishDeliveries
from narrows.operations.triggers import ExtendTrigger
from narrows.outgoing.answers import Answer
from narrows.testing import settle
from tests.engine.deliver_kit import SECOND, URL, plain_sign, running
from tests.storage.kit import PROJECT, Bench


async def test_both_calls_of_a_wait_say_what_happened(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        trigger = await run.bench.open("k", 60, notify_url=URL, request_payload='{"n":1.50}')
        await run.bench.send("k", '{"ok":1e2}')
        assert await run.round() is None
        # Two of one moment go out beside one another.
        opening, settling = sorted(run.caller.posted, key=lambda posted: posted.headers["webhook-id"])
        assert opening.json["type"] == "trigger.opened"
        assert opening.json["data"]["status"] == "waiting"
        assert "response_payload" not in opening.json["data"]
        assert "settled_at" not in opening.json["data"]
        assert opening.json["timestamp"] == opening.json["data"]["requested_at"]
        assert settling.json["type"] == "trigger.settled"
        assert settling.json["data"]["id"] == trigger.id
        assert settling.json["timestamp"] == settling.json["data"]["settled_at"]
        assert b'"request_payload":{"n":1.50},"response_payload":{"ok":1e2}' in settling.body
        assert {each.headers["content-type"] for each in run.caller.posted} == {"application/json"}
        assert [each.status for each in await run.listed()] == ["delivered", "delivered"]
        assert (await run.bench.get("k")).notify_status == "delivered"


@pytest.mark.parametrize("payload", [None, "null", '"' + "ä" * 300_000 + '"'], ids=["none", "null", "large"])
async def test_any_payload_goes_out_as_it_came(tmp_path: Path, payload: str | None) -> None:
    async with running(tmp_path) as run:
        await run.bench.open("k", notify_url=URL)
        await run.bench.send("k", payload)
        await run.round()
        (told,) = [each for each in run.caller.posted if each.json["type"] == "trigger.settled"]
        assert ("response_payload" in told.json["data"]) == (payload is not None)
        if payload is not None:
            assert f'"response_payload":{payload}'.encode() in told.body


async def test_eight_attempts_with_one_id_one_body_and_fresh_timestamps(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.caller.answer = lambda posted: Answer(500, b"", "The target answered 500.", None)
        trigger = await run.bench.open("k", 0, notify_url=URL)
        due = await run.round()
        changes = 0
        while (delivery := await run.only()).due_at is not None:
            assert await run.round() == delivery.due_at, "nothing is sent before its time"
            if changes < 2:  # what happens to the wait meanwhile changes nothing of what is told
                await run.bench.perform(
                    run.bench.canceling("k") if changes else _extending(run.bench, trigger.id)
                )
                if changes:
                    run.caller.answer = lambda posted: Answer(
                        200 if posted.json["type"] == "trigger.settled" else 500, b"", "no", None
                    )
                    await run.round()
                    break
            changes += 1
            run.clock.advance_to(delivery.due_at)
            due = await run.round(secs=0)
        while (delivery := (await run.listed())[-1]).due_at is not None:
            run.clock.advance_to(delivery.due_at)
            due = await run.round(secs=0)
        assert due is None
        sent = [each for each in run.caller.posted if each.json["type"] == "trigger.opened"]
        assert len(sent) == delivery.attempts == 8
        assert {each.headers["webhook-id"] for each in sent} == {delivery.id}
        assert len({each.body for each in sent}) == 1
        assert len({each.headers["webhook-timestamp"] for each in sent}) == 8
        assert 68_000 * SECOND < sent[-1].at - sent[0].at <= 86_400 * SECOND
        assert (delivery.status, delivery.last_status) == ("failed", 500)


def _extending(bench: Bench, trigger_id: str) -> Any:
    return ExtendTrigger(actor=DEV, project_id=PROJECT, entropy=3, trigger_id=trigger_id, timeout_secs=0)


async def test_410_ends_it_and_a_retry_begins_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.caller.answer = lambda posted: Answer(410, b"", "The target answered 410 Gone.", None)
        await run.bench.open("k", 0, notify_url=URL)
        assert await run.round() is None
        delivery = await run.only()
        assert (delivery.status, delivery.attempts, delivery.error) == (
            "failed", 1, "The target answered 410 Gone.",
        )  # fmt: skip
        run.caller.answer = lambda posted: Answer(204, b"", None, None)
        await run.retry(delivery)
        await run.round()
        delivery = await run.only()
        assert (delivery.status, delivery.attempts) == ("delivered", 2)
        assert len({each.headers["webhook-id"] for each in run.caller.posted}) == 1


async def test_retry_after_and_redirects(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.caller.answer = lambda posted: Answer(503, b"", "busy", 3_600)
        await run.bench.open("k", 0, notify_url=URL)
        await run.round()
        delivery = await run.only()
        assert delivery.due_at == run.clock.now() + 3_600 * SECOND
        run.caller.answer = lambda posted: Answer(307, b"", "it leads elsewhere", None)
        run.clock.advance_to(delivery.due_at)
        await run.round()
        delivery = await run.only()
        assert (delivery.status, delivery.attempts, delivery.last_status) == ("pending", 2, 307)


async def test_fifty_at_once_ten_of_a_host_and_nine_tenths_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "PAGE", 7)
    async with running(tmp_path) as run:
        run.caller.gate.clear()
        for number in range(30):
            await run.bench.open(f"slow{number}", 0, notify_url=f"{URL}/{number}")
        await run.bench.open("other", 0, notify_url="https://other.example.com/hook")
        assert await run.round() == run.clock.now() + deliver.ROOM_POLL_US
        await settle()
        assert run.role.in_flight == 11
        for number in range(60):
            await run.bench.open(f"h{number}", 0, notify_url=f"https://{number}.example.com/")
        await run.round()
        await run.round()
        await _until(lambda: run.caller.under_way == 45)
        assert run.role.in_flight == 45
        await run.project("other")
        await run.bench.open("k", 0, project_id="other", notify_url="https://late.example.com/")
        await run.round()
        await _until(lambda: run.caller.under_way == 46)
        run.caller.gate.set()
        for _ in range(8):
            await run.round()
        assert run.caller.most <= 50
        assert len(run.caller.posted) == len(await run.listed()) + 1 == 92
        assert run.caller.posted[45].url == "https://late.example.com/"
        assert {each.status for each in await run.listed()} == {"delivered"}


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0)


async def test_a_host_without_room_is_looked_at_again_soon(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.caller.full = {URL}
        await run.bench.open("k", 0, notify_url=URL)
        due = await run.round()
        assert due == run.clock.now() + deliver.ROOM_POLL_US
        assert run.caller.posted == []
        run.caller.full = set()
        run.clock.advance_to(due)
        await run.round(secs=0)
        assert (await run.only()).status == "delivered"


async def test_whatever_waits_for_a_busy_host_hides_nobody_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "PAGE", 7)
    monkeypatch.setattr(deliver, "MOST_LOOKED_AT", 60)
    async with running(tmp_path) as run:
        run.caller.full = {f"{URL}/{number}" for number in range(200)}
        for number in range(200):
            await run.bench.open(f"slow{number}", 0, notify_url=f"{URL}/{number}")
        await run.bench.open("other", 0, notify_url="https://other.example.com/hook")
        for _ in range(5):
            assert await run.round() == run.clock.now() + deliver.ROOM_POLL_US
        assert [posted.url for posted in run.caller.posted] == ["https://other.example.com/hook"]
        run.caller.full = {f"{URL}/{number}" for number in range(1, 200)}
        for _ in range(5):
            await run.round(secs=1)
        assert [posted.url for posted in run.caller.posted][1:] == [f"{URL}/0"], "the first is not forgotten"


async def test_killed_between_the_attempt_and_its_record_it_is_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.bench.open("k", 0, notify_url=URL)
        run.clock.advance(secs=1)
        await run.role.round()
        await _until(lambda: not run.role.in_flight)
        # Here the process dies: the answer was 200, and nobody wrote it down.
        clock = run.clock
    async with running(tmp_path, clock) as again:
        assert await again.round() == clock.now() - 1_000 + deliver.LEASE_US
        assert again.caller.posted == []
        clock.advance(us=deliver.LEASE_US)
        await again.round()
        (second,) = again.caller.posted
        (first,) = run.caller.posted
        assert (second.headers["webhook-id"], second.body) == (first.headers["webhook-id"], first.body)
        delivery = await again.only()
        assert (delivery.status, delivery.attempts) == ("delivered", 2)


async def test_a_stop_waits_for_what_is_sent_and_cuts_off_the_rest(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.caller.gate.clear()
        await run.bench.open("k", 0, notify_url=URL)
        await run.round()
        await _until(lambda: run.caller.under_way == 1)
        await run.role.drain(0.01)
        await run.bench.open("late", 0, notify_url=URL)
        assert await run.round() is None
        await run.role.at_stop()
        assert run.role.in_flight == 0
        assert [(each.status, each.attempts) for each in await run.listed()] == [
            ("pending", 0),
            ("pending", 1),
        ]


async def test_a_stop_writes_down_what_has_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.bench.open("k", 0, notify_url=URL)
        run.clock.advance(secs=1)
        await run.role.round()
        await run.role.drain(5)
        await run.role.at_stop()
        assert (await run.only()).status == "delivered"


async def test_what_cannot_be_written_down_is_kept_for_the_next_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        perform, refusals = run.bench.service.perform, [Unavailable("The disk is full."), None]

        async def refusing(operation: Any) -> Any:
            if isinstance(operation, FinishDeliveries) and (refusal := refusals.pop(0)):
                raise refusal
            return await perform(operation)

        monkeypatch.setattr(run.bench.service, "perform", refusing)
        await run.bench.open("k", 0, notify_url=URL)
        with pytest.raises(Unavailable):
            await run.round()
        await run.round()
        assert (await run.only()).status == "delivered"
        assert len(run.caller.posted) == 1


async def test_without_a_secret_nothing_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path, secret=False) as run:
        await run.bench.open("k", 0, notify_url=URL)
        await run.round()
        assert run.caller.posted == []
        delivery = await run.only()
        assert (delivery.status, delivery.error) == ("pending", deliver.UNSIGNED)


async def test_a_fault_of_ours_with_one_holds_up_no_other(tmp_path: Path) -> None:
    def sign(kept: str, delivery_id: str, now: int, body: bytes) -> dict[str, str]:
        if b'"broken"' in body:
            raise RuntimeError("hush")
        return plain_sign(kept, delivery_id, now, body)

    async with running(tmp_path, sign=sign) as run:
        await run.bench.open("broken", 0, notify_url=URL)
        await run.bench.open("fine", 0, notify_url=URL)
        await run.round()
        fine, broken = await run.listed()
        assert (fine.status, broken.status) == ("delivered", "pending")
        assert broken.error == "it could not be sent: RuntimeError"


async def test_one_whose_trigger_has_gone_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.bench.open("k", 0, notify_url=URL)
        (row,) = await run.listed()
        role_outcome = await run.role._outcome(row._replace(trigger_id="gone"))
        assert role_outcome is None


async def test_a_commit_wakes_the_engine_at_once_and_at_due_times(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        engine = Engine(run.bench.service, [run.role])
        engine.start()
        await settle()
        run.caller.answer = lambda posted: Answer(500, b"", "no", None)
        await run.bench.open("k", 0, notify_url=URL)
        for attempt in range(1, 5):
            async with asyncio.timeout(20):
                while len(run.caller.posted) < attempt:
                    due = run.clock.next_due  # None while the role works
                    if due is not None and not run.role.in_flight and not run.role._ended:
                        run.clock.advance_to(max(due, run.clock.now()))
                    await asyncio.sleep(0.001)
        await engine.drain(1)
        await engine.stop()
        times = [each.at for each in run.caller.posted]
        gaps = [(after - before) / SECOND for before, after in pairwise(times)]
        for gap, planned in zip(gaps, (5, 60, 300), strict=False):
            assert 0.8 * planned <= gap <= planned + 0.1


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.com/a", "example.com"),
        ("http://u:p@example.com:8080/x", "example.com:8080"),
        ("http://[::1]:80/", "[::1]:80"),
        ("http://[broken/", "http://[broken/"),
    ],
)
def test_the_host_of_an_address(url: str, host: str) -> None:
    assert host_of(url) == host
