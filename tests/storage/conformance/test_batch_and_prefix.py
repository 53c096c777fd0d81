"""Many events in one request: a batch by keys, and one event to all that waits under a prefix."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import Conflict, NotFound, SchemaMismatch
from narrows.operations.base import DEV, HeldOutcome, TriggerOutcome
from narrows.operations.events import BatchEvent
from narrows.operations.idempotency import KEPT_US
from narrows.operations.prefix import SendPrefix
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.records import SaveRecords

LARGE = '"' + "x" * 2_000 + '"'


async def test_the_items_of_a_batch_are_independent_and_come_in_order(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        await bench.open("s", expected_schema='{"type":"object"}')
        outcomes = await bench.service.perform(
            bench.batch(
                BatchEvent("nobody", "1"),
                BatchEvent("a", "1"),
                BatchEvent("s", '"text"'),
                BatchEvent("held", LARGE, 60),
                BatchEvent("a", "1.0"),
                BatchEvent("a", "2"),
                BatchEvent("s", "{}"),
            )
        )
        assert [type(outcome) for outcome in outcomes] == [
            NotFound, TriggerOutcome, SchemaMismatch, HeldOutcome, TriggerOutcome, Conflict, TriggerOutcome,
        ]  # fmt: skip
        assert (await bench.get("a")).response_payload == "1"
        assert (await bench.get("s")).response_payload == "{}"
        assert sorted(event.reason for event in bench.sink.events) == ["no_wait", "schema", "settled"]
        facts = [fact.id for commit in bench.commits for fact in commit.facts]
        assert len(facts) == len(set(facts))


async def test_a_batch_tells_equal_large_payloads_from_others(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        await bench.send("a", LARGE)
        equal, other = await bench.service.perform(
            bench.batch(BatchEvent("a", LARGE), BatchEvent("a", LARGE.replace("xx", "xy", 1)))
        )
        assert isinstance(equal, TriggerOutcome)
        assert isinstance(other, Conflict)


async def test_a_batch_delivers_to_one_wait_and_holds_the_rest_of_its_key(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        outcomes = await bench.service.perform(
            bench.batch(*(BatchEvent("a", str(number), 60, f"e{number % 2}") for number in range(4)))
        )
        assert [type(outcome) for outcome in outcomes] == [
            TriggerOutcome, HeldOutcome, TriggerOutcome, HeldOutcome
        ]  # fmt: skip
        assert outcomes[0] == outcomes[2]
        assert outcomes[1] == outcomes[3]


def _prefix(bench: Bench, prefix: str, payload: str | None = "1", **fields: Any) -> SendPrefix:
    return SendPrefix(
        actor=DEV, project_id=PROJECT, prefix=prefix, payload=payload, entropy=bench.entropy(), **fields
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in tuple(sys.modules.items()):
        if name.startswith("narrows.operations.") and hasattr(module, "CHUNK"):
            monkeypatch.setattr(module, "CHUNK", 3)


@pytest.mark.usefixtures("small_chunks")
async def test_a_prefix_send_settles_exactly_what_waits_under_it(backend: Backend) -> None:
    keys = ["b:1", "b:10", "b:2", "b:ü", "b:\U0010ffff", "b:", "b", "c", "a:b:"]
    async with opened(backend) as bench:
        await bench.project("other")
        for key in keys:
            await bench.open(key)
        await bench.open("b:1", project_id="other")
        await bench.open("b:settled")
        await bench.send("b:settled", "0")
        await bench.perform(SaveRecords.wait("b:sleep", trigger_type="sleep"))
        outcome = await bench.service.send_prefix(_prefix(bench, "b:", LARGE))
        assert (outcome.resolved, outcome.refused, outcome.truncated) == (6, 0, False)
        received = {t.event_key for t in await bench.listed() if t.response_payload == LARGE}
        assert received == {key for key in keys if key.startswith("b:")}
        assert {trigger.event_key for trigger in outcome.triggers} == received
        assert (await bench.get("b:1", "other")).status == TriggerStatus.WAITING
        assert (await bench.get("b:sleep")).status == TriggerStatus.WAITING
        chunks = [len(commit.triggers) for commit in bench.commits[-2:]]
        assert chunks == [3, 3]


async def test_a_dry_run_changes_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("b:1")
        commits = len(bench.commits)
        outcome = await bench.service.send_prefix(_prefix(bench, "b:", dry_run=True))
        assert (outcome.resolved, outcome.dry_run) == (1, True)
        assert len(bench.commits) == commits


async def test_what_refuses_the_payload_by_its_schema_is_counted_and_stays_open(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("b:1", expected_schema='{"type":"string"}')
        await bench.open("b:2")
        outcome = await bench.service.send_prefix(_prefix(bench, "b:", "1"))
        assert (outcome.resolved, outcome.refused) == (1, 1)
        assert (await bench.get("b:1")).status == TriggerStatus.WAITING


@pytest.mark.usefixtures("small_chunks")
async def test_a_prefix_send_that_was_cut_off_goes_on_where_it_stopped(backend: Backend) -> None:
    async with opened(backend) as bench:
        for number in range(7):
            await bench.open(f"b:{number}")
        chunks = 0

        def cut(step: str) -> None:
            nonlocal chunks
            chunks += step == "committed"
            if chunks and step == "loaded":
                raise RuntimeError("cut off")

        bench.store.writer.failpoint = cut
        request = _prefix(bench, "b:", "1", scope_hash="scope", body_hash="body")
        with pytest.raises(Exception, match="failed"):
            await bench.service.send_prefix(request)
        bench.store.writer.failpoint = lambda step: None
        await bench.open("b:later")
        outcome = await bench.service.send_prefix(request)
        assert outcome.resolved == 7
        assert len(outcome.triggers) == 7
        assert (await bench.get("b:later")).status == TriggerStatus.WAITING
        replayed = await bench.service.send_prefix(request)
        assert (replayed.resolved, replayed.replayed) == (7, True)
        with pytest.raises(Conflict, match="another body"):
            await bench.service.send_prefix(request._replace(body_hash="other"))


async def test_an_idempotency_key_whose_day_is_over_sends_anew(backend: Backend) -> None:
    async with opened(backend) as bench:
        request = _prefix(bench, "b:", "1", scope_hash="scope", body_hash="body")
        await bench.open("b:1")
        assert (await bench.service.send_prefix(request)).resolved == 1
        bench.clock.advance(us=KEPT_US, secs=1)
        await bench.open("b:2")
        outcome = await bench.service.send_prefix(request._replace(body_hash="other"))
        assert (outcome.resolved, outcome.replayed) == (1, False)


async def test_the_count_is_what_was_committed_when_others_settle_meanwhile(backend: Backend) -> None:
    async with opened(backend) as bench:
        waits = [await bench.open(f"b:{number}") for number in range(3)]
        bench.gate.shut()
        plug = bench.service.perform(bench.sending("b:1", '"other"'))
        first = asyncio.create_task(plug)
        await bench.gate.reached()
        prefix = asyncio.create_task(bench.service.send_prefix(_prefix(bench, "b:", "1")))
        while bench.store.queue_length == 0:
            await asyncio.sleep(0)
        bench.gate.open()
        await first
        outcome = await prefix
        assert outcome.resolved == 2
        assert (await bench.get_by_id(waits[1].id)).response_payload == '"other"'
