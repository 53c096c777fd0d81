"""Sending an event by key, by id and to a callback URL; sending it again."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.records import Trigger
from narrows.core.states import FactKind, TriggerStatus, TriggerType
from narrows.errors import Conflict, InvalidRequest, NotFound, SchemaMismatch
from narrows.operations.base import DEV, Undelivered
from narrows.operations.events import BatchEvent, SendToCallback
from narrows.operations.triggers import CreateCallbackUrl
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.records import SaveRecords

LARGE = '{"text":"' + "x" * 3_000 + '"}'
LARGE_REORDERED = '{"a":1,"text":"' + "x" * 3_000 + '"}', '{"text":"' + "x" * 3_000 + '","a":1.0}'


@pytest.mark.parametrize("payload", ["1", "null", None, '{"approved":true}', LARGE, '"\\u0000 \\ud800"'])
@pytest.mark.parametrize("way", ["key", "id", "callback"])
async def test_it_settles_the_wait_with_the_payload_as_sent(
    backend: Backend, way: str, payload: str | None
) -> None:
    async with opened(backend) as bench:
        waiting = await bench.open("a", callback_token_hash="token")
        bench.clock.advance(secs=2)
        outcome = await _send(bench, way, waiting, payload)
        stored = await bench.get_by_id(waiting.id)
        assert (outcome.status, outcome.trigger.status) == (200, TriggerStatus.RECEIVED)
        assert stored.response_payload == payload
        assert (stored.status, stored.version) == (TriggerStatus.RECEIVED, 2)
        assert stored.received_at == stored.settled_at == bench.clock.now()
        assert (stored.sent_by or "").startswith("callback:" if way == "callback" else "dev")
        fact = bench.commits[-1].facts[-1]
        assert (fact.kind, fact.previous_id) == (FactKind.TRIGGER_RECEIVED, waiting.last_fact_id)


async def _send(bench: Bench, way: str, waiting: Trigger, payload: str | None) -> Any:
    if way == "key":
        return await bench.send(waiting.event_key, payload)
    if way == "id":
        return await bench.send(None, payload, trigger_id=waiting.id)
    return await bench.service.perform(_callback(bench, payload))


def _callback(bench: Bench, payload: str | None, token: str = "token") -> SendToCallback:
    return SendToCallback(token_hash=token, payload=payload, entropy=bench.entropy(), answers={})


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ('{"a":1,"b":[true]}', '{"b":[true],"a":1.0}'),
        (LARGE, LARGE),
        LARGE_REORDERED,
        (None, None),
        ("null", "null"),
    ],
)
async def test_an_equal_payload_again_changes_nothing(
    backend: Backend, first: str | None, again: str | None
) -> None:
    async with opened(backend) as bench:
        await bench.open("a", callback_token_hash="token")
        settled = (await bench.send("a", first)).trigger
        facts = sum(len(commit.facts) for commit in bench.commits)
        for way in ("key", "id", "callback"):
            outcome = await _send(bench, way, settled, again)
            assert outcome.trigger.version == 2
        assert (await bench.get("a")).response_payload == first
        assert sum(len(commit.facts) for commit in bench.commits) == facts


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("1", "2"),
        ("1", "true"),
        ("null", None),
        (None, "null"),
        (LARGE, "1"),
        ("1", LARGE),
        (LARGE_REORDERED[0], LARGE),
    ],
)
async def test_another_payload_again_is_a_conflict_and_says_why(
    backend: Backend, first: str | None, again: str | None
) -> None:
    async with opened(backend) as bench:
        settled = await bench.open("a", callback_token_hash="token")
        await bench.send("a", first)
        bench.clock.advance(us=500)
        for way in ("key", "id", "callback"):
            with pytest.raises(Conflict) as refusal:
                await _send(bench, way, settled, again)
            cause = refusal.value.__cause__
            assert isinstance(cause, Undelivered)
            assert (cause.reason, cause.trigger_id) == ("settled", settled.id)
        # By whichever way it came: whoever asks why the key's wait did not fire is told.
        assert [(event.event_key, event.reason) for event in bench.sink.events] == [("a", "settled")] * 3
        assert (await bench.get("a")).response_payload == first


async def test_a_resend_in_the_same_commit_is_seen_as_one(backend: Backend) -> None:
    async with opened(backend) as bench:
        opening, first, equal, other = await bench.together(
            bench.opening("a"),
            bench.sending("a", '{"x":1,"y":2}'),
            bench.sending("a", '{"y":2,"x":1}'),
            bench.sending("a", '{"y":3,"x":1}'),
        )
        assert first.trigger.id == opening.trigger.id
        assert equal.trigger == first.trigger
        assert isinstance(other, Conflict)


async def test_nothing_waits_is_not_found_with_the_reason(backend: Backend) -> None:
    async with opened(backend) as bench:
        with pytest.raises(NotFound) as refusal:
            await bench.send("nobody")
        assert isinstance(refusal.value.__cause__, Undelivered)
        assert [event.reason for event in bench.sink.events] == ["no_wait"]
        with pytest.raises(NotFound):
            await bench.send(None, trigger_id="01a20a5b-cb80-7908-8000-1edb0d4cfc59")
        with pytest.raises(NotFound):
            await bench.perform(_callback(bench, "1", "unknown"))


async def test_a_send_by_id_reaches_that_wait_and_not_a_newer_one_under_its_key(backend: Backend) -> None:
    async with opened(backend) as bench:
        old = await bench.open("a")
        await bench.send("a", "1")
        new = await bench.open("a")
        assert (await bench.send(None, "1", trigger_id=old.id)).trigger.id == old.id
        with pytest.raises(Conflict):
            await bench.send(None, "2", trigger_id=old.id)
        assert (await bench.get_by_id(new.id)).status == TriggerStatus.WAITING


async def test_a_send_by_id_takes_no_hold_and_no_event_id(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a")
        for field in ({"hold_secs": 5}, {"event_id": "e"}):
            with pytest.raises(InvalidRequest):
                await bench.send(None, trigger_id=trigger.id, **field)


async def test_another_projects_trigger_cannot_be_sent_to(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        trigger = await bench.open("a")
        with pytest.raises(NotFound):
            await bench.send(None, trigger_id=trigger.id, project_id="other")
        with pytest.raises(NotFound):
            await bench.send("a", project_id="other")


@pytest.mark.parametrize("trigger_type", [TriggerType.SLEEP, TriggerType.APPROVAL])
async def test_a_sleep_or_an_approval_takes_no_event(backend: Backend, trigger_type: TriggerType) -> None:
    async with opened(backend) as bench:
        trigger = await bench.perform(SaveRecords.wait("a", trigger_type=trigger_type))
        for send in (bench.sending("a", "1"), bench.sending(None, "1", trigger_id=trigger.id)):
            with pytest.raises(Conflict) as refusal:
                await bench.perform(send)
            assert isinstance(refusal.value.__cause__, Undelivered)
            assert refusal.value.__cause__.reason == "type"
        (refused,) = await bench.perform(bench.batch(BatchEvent("a", "1")))
        assert isinstance(refused, Conflict)
        assert (await bench.get("a")).status == TriggerStatus.WAITING


async def test_a_payload_that_does_not_fit_leaves_the_wait_open(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a", expected_schema='{"type":"object","required":["ok"]}')
        with pytest.raises(SchemaMismatch) as refusal:
            await bench.send("a", '{"no":1}')
        assert refusal.value.details
        assert (await bench.get("a")).status == TriggerStatus.WAITING
        assert (await bench.send("a", '{"ok":1}')).trigger.status == TriggerStatus.RECEIVED


async def test_a_callback_url_goes_on_after_the_wait_is_settled_but_for_equal_payloads_only(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a")
        make = CreateCallbackUrl(
            actor=DEV, project_id=PROJECT, entropy=bench.entropy(), trigger_id=trigger.id, token_hash="t2"
        )
        url = await bench.perform(make)
        assert (url.trigger_id, url.token_hash) == (trigger.id, "t2")
        first = await bench.service.perform(_callback(bench, "7", "t2"))
        assert first.trigger.sent_by == f"callback:{url.id}"
        assert (await bench.service.perform(_callback(bench, "7.0", "t2"))).trigger.version == 2
        with pytest.raises(Conflict):
            await bench.perform(_callback(bench, "8", "t2"))
        with pytest.raises(Conflict):
            await bench.perform(
                CreateCallbackUrl(
                    actor=DEV,
                    project_id=PROJECT,
                    entropy=bench.entropy(),
                    trigger_id=trigger.id,
                    token_hash="t3",
                )
            )
