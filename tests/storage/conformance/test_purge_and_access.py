"""Purge and retention, idempotency keys, credentials and stream tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.records import ApiKey, Root
from narrows.core.states import FactKind
from narrows.errors import (
    Conflict,
    Forbidden,
    InternalError,
    InvalidRequest,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from narrows.operations.access import (
    STREAM_TOKEN_LIFE_SECS,
    STREAM_TOKEN_OPEN_SECS,
    CreateApiKey,
    CreateStreamToken,
    OpenStreamToken,
    RevokeApiKey,
    RotateApiKey,
)
from narrows.operations.base import DEV, Actor, Replayed
from narrows.operations.idempotency import KEPT_US, Idempotent, Kept
from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import DeleteRows, Purge
from narrows.operations.retention import PruneRows, PruneTriggers
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.records import SaveRecords

DAY_SECS = 86_400
LARGE = '"' + "x" * 2_000 + '"'


def _purge(bench: Bench, days: int = 1, *, dry_run: bool = False) -> Purge:
    return Purge(DEV, PROJECT, days, dry_run, bench.entropy())


async def test_purge_takes_what_was_settled_long_ago_and_all_that_is_its_alone(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        old = await bench.open(
            "old", 0, request_payload=LARGE, tags='{"t":"1"}', expected_schema="{}", callback_token_hash="c"
        )
        await bench.send("old", LARGE)
        await bench.open("there", 0, project_id="other")
        await bench.send("there", "1", project_id="other")
        waiting = await bench.open("waiting", 0)
        bench.clock.advance(secs=DAY_SECS + 1)
        await bench.open("young", 0)
        await bench.send("young", "1")
        assert (await bench.service.purge(_purge(bench, dry_run=True))).would_delete == 1
        assert (await bench.service.purge(_purge(bench))).deleted == 1
        assert sorted(trigger.event_key for trigger in await bench.listed()) == ["waiting", "young"]
        assert len(await bench.listed("other")) == 1
        assert await bench.rows("callback_urls_by_hash", ("c",)) == []
        stored = await bench.get_by_id(waiting.id)
        assert stored == waiting
        for payload_id in (old.request_payload_id, old.expected_schema_id):
            assert await bench.rows("payloads_by_id", (PROJECT, payload_id or "")) == []
        assert [f.kind for f in bench.commits[-1].facts] == [FactKind.TRIGGERS_PURGED]


async def test_purge_leaves_what_a_live_root_still_needs(backend: Backend) -> None:
    async with opened(backend) as bench:
        for name, ended_at in (("live", None), ("ended", 1)):
            await bench.perform(SaveRecords(records=(Root(PROJECT, name, "run", 1, ended_at, 0),)))
            await bench.perform(SaveRecords.wait(name, 0, root_id=name))
            await bench.send(name, "1")
        bench.clock.advance(secs=2 * DAY_SECS)
        assert (await bench.service.purge(_purge(bench, dry_run=True))).would_delete == 1
        assert (await bench.service.purge(_purge(bench))).deleted == 1
        assert [trigger.event_key for trigger in await bench.listed()] == ["live"]
        prune = PruneTriggers(bench.clock.now(), 100, bench.entropy())
        assert await bench.prune(prune) == 0


async def test_retention_takes_settled_triggers_of_all_projects(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        for project_id in (PROJECT, "other"):
            await bench.open("a", 0, project_id=project_id)
            await bench.send("a", "1", project_id=project_id)
            await bench.open("b", 0, project_id=project_id)
        bench.clock.advance(secs=DAY_SECS)
        assert await bench.prune(PruneTriggers(bench.clock.now(), 1, bench.entropy())) == 1
        assert await bench.prune(PruneTriggers(bench.clock.now(), 9, bench.entropy())) == 1
        assert [trigger.event_key for trigger in await bench.listed()] == ["b"]


async def test_a_purged_payload_that_others_name_stays(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("p:1", 0)
        await bench.open("p:2", 0)
        await bench.service.send_prefix(SendPrefix(DEV, PROJECT, "p:", LARGE, bench.entropy()))
        bench.clock.advance(secs=1)
        prune = PruneTriggers(bench.clock.now(), 1, bench.entropy())
        assert await bench.prune(prune) == 1
        (left,) = await bench.listed()
        assert left.response_payload == LARGE
        assert await bench.prune(prune) == 1
        assert await bench.rows("payloads_by_id", (PROJECT, left.response_payload_id or "")) == []


async def test_retention_takes_old_facts_also_those_of_admin_keys(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.perform(_key(bench, "admin", None))
        await bench.open("a", 0)
        old = {(fact.project_id, fact.id) for commit in bench.commits for fact in commit.facts}
        assert {project_id for project_id, _ in old} == {"-", PROJECT}
        bench.clock.advance(secs=DAY_SECS)
        before = bench.clock.now()
        await bench.send("a", "1")
        assert await bench.prune(PruneRows("facts", before, 100)) == len(old)
        assert await bench.prune(PruneRows("facts", before, 100)) == 0


# ---- idempotency keys ------------------------------------------------------------------------


def _once(operation: Any, body: str = "body", scope: str = "scope", **kept: Any) -> Idempotent:
    def keep(outcome: Any) -> Kept:
        return Kept(outcome.status, outcome.trigger.id, **kept)

    return Idempotent(operation=operation, project_id=PROJECT, scope_hash=scope, body_hash=body, keep=keep)


async def test_a_request_with_an_idempotency_key_happens_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        first = await bench.perform(_once(bench.opening("a")))
        await bench.send("a", "1")
        again = await bench.perform(_once(bench.opening("a")))
        assert isinstance(again, Replayed)
        assert (again.record.status, again.record.trigger_id) == (201, first.trigger.id)
        assert len(await bench.listed()) == 1
        with pytest.raises(Conflict, match="another body"):
            await bench.perform(_once(bench.opening("a"), body="other"))


async def test_two_with_one_key_in_one_commit_happen_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        first, again = await bench.together(_once(bench.opening("a")), _once(bench.opening("a")))
        assert first.status == 201
        assert isinstance(again, Replayed)


async def test_a_refusal_is_not_kept(backend: Backend) -> None:
    async with opened(backend) as bench:
        send = _once(bench.sending("a", "1"))
        with pytest.raises(NotFound):
            await bench.perform(send)
        await bench.open("a")
        assert (await bench.perform(send)).status == 200


async def test_a_reply_with_a_secret_is_not_given_twice(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.perform(_once(bench.opening("a"), secret_id="url1"))
        with pytest.raises(Conflict, match="url1"):
            await bench.perform(_once(bench.opening("a"), secret_id="url1"))


async def test_after_its_day_a_key_is_free_and_retention_leaves_its_new_use_alone(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.perform(_once(bench.opening("a")))
        bench.clock.advance(us=KEPT_US, secs=1)
        before = bench.clock.now() - KEPT_US
        await bench.perform(_once(bench.opening("b"), body="other"))
        assert isinstance(await bench.perform(_once(bench.opening("b"), body="other")), Replayed)
        found_earlier = DeleteRows(table="idempotency_records", keys=(("scope",),), before=before)
        await bench.perform(found_earlier)
        assert isinstance(await bench.perform(_once(bench.opening("b"), body="other")), Replayed)
        bench.clock.advance(us=KEPT_US, secs=1)
        prune = PruneRows("idempotency_records", bench.clock.now() - KEPT_US, 10)
        assert await bench.prune(prune) == 1
        assert await bench.rows("idempotency_by_scope", ("scope",)) == []


# ---- credentials -----------------------------------------------------------------------------


def _key(bench: Bench, key_id: str, project_id: str | None = PROJECT, **fields: Any) -> CreateApiKey:
    fields = {"scopes": ("events:write",), "secret_hash": f"hash of {key_id}", **fields}
    return CreateApiKey(
        actor=DEV, entropy=bench.entropy(), id=key_id, project_id=project_id, name=None, **fields
    )


def _by(key_id: str) -> Actor:
    return Actor(f"key:{key_id}", key_id)


def _revoke(bench: Bench, key_id: str, project_id: str | None = PROJECT) -> RevokeApiKey:
    return RevokeApiKey(actor=DEV, entropy=bench.entropy(), project_id=project_id, api_key_id=key_id)


async def test_a_key_that_is_revoked_in_the_same_commit_does_nothing_more(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.perform(_key(bench, "k"))
        before, revoked, after = await bench.together(
            bench.opening("a", actor=_by("k")), _revoke(bench, "k"), bench.opening("b", actor=_by("k"))
        )
        assert before.trigger.opened_by == "key:k"
        assert isinstance(revoked, ApiKey)
        assert isinstance(after, Unauthenticated)
        assert [trigger.event_key for trigger in await bench.listed()] == ["a"]
        assert bench.commits[-1].api_keys == (revoked,)
        assert (await bench.perform(_revoke(bench, "k"))).revoked_at == revoked.revoked_at


async def test_a_key_works_until_it_expires(backend: Backend) -> None:
    async with opened(backend) as bench:
        expires_at = bench.clock.now() + 1_000_000
        await bench.perform(_key(bench, "k", expires_at=expires_at))
        await bench.open("a", actor=_by("k"))
        bench.clock.advance_to(expires_at)
        with pytest.raises(Unauthenticated, match="expired"):
            await bench.open("b", actor=_by("k"))
        with pytest.raises(InvalidRequest):
            await bench.perform(_key(bench, "k2", expires_at=expires_at))
        with pytest.raises(Unauthenticated):
            await bench.open("b", actor=_by("unknown"))


@pytest.mark.parametrize("overlap_secs", [0, 60])
async def test_a_rotated_key_goes_on_for_its_overlap(backend: Backend, overlap_secs: int) -> None:
    async with opened(backend) as bench:
        await bench.perform(_key(bench, "k"))
        rotate = RotateApiKey(
            actor=DEV,
            entropy=bench.entropy(),
            project_id=PROJECT,
            api_key_id="k",
            new_id="k2",
            new_secret_hash="hash of k2",
            overlap_secs=overlap_secs,
        )
        new = await bench.perform(rotate)
        assert (new.id, new.scopes, new.project_id) == ("k2", '["events:write"]', PROJECT)
        await bench.open("new", actor=_by("k2"))
        if overlap_secs:
            await bench.open("old", actor=_by("k"))
            bench.clock.advance(secs=overlap_secs + 1)
        with pytest.raises(Unauthenticated):
            await bench.open("later", actor=_by("k"))
        with pytest.raises(Conflict):
            await bench.perform(rotate)


async def test_keys_of_another_project_are_not_found_and_scopes_do_not_grow(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        await bench.perform(_key(bench, "k", "other"))
        with pytest.raises(NotFound):
            await bench.perform(_revoke(bench, "k"))
        with pytest.raises(Forbidden, match="purge"):
            await bench.perform(_key(bench, "k2", scopes=("purge",), granted_scopes=("events:write",)))
        with pytest.raises(NotFound):
            await bench.perform(_key(bench, "k3", "nowhere"))
        await bench.perform(_revoke(bench, "k", None))


async def test_a_stream_token_opens_within_a_minute_and_then_for_an_hour(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.perform(_key(bench, "k"))
        trigger = await bench.open("a", 0)

        def make(token: str) -> CreateStreamToken:
            return CreateStreamToken(
                actor=_by("k"), project_id=PROJECT, entropy=bench.entropy(), token_hash=token, event_key="a"
            )

        def use(token: str) -> OpenStreamToken:
            return OpenStreamToken(token_hash=token, entropy=bench.entropy())

        assert (await bench.perform(make("t"))).trigger_id == trigger.id
        await bench.perform(make("unused"))
        assert (await bench.perform(use("t"))).opened_at is not None
        bench.clock.advance(secs=STREAM_TOKEN_OPEN_SECS + 1)
        assert (await bench.perform(use("t"))).trigger_id == trigger.id
        for token in ("unused", "unknown"):
            with pytest.raises(Unauthenticated):
                await bench.perform(use(token))
        revoked, refused = await bench.together(_revoke(bench, "k"), use("t"))
        assert isinstance(revoked, ApiKey)
        assert isinstance(refused, Unauthenticated)
        bench.clock.advance(secs=STREAM_TOKEN_LIFE_SECS)
        with pytest.raises(Unauthenticated):
            await bench.perform(use("t"))


async def test_projects_are_made_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        with pytest.raises(Conflict):
            await bench.project()
        first = await bench.project(exist_ok=True)
        assert first.id == PROJECT


# ---- the queue -------------------------------------------------------------------------------


async def test_a_full_queue_is_unavailable_and_nothing_of_it_is_done(backend: Backend) -> None:
    async with opened(backend, max_queue=2) as bench:
        bench.gate.shut()
        plug = asyncio.create_task(bench.project(exist_ok=True))
        await bench.gate.reached()
        queued = [asyncio.create_task(bench.open(key)) for key in "ab"]
        await asyncio.sleep(0)
        assert bench.store.queue_length == 2
        with pytest.raises(Unavailable) as refusal:
            await bench.open("c")
        assert refusal.value.retry_after_secs
        bench.gate.open()
        await asyncio.gather(plug, *queued)
        assert sorted(trigger.event_key for trigger in await bench.listed()) == ["a", "b"]


async def test_what_is_queued_at_the_close_is_still_done(backend: Backend) -> None:
    async with opened(backend) as bench:
        bench.gate.shut()
        plug = asyncio.create_task(bench.project(exist_ok=True))
        await bench.gate.reached()
        queued = asyncio.create_task(bench.open("a"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(bench.store.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await bench.perform(bench.opening("b"))
        bench.gate.open()
        await asyncio.gather(plug, closing)
        assert (await queued).event_key == "a"
        assert bench.commits[-1].triggers[0].event_key == "a"


async def test_statistics_equal_the_list_after_all_kinds_of_changes(backend: Backend) -> None:
    async with opened(backend) as bench:
        for number in range(12):
            await bench.open(f"k{number}", 60 if number % 2 else 0)
        bench.clock.advance(secs=10)
        await bench.together(*(bench.sending(f"k{number}", "1") for number in (0, 1, 2)))
        await bench.together(bench.canceling("k3"), bench.canceling("k3"), bench.sending("k4", "1"))
        bench.clock.advance(secs=51)
        await bench.perform(bench.expiring(*await bench.listed()))
        triggers, stats = await bench.listed(), await bench.stats()
        for status in ("waiting", "received", "timed_out", "canceled"):
            assert getattr(stats, status) == sum(trigger.status == status for trigger in triggers)
        waited = (trigger.received_at - trigger.requested_at for trigger in triggers if trigger.received_at)
        assert stats.wait_us == sum(waited)


async def test_stamps_rise_also_when_the_clock_steps_back_and_after_a_restart(backend: Backend) -> None:
    async with opened(backend) as bench:
        first = await bench.open("a")
        bench.clock.step_wall_back(secs=3_600)
        second = await bench.open("b")
        assert second.requested_at > first.requested_at
        assert second.id > first.id
        clock = bench.clock
    async with opened(backend, clock) as bench:
        third = await bench.open("c")
        assert third.requested_at > second.requested_at
        assert [trigger.event_key for trigger in await bench.listed()] == ["c", "b", "a"]
        settled = (await bench.send("a")).trigger
        assert (settled.received_at or 0) > settled.requested_at


async def test_an_id_that_is_there_already_fails_its_operation_alone_and_for_good(backend: Backend) -> None:
    """No race that the same again could win: who asks is not told to ask again."""
    async with opened(backend) as bench:
        make = [
            CreateApiKey(
                actor=DEV, entropy=bench.entropy(), id="twice", project_id=PROJECT, name=None,
                scopes=("*",), secret_hash=secret_hash,
            )
            for secret_hash in ("first", "second")
        ]  # fmt: skip
        await bench.perform(make[0])
        failed, opened_trigger = await bench.together(make[1], bench.opening("a", 0))
        assert type(failed) is InternalError
        assert opened_trigger.trigger.event_key == "a"
        assert (await bench.get("a")).status == "waiting"
