"""The life of deliveries on a store: made with a wait, claimed, ended, tried again, shown by the trigger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from narrows.core.deliveries import Outcome
from narrows.core.run_records import Delivery
from narrows.core.signing_secrets import first_secret
from narrows.errors import Conflict, InvalidRequest, NotFound
from narrows.operations.access import CreateProject, RotateProjectSecret
from narrows.operations.base import DEV
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries, RetryDelivery
from narrows.operations.reads.deliveries import DueDeliveries, GetDelivery, ListDeliveries, LoadParcel
from narrows.operations.triggers import ExtendTrigger
from tests.operations.reads_kit import Reads
from tests.storage.kit import PROJECT, Bench, SqliteBackend, opened

URL = "https://example.com/hook"
LEASE = 60_000_000
OK, BUSY = Outcome(200), Outcome(503)


async def due(bench: Bench) -> list[Any]:
    rows = await bench.store.read(DueDeliveries(after=(0, "", ""), until=1 << 60, limit=1000))
    return [row for row in rows if row.due_at <= bench.clock.now()]


async def claim(bench: Bench) -> tuple[Delivery, ...]:
    bench.clock.advance(secs=1)
    ids = tuple((row.project_id, row.id) for row in await due(bench))
    claimed: tuple[Delivery, ...] = await bench.perform(
        ClaimDeliveries(ids=ids, lease_us=LEASE, entropy=bench.entropy())
    )
    return claimed


async def finish(bench: Bench, *ended: tuple[Delivery, Outcome]) -> int:
    count: int = await bench.perform(FinishDeliveries(ended=ended, entropy=bench.entropy()))
    return count


def retrying(bench: Bench, delivery: Delivery, **fields: Any) -> RetryDelivery:
    return RetryDelivery(
        **bench._common(fields), delivery_id=delivery.id, trigger_id=delivery.trigger_id, **fields
    )


async def listed(bench: Bench, **filters: Any) -> list[Delivery]:
    page = await bench.store.read(ListDeliveries(project_id=PROJECT, **filters))
    return list(page.items)


async def status_of(bench: Bench, trigger_id: str) -> tuple[str | None, int]:
    trigger = await bench.get_by_id(trigger_id)
    return trigger.notify_status, trigger.version


async def test_opening_and_settling_each_make_one(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await bench.open("silent")
        trigger = await bench.open("k", notify_url=URL)
        assert await status_of(bench, trigger.id) == ("pending", 1)
        await bench.send("k", "1")
        assert await status_of(bench, trigger.id) == ("pending", 2)
        settled, made = await listed(bench)
        assert (made.kind, settled.kind) == ("trigger.opened", "trigger.settled")
        assert {each.trigger_id for each in (made, settled)} == {trigger.id}
        assert made.url == URL
        told = [each.id for commit in bench.commits for each in commit.deliveries]
        assert told == [made.id, settled.id]


async def test_a_claim_takes_what_is_due_once(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await bench.open("k", notify_url=URL)
        (claimed,) = await claim(bench)
        assert (claimed.attempts, claimed.due_at) == (1, bench.clock.now() + LEASE)
        assert await claim(bench) == ()
        ids = ((PROJECT, claimed.id), (PROJECT, "absent"))
        assert await bench.perform(ClaimDeliveries(ids=ids, lease_us=LEASE, entropy=1)) == ()


async def test_what_nobody_tells_the_end_of_is_due_again(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await bench.open("k", timeout_secs=0, notify_url=URL)
        (first,) = await claim(bench)
        bench.clock.advance(us=LEASE)
        (second,) = await claim(bench)
        assert (second.id, second.attempts) == (first.id, 2)
        # The first one was only slow. Its failure is old news, its success counts.
        assert await finish(bench, (first, BUSY)) == 0
        assert await finish(bench, (first, OK)) == 1
        assert await finish(bench, (second, BUSY)) == 0
        (delivery,) = await listed(bench)
        assert (delivery.status, delivery.attempts, delivery.last_status) == ("delivered", 2, 200)


async def test_the_trigger_shows_its_newest_delivery_without_a_new_version(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("k", notify_url=URL)
        (made,) = await claim(bench)
        assert await finish(bench, (made, OK)) == 1
        assert await status_of(bench, trigger.id) == ("delivered", 1)
        await bench.send("k", "1")
        assert await status_of(bench, trigger.id) == ("pending", 2)
        (settled,) = await claim(bench)
        await finish(bench, (settled, Outcome(410)))
        assert await status_of(bench, trigger.id) == ("failed", 2)
        await bench.perform(retrying(bench, settled))
        assert await status_of(bench, trigger.id) == ("pending", 2)
        assert (await bench.stats()).received == 1


async def test_an_older_delivery_says_nothing_of_a_settled_trigger(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("k", notify_url=URL)
        (made,) = await claim(bench)
        await bench.send("k", "1")
        await finish(bench, (made, OK))
        assert await status_of(bench, trigger.id) == ("pending", 2)


async def test_a_delivery_that_ends_in_the_commit_that_settles_its_trigger(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("k", notify_url=URL)
        (made,) = await claim(bench)
        ending = FinishDeliveries(ended=((made, OK),), entropy=1)
        await bench.together(ending, bench.sending("k", "1"))
        assert await status_of(bench, trigger.id) == ("pending", 2)
        other = await bench.open("other", notify_url=URL)
        both = await claim(bench)
        extending = ExtendTrigger(**bench._common({}), trigger_id=other.id, timeout_secs=9)
        await bench.together(extending, FinishDeliveries(ended=tuple((each, OK) for each in both), entropy=1))
        assert await status_of(bench, other.id) == ("delivered", 2)
        assert await status_of(bench, trigger.id) == ("delivered", 2)


async def test_after_eight_attempts_it_has_failed_and_a_retry_gives_it_one_more(
    backend: SqliteBackend,
) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("k", timeout_secs=0, notify_url=URL)
        (delivery,) = await listed(bench)
        for attempt in range(1, 9):
            bench.clock.advance_to(delivery.due_at or 0)
            (claimed,) = await claim(bench)
            assert claimed.attempts == attempt
            await finish(bench, (claimed, BUSY))
            assert await claim(bench) == ()
            (delivery,) = await listed(bench)
        assert (delivery.status, delivery.attempts, delivery.error) == (
            "failed",
            8,
            "the address answered 503",
        )
        assert await status_of(bench, trigger.id) == ("failed", 1)
        again = await bench.perform(retrying(bench, delivery))
        assert (again.id, again.status, again.attempts) == (delivery.id, "pending", 8)
        (claimed,) = await claim(bench)
        await finish(bench, (claimed, OK))
        (delivery,) = await listed(bench)
        assert (delivery.status, delivery.attempts, delivery.error) == ("delivered", 9, None)


async def test_a_retry_of_a_pending_one_makes_it_due_now(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await bench.open("k", notify_url=URL)
        (claimed,) = await claim(bench)
        await finish(bench, (claimed, Outcome(503, None, 3600)))
        assert await claim(bench) == ()
        await bench.perform(retrying(bench, claimed))
        (again,) = await claim(bench)
        assert again.attempts == 2


async def test_what_cannot_be_tried_again(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        await bench.open("k", notify_url=URL)
        (claimed,) = await claim(bench)
        await finish(bench, (claimed, OK))
        with pytest.raises(Conflict, match="has been delivered"):
            await bench.perform(retrying(bench, claimed))
        for refused in (
            retrying(bench, claimed, project_id="other"),
            retrying(bench, claimed._replace(id="x")),
        ):
            with pytest.raises(NotFound):
                await bench.perform(refused)
        with pytest.raises(NotFound):
            await bench.store.read(GetDelivery("other", claimed.id))
        assert (await bench.store.read(GetDelivery(PROJECT, claimed.id))).status == "delivered"


async def test_what_happened_stands_in_the_facts(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await bench.open("k", notify_url=URL)
        (claimed,) = await claim(bench)
        await finish(bench, (claimed, Outcome(410)))
        await bench.perform(retrying(bench, claimed))
        (claimed,) = await claim(bench)
        await finish(bench, (claimed, OK))
        facts = [
            each for commit in bench.commits for each in commit.facts if each.kind.startswith("delivery")
        ]
        assert [(each.kind, each.subject_id, each.actor) for each in facts] == [
            ("delivery.failed", claimed.id, "engine"),
            ("delivery.retried", claimed.id, "dev"),
            ("delivery.made", claimed.id, "engine"),
        ]
        assert facts[2].detail == f'{{"trigger_id":"{claimed.trigger_id}","attempts":2,"last_status":200}}'


async def test_lists_by_status_and_trigger_in_pages(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        triggers = [await bench.open(f"k{number}", notify_url=URL) for number in range(7)]
        claimed = await claim(bench)
        await finish(bench, *((each, OK) for each in claimed[:3]))
        await bench.send("k6", "1")
        everything = await listed(bench)
        assert [each.id for each in everything] == sorted((each.id for each in everything), reverse=True)
        assert len(everything) == 8
        assert {each.id for each in await listed(bench, status="delivered")} == {
            each.id for each in claimed[:3]
        }
        mine = await listed(bench, trigger_id=triggers[6].id)
        assert [each.kind for each in mine] == ["trigger.settled", "trigger.opened"]
        assert len(await listed(bench, trigger_id=triggers[0].id, status="delivered")) == 1
        assert await listed(bench, trigger_id=triggers[6].id, status="delivered") == []
        cursor, walked = None, []
        while True:
            page = await bench.store.read(
                ListDeliveries(project_id=PROJECT, status="pending", limit=2, cursor=cursor)
            )
            walked += page.items
            cursor = page.next_cursor
            if not page.has_more:
                break
        assert walked == [each for each in everything if each.status == "pending"]
        with pytest.raises(InvalidRequest):
            await bench.store.read(ListDeliveries(project_id=PROJECT, cursor="yesterday"))
        page = await bench.store.read(ListDeliveries(project_id="other"))
        assert page.items == ()


async def test_due_times_are_paged_in_their_order(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        for number in range(9):
            await bench.open(f"k{number}", notify_url=f"{URL}/{number}")
        after, seen = (0, "", ""), []
        while rows := await bench.store.read(DueDeliveries(after=after, until=1 << 60, limit=2)):
            seen += rows
            after = rows[-1][:3]
        assert [row.url for row in seen] == [f"{URL}/{number}" for number in range(9)]
        assert (
            await bench.store.read(DueDeliveries(after=(0, "", ""), until=seen[4].due_at, limit=99))
            == seen[:5]
        )


def test_every_look_goes_along_an_index(tmp_path: Path) -> None:
    reads = Reads(tmp_path / "narrows.db")
    assert any("deliveries_due" in line for line in reads.plan("due_deliveries"))
    assert any("deliveries_trigger" in line for line in reads.plan("list_deliveries_of_trigger"))
    for statement in ("due_deliveries", "list_deliveries_page", "list_deliveries_floor"):
        assert not any("B-TREE" in line or "SCAN" in line for line in reads.plan(statement))


async def test_the_parcel_of_an_opening_is_the_same_whatever_comes_after(backend: SqliteBackend) -> None:
    large = f'"{"x" * 5_000}"'
    async with opened(backend) as bench:
        trigger = await bench.open(
            "k",
            60,
            notify_url=URL,
            request_payload=large,
            expected_schema='{"type":"null"}',
            tags='{"a":"b"}',
        )
        (made,) = await claim(bench)
        before = await bench.store.read(LoadParcel(made))
        assert before.trigger.request_payload == large
        assert before.expected_schema == '{"type":"null"}'
        assert (before.trigger.status, before.trigger.timeout_secs) == ("waiting", 60)
        for timeout_secs in (600, 0, 30):
            bench.clock.advance(secs=5)
            await bench.perform(
                ExtendTrigger(**bench._common({}), trigger_id=trigger.id, timeout_secs=timeout_secs)
            )
        extended = await bench.store.read(LoadParcel(made))
        await bench.send("k", "null")
        after = await bench.store.read(LoadParcel(made))
        shown = [each.trigger._replace(version=0, last_fact_id=None) for each in (before, extended, after)]
        assert shown[0] == shown[1] == shown[2]
        settled = (await listed(bench))[0]
        parcel = await bench.store.read(LoadParcel(settled))
        assert (parcel.trigger.status, parcel.trigger.response_payload) == ("received", "null")
        assert parcel.trigger.notify_status is None, "it changes with the attempts"


async def test_a_parcel_carries_the_secrets_of_its_project_and_is_none_without_its_trigger(
    backend: SqliteBackend,
) -> None:
    async with opened(backend) as bench:
        await bench.open("k", notify_url=URL)
        (made,) = await claim(bench)
        assert (await bench.store.read(LoadParcel(made))).signing_secrets is None
        creating = CreateProject(
            actor=DEV, id=PROJECT, entropy=1, exist_ok=True, signing_secrets=first_secret("one")
        )
        await bench.perform(creating)
        await bench.perform(creating)
        assert (await bench.store.read(LoadParcel(made))).signing_secrets == '[["one",null]]'
        rotated = await bench.perform(
            RotateProjectSecret(**bench._common({}), encrypted="two", overlap_secs=60)
        )
        until = bench.clock.now() + 60_000_000
        assert rotated.signing_secrets == f'[["two",null],["one",{until}]]'
        assert (await bench.store.read(LoadParcel(made))).signing_secrets == rotated.signing_secrets
        assert await bench.store.read(LoadParcel(made._replace(trigger_id="gone"))) is None


async def test_only_a_project_that_is_there_rotates(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        with pytest.raises(NotFound):
            await bench.perform(
                RotateProjectSecret(**bench._common({"project_id": "absent"}), encrypted="x", overlap_secs=0)
            )
