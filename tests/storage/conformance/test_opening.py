"""Opening a wait: alone, where one is open, where events are held, where it is too much."""

from __future__ import annotations

import pytest

from narrows.core.records import NEVER, Trigger
from narrows.core.states import FactKind, TriggerStatus
from narrows.errors import Conflict, LimitReached, NotFound
from narrows.storage.transaction import Limits
from tests.storage.kit import Backend, opened


async def test_a_fresh_wait_is_stored_with_all_its_fields(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open(
            "approval:1",
            90,
            request_payload='{"question":"ok?"}',
            name="approve",
            tags='{"team":"ops","stage":"prod"}',
            expected_schema='{"type":"object"}',
        )
        stored = await bench.get("approval:1")
        assert stored == trigger
        assert stored.status == TriggerStatus.WAITING
        assert (stored.version, stored.ordinal, stored.waiter, stored.root_id) == (1, 1, "client", None)
        assert stored.expires_at == stored.requested_at + 90_000_000
        assert stored.expected_schema_id is not None
        assert stored.opened_by == "dev"


async def test_a_time_out_of_zero_is_never(backend: Backend) -> None:
    async with opened(backend) as bench:
        assert (await bench.open("a", 0)).expires_at == NEVER


async def test_a_large_request_payload_has_a_row_of_its_own_and_comes_back_whole(backend: Backend) -> None:
    text = '"' + "ü" * 5_000 + '"'
    async with opened(backend) as bench:
        trigger = await bench.open("a", request_payload=text)
        assert trigger.request_payload_id is not None
        assert (await bench.get_by_id(trigger.id)).request_payload == text
        (row,) = await bench.rows("triggers_by_id", (trigger.project_id, trigger.id))
        assert Trigger(*row).request_payload is None


async def test_a_waiting_key_refuses_a_second_wait_and_names_the_first(backend: Backend) -> None:
    async with opened(backend) as bench:
        first = await bench.open("a")
        with pytest.raises(Conflict, match=first.id):
            await bench.open("a")
        assert [trigger.id for trigger in await bench.listed()] == [first.id]


async def test_joining_meets_the_open_wait(backend: Backend) -> None:
    async with opened(backend) as bench:
        first = await bench.open("a")
        outcome = await bench.perform(bench.opening("a", 5, if_waiting="join", callback_token_hash="h"))
        assert (outcome.status, outcome.trigger) == (200, first)
        ((_, url_id, project_id, trigger_id, _),) = await bench.rows("callback_urls_by_hash", ("h",))
        assert (project_id, trigger_id) == (first.project_id, first.id)
        assert url_id


async def test_joining_where_nothing_waits_opens(backend: Backend) -> None:
    async with opened(backend) as bench:
        outcome = await bench.perform(bench.opening("a", if_waiting="join"))
        assert outcome.status == 201


async def test_two_openings_of_one_key_in_one_commit_make_one_wait(backend: Backend) -> None:
    async with opened(backend) as bench:
        first, second, joined = await bench.together(
            bench.opening("a"), bench.opening("a"), bench.opening("a", if_waiting="join")
        )
        assert first.status == 201
        assert isinstance(second, Conflict)
        assert (joined.status, joined.trigger.id) == (200, first.trigger.id)
        assert len(await bench.listed()) == 1


async def test_a_settled_key_is_opened_again_with_the_next_ordinal(backend: Backend) -> None:
    async with opened(backend) as bench:
        for ordinal in range(1, 4):
            assert (await bench.open("a")).ordinal == ordinal
            await bench.send("a", str(ordinal))
        assert [trigger.response_payload for trigger in await bench.listed()] == ["3", "2", "1"]


async def test_a_project_that_does_not_exist_is_not_found(backend: Backend) -> None:
    async with opened(backend) as bench:
        with pytest.raises(NotFound, match="no project 'nowhere'"):
            await bench.open("a", project_id="nowhere")


async def test_the_same_key_in_two_projects_is_two_waits(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        here = await bench.open("a")
        there = await bench.open("a", project_id="other")
        await bench.send("a", "1")
        assert (await bench.get("a")).status == TriggerStatus.RECEIVED
        assert (await bench.get("a", "other")).status == TriggerStatus.WAITING
        assert here.id != there.id
        with pytest.raises(NotFound):
            await bench.get_by_id(there.id)


async def test_waits_beyond_the_limit_are_refused_also_within_one_commit(backend: Backend) -> None:
    async with opened(backend, limits=Limits(waiting_per_project=2)) as bench:
        outcomes = await bench.together(*(bench.opening(f"k{number}") for number in range(4)))
        refused = [outcome for outcome in outcomes if isinstance(outcome, LimitReached)]
        assert len(refused) == 2
        await bench.send("k0")
        assert (await bench.open("k2")).status == TriggerStatus.WAITING
        with pytest.raises(LimitReached):
            await bench.open("k3")


async def test_opening_writes_a_fact_that_heads_the_timeline(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a")
        (fact,) = bench.commits[-1].facts
        assert (fact.kind, fact.subject_id, fact.version) == (FactKind.TRIGGER_OPENED, trigger.id, 1)
        assert (fact.id, fact.previous_id, fact.actor) == (trigger.last_fact_id, None, "dev")
