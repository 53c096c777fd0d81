"""Requests of many commits, a prefix send and a purge: bounded replies, retries that go on and answer
the total, and never "not done" of what was done in part."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.errors import Conflict, OutcomeUnknown, Unauthenticated, Unavailable
from narrows.operations import many_commits
from narrows.operations.access import CreateApiKey, RevokeApiKey
from narrows.operations.base import DEV, Actor
from narrows.operations.idempotency import Idempotent, KeepReply, Kept
from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import Purge
from tests.storage.kit import PROJECT, Backend, Bench, opened

DAY_SECS = 86_400


def _purge(bench: Bench, **fields: Any) -> Purge:
    return Purge(DEV, PROJECT, 1, fields.pop("dry_run", False), bench.entropy(), **fields)


def _prefix(bench: Bench, payload: str = "1", **fields: Any) -> SendPrefix:
    return SendPrefix(DEV, PROJECT, "b:", payload, bench.entropy(), **fields)


def _api_key(bench: Bench, key_id: str) -> CreateApiKey:
    return CreateApiKey(
        actor=DEV,
        id=key_id,
        project_id=None,
        name=None,
        scopes=("*",),
        secret_hash=key_id,
        entropy=bench.entropy(),
    )


async def _old(bench: Bench, count: int) -> None:
    for number in range(count):
        await bench.open(f"b:{number}")
        await bench.send(f"b:{number}")
    bench.clock.advance(secs=2 * DAY_SECS)


async def test_the_list_of_a_prefix_send_ends_at_the_size_of_a_page(backend: Backend) -> None:
    async with opened(backend) as bench:
        for number in range(12):
            await bench.open(f"b:{number}")
        outcome = await bench.service.send_prefix(_prefix(bench, '"' + "x" * (1 << 20) + '"'))
        assert outcome.resolved == 12
        assert 1 < len(outcome.triggers) < 9
        assert outcome.truncated
        assert outcome.triggers[0].event_key == "b:0"


async def test_a_dry_run_does_not_count_what_is_overdue(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("b:1", 10)
        await bench.open("b:2", 100)
        bench.clock.advance(secs=11)
        assert (await bench.service.send_prefix(_prefix(bench, dry_run=True))).resolved == 1


async def test_a_purge_with_a_key_goes_on_and_answers_the_total(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_commits, "PURGE_CHUNK", 2)
    async with opened(backend) as bench:
        await _old(bench, 5)
        request = _purge(bench, scope_hash="scope", body_hash="body")
        commits = 0

        def cut(step: str) -> None:
            nonlocal commits
            commits += step == "loaded"
            if step == "loaded" and commits > 1:
                raise RuntimeError("cut off")

        bench.store.writer.failpoint = cut
        with pytest.raises(Exception, match="failed"):
            await bench.service.purge(request)
        bench.store.writer.failpoint = lambda step: None
        assert len(await bench.listed()) == 3
        outcome = await bench.service.purge(request)
        assert (outcome.deleted, outcome.replayed) == (5, False)
        again = await bench.service.purge(request)
        assert (again.deleted, again.replayed) == (5, True)
        with pytest.raises(Conflict, match="another body"):
            await bench.service.purge(request._replace(body_hash="other"))


async def test_a_purge_of_nothing_is_kept_too(backend: Backend) -> None:
    async with opened(backend) as bench:
        request = _purge(bench, scope_hash="scope", body_hash="body")
        assert (await bench.service.purge(request)).deleted == 0
        await _old(bench, 1)
        assert (await bench.service.purge(_purge(bench, dry_run=True))).would_delete == 1


async def test_what_was_done_in_part_is_never_called_not_done(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_commits, "CHUNK", 2)
    async with opened(backend) as bench:
        for number in range(4):
            await bench.open(f"b:{number}")
        decide, calls = bench.service.decide, 0

        async def refuse_the_second(operation: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Unavailable("The disk is full.", retry_after_secs=1)
            return await decide(operation)

        monkeypatch.setattr(bench.service, "decide", refuse_the_second)
        with pytest.raises(OutcomeUnknown, match="2 triggers were done"):
            await bench.service.send_prefix(_prefix(bench))


async def test_a_key_revoked_in_the_midst_of_a_prefix_send_hides_nothing_that_was_done(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_commits, "CHUNK", 2)
    async with opened(backend) as bench:
        for number in range(4):
            await bench.open(f"b:{number}")
        made = await bench.perform(_api_key(bench, "mid"))
        decide, calls = bench.service.decide, 0

        async def revoke_before_the_second(operation: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                await decide(RevokeApiKey(actor=DEV, project_id=None, api_key_id=made.id, entropy=1))
            return await decide(operation)

        monkeypatch.setattr(bench.service, "decide", revoke_before_the_second)
        request = _prefix(bench)._replace(actor=Actor("key:mid", "mid"))
        with pytest.raises(OutcomeUnknown, match=r"2 triggers were done, the rest was not: .* revoked"):
            await bench.service.send_prefix(request)
        assert (await bench.stats()).received == 2, "what the answer counts is what was committed"
        with pytest.raises(Unauthenticated):
            await bench.service.send_prefix(request)


async def test_a_repeat_needs_a_credential_that_still_holds(backend: Backend) -> None:
    async with opened(backend) as bench:

        def once(actor: Actor) -> Idempotent:
            return Idempotent(
                operation=KeepReply(actor=actor, project_id=PROJECT, entropy=1, reply="{}"),
                project_id=PROJECT,
                scope_hash="scope",
                body_hash="body",
                keep=lambda reply: Kept(status=200, reply=reply),
            )

        assert await bench.perform(once(DEV)) == "{}"
        with pytest.raises(Unauthenticated):
            await bench.perform(once(Actor("key:gone", "gone")))


async def test_a_key_that_holds_is_found_behind_many_that_do_not(backend: Backend) -> None:
    async with opened(backend) as bench:
        assert not await bench.service.has_api_keys()
        for number in range(103):
            made = await bench.perform(_api_key(bench, f"k{number:03}"))
            if number:
                revoke = RevokeApiKey(actor=DEV, project_id=None, api_key_id=made.id, entropy=1)
                await bench.perform(revoke)
        assert await bench.service.has_api_keys()
