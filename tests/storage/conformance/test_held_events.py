"""Events that come before their wait: held, delivered first come first, counted once by event_id."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.records import HeldEvent
from narrows.core.states import FactKind, HeldStatus, TriggerStatus
from narrows.errors import Conflict, LimitReached, NotFound
from narrows.operations.base import DEV, HeldOutcome
from narrows.operations.delivery import EVENT_ID_SECS
from narrows.operations.events import DeleteHeldEvent, ExpireHeldEvents
from narrows.operations.purge import DeleteTriggers
from narrows.operations.reads import ListHeldEvents
from narrows.storage.transaction import Limits
from tests.storage.kit import PROJECT, Backend, Bench, opened

LARGE = '"' + "x" * 2_000 + '"'


async def _held(bench: Bench, project_id: str = PROJECT) -> list[HeldEvent]:
    page = await bench.store.read(ListHeldEvents(project_id=project_id))
    return list(page.items)


@pytest.mark.parametrize("payload", ["1", None, "null", LARGE])
async def test_a_held_event_settles_the_wait_in_the_commit_that_opens_it(
    backend: Backend, payload: str | None
) -> None:
    async with opened(backend) as bench:
        outcome = await bench.send("a", payload, hold_secs=60)
        assert isinstance(outcome, HeldOutcome)
        assert (await bench.stats()).held == 1
        commits = len(bench.commits)
        trigger = await bench.open("a")
        assert len(bench.commits) == commits + 1
        assert [fact.kind for fact in bench.commits[-1].facts] == [
            FactKind.TRIGGER_OPENED,
            FactKind.EVENT_DELIVERED,
            FactKind.TRIGGER_RECEIVED,
        ]
        stored = await bench.get_by_id(trigger.id)
        assert (stored.status, stored.response_payload) == (TriggerStatus.RECEIVED, payload)
        assert await _held(bench) == []
        assert (await bench.stats()).held == 0


async def test_first_come_first_delivered_one_to_a_wait(backend: Backend) -> None:
    async with opened(backend) as bench:
        for payload in "123":
            await bench.send("a", payload, hold_secs=60)
        got = [(await bench.open("a")).response_payload for _ in range(4)]
        assert got == ["1", "2", "3", None]
        assert (await bench.get("a")).status == TriggerStatus.WAITING


async def test_holding_and_opening_in_one_commit_meet_in_either_order(backend: Backend) -> None:
    async with opened(backend) as bench:
        held, first, second, sent = await bench.together(
            bench.sending("a", "1", hold_secs=60),
            bench.opening("a"),
            bench.opening("a"),
            bench.sending("a", "2", hold_secs=60),
        )
        assert isinstance(held, HeldOutcome)
        assert first.trigger.response_payload == "1"
        assert sent.trigger.id == second.trigger.id
        assert sent.trigger.response_payload == "2"
        assert await _held(bench) == []


async def test_with_hold_secs_a_settled_key_holds_for_the_next_wait(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        await bench.send("a", "1")
        assert isinstance(await bench.send("a", "1", hold_secs=60), HeldOutcome)
        assert (await bench.open("a")).response_payload == "1"


async def test_a_waiting_key_takes_the_event_at_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        assert (await bench.send("a", "1", hold_secs=60)).trigger.status == TriggerStatus.RECEIVED
        assert await _held(bench) == []


async def test_what_is_past_its_time_is_not_delivered_and_then_goes(backend: Backend) -> None:
    async with opened(backend) as bench:
        held = (await bench.send("a", LARGE, hold_secs=60)).held
        bench.clock.advance(secs=61)
        assert (await bench.open("a")).status == TriggerStatus.WAITING
        expire = ExpireHeldEvents(ids=((PROJECT, held.id),), entropy=bench.entropy())
        assert await bench.perform(expire) == 1
        assert bench.commits[-1].facts[0].kind == FactKind.EVENT_EXPIRED
        assert await bench.perform(expire) == 0
        assert await bench.rows("payloads_by_id", (PROJECT, held.payload_id or "")) == []
        assert (await bench.stats()).held == 0


async def test_nothing_expires_before_its_time(backend: Backend) -> None:
    async with opened(backend) as bench:
        held = (await bench.send("a", "1", hold_secs=60)).held
        bench.clock.advance_to(held.held_until - 1)
        expire = ExpireHeldEvents(ids=((PROJECT, held.id),), entropy=bench.entropy())
        assert await bench.perform(expire) == 0
        assert (await bench.open("a")).response_payload == "1"


async def test_an_event_id_counts_once_while_it_is_held(backend: Backend) -> None:
    async with opened(backend) as bench:
        first = await bench.send("a", "1", hold_secs=60, event_id="e")
        again = await bench.send("a", "2", hold_secs=60, event_id="e")
        assert again == first
        (opening, repeat) = await bench.together(
            bench.opening("a"), bench.sending("a", "3", hold_secs=60, event_id="e")
        )
        assert opening.trigger.response_payload == "1"
        assert repeat.trigger == opening.trigger
        assert (await bench.open("a")).status == TriggerStatus.WAITING
        later = await bench.send("a", "4", event_id="e")
        assert later.trigger.id == opening.trigger.id
        assert (await bench.get("a")).status == TriggerStatus.WAITING


async def test_an_event_id_counts_once_where_the_event_was_delivered_at_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        first = await bench.send("a", "1", event_id="e")
        next_wait = await bench.open("a")
        repeat = await bench.send("a", "2", event_id="e")
        assert repeat.trigger.id == first.trigger.id
        assert (await bench.get_by_id(next_wait.id)).status == TriggerStatus.WAITING


async def test_an_event_id_is_forgotten_after_its_time(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a")
        await bench.send("a", "1", event_id="e")
        await bench.open("a")
        bench.clock.advance(secs=EVENT_ID_SECS - 1)
        await bench.open("b", 0)
        bench.clock.advance(secs=2)
        await bench.open("a")
        assert (await bench.send("a", "2", event_id="e")).trigger.response_payload == "2"


async def test_event_ids_are_of_one_key_and_project(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        for key, project_id in (("a", PROJECT), ("b", PROJECT), ("a", "other")):
            outcome = await bench.send(key, "1", hold_secs=60, event_id="e", project_id=project_id)
            assert isinstance(outcome, HeldOutcome)
        assert len(await _held(bench)) == 2
        assert len(await _held(bench, "other")) == 1


async def test_a_repeat_whose_trigger_was_purged_says_so(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 0)
        await bench.send("a", "1", event_id="e")
        bench.clock.advance(secs=1)
        purge = DeleteTriggers(
            ids=((PROJECT, trigger.id),), settled_before=bench.clock.now(), entropy=bench.entropy()
        )
        assert await bench.perform(purge) == 1
        with pytest.raises(Conflict, match="purged"):
            await bench.send("a", "1", event_id="e")


async def test_events_beyond_the_limits_are_refused(backend: Backend) -> None:
    async with opened(backend, limits=Limits(held_per_key=2, held_per_project=3)) as bench:
        outcomes = await bench.together(*(bench.sending("a", "1", hold_secs=60) for _ in range(3)))
        assert [type(outcome) for outcome in outcomes] == [HeldOutcome, HeldOutcome, LimitReached]
        outcomes = await bench.together(*(bench.sending(key, "1", hold_secs=60) for key in "bc"))
        assert [type(outcome) for outcome in outcomes] == [HeldOutcome, LimitReached]
        await bench.open("a")
        assert isinstance(await bench.send("c", "1", hold_secs=60), HeldOutcome)


async def test_a_held_send_counts_what_its_key_holds_and_does_not_load_it(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.together(*(bench.sending("a", "1", hold_secs=60) for _ in range(20)))
        loaded: list[tuple[str, int]] = []
        load_all = bench.writing.load_all

        async def counting_load(wanted: Any) -> Any:
            found = await load_all(wanted)
            loaded.extend((statement, len(rows)) for statement, rows in found.items())
            return found

        bench.writing.load_all = counting_load
        assert isinstance(await bench.send("a", "1", hold_secs=60), HeldOutcome)
        assert dict(loaded)["held_tally_by_key"] == 1
        assert all(count <= 1 for _, count in loaded), loaded


async def test_the_count_of_a_key_follows_what_comes_and_goes_in_one_commit(backend: Backend) -> None:
    async with opened(backend, limits=Limits(held_per_key=2)) as bench:
        await bench.send("a", "1", hold_secs=60)
        outcomes = await bench.together(
            bench.sending("a", "2", hold_secs=60),
            bench.sending("a", "3", hold_secs=60),
            bench.opening("a"),
            bench.canceling("a"),
            bench.sending("a", "4", hold_secs=60),
            bench.sending("a", "5", hold_secs=60),
        )
        assert [type(outcome).__name__ for outcome in outcomes] == [
            "HeldOutcome", "LimitReached", "TriggerOutcome", "Conflict", "HeldOutcome", "LimitReached",
        ]  # fmt: skip


async def test_a_held_event_that_does_not_fit_the_schema_stays_and_the_next_is_delivered(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        await bench.send("a", '"text"', hold_secs=60)
        await bench.send("a", '{"n":1}', hold_secs=60)
        trigger = await bench.open("a", expected_schema='{"type":"object"}')
        assert trigger.response_payload == '{"n":1}'
        assert [event.payload for event in await _held(bench)] == ['"text"']


async def test_a_held_event_is_discarded_by_its_id(backend: Backend) -> None:
    async with opened(backend) as bench:
        held = (await bench.send("a", LARGE, hold_secs=60)).held
        delete = DeleteHeldEvent(actor=DEV, project_id=PROJECT, entropy=bench.entropy(), held_id=held.id)
        assert (await bench.perform(delete)).id == held.id
        assert bench.commits[-1].facts[0].kind == FactKind.EVENT_DISCARDED
        with pytest.raises(NotFound):
            await bench.perform(delete)
        assert (await bench.open("a")).status == TriggerStatus.WAITING


async def test_a_delivered_event_cannot_be_discarded(backend: Backend) -> None:
    async with opened(backend) as bench:
        held = (await bench.send("a", "1", hold_secs=60, event_id="e")).held
        await bench.open("a")
        with pytest.raises(NotFound):
            await bench.perform(
                DeleteHeldEvent(actor=DEV, project_id=PROJECT, entropy=bench.entropy(), held_id=held.id)
            )
        (row,) = await bench.rows("held_by_id", (PROJECT, held.id))
        assert HeldEvent(*row).status == HeldStatus.DELIVERED


async def test_holding_in_a_project_that_does_not_exist_is_not_found(backend: Backend) -> None:
    async with opened(backend) as bench:
        with pytest.raises(NotFound):
            await bench.send("a", "1", hold_secs=60, project_id="nowhere")


async def test_a_large_held_payload_moves_to_its_trigger_within_one_commit(backend: Backend) -> None:
    async with opened(backend) as bench:
        _, opening, resend = await bench.together(
            bench.sending("a", LARGE, hold_secs=60, event_id="e"),
            bench.opening("a"),
            bench.sending("a", LARGE),
        )
        assert resend.trigger.id == opening.trigger.id
        assert (await bench.get("a")).response_payload == LARGE
