"""Jobs: made, changed, deleted, with and without live runs; and the message that cancels what a deleted
one had, consumed exactly once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from narrows.core.states import RunStatus
from narrows.engine import consume
from narrows.engine.consume import ConsumeMessagesRole
from narrows.errors import Conflict, InvalidRequest, NotFound
from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, ClaimRuns
from narrows.operations.jobs import RotateJobSecret
from narrows.operations.messages import CancelRunsOfJob
from narrows.operations.reads import (
    CountRuns,
    GetJob,
    ListJobs,
    ListRuns,
    LiveRunsOfJob,
    PendingMessages,
    due_runs,
)
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.runs import Runs

HOUR_US = 3_600_000_000


async def _consume(bench: Bench) -> int:
    """Let the role work to the end; answers its commits."""
    role = ConsumeMessagesRole(bench.service)
    before = len(bench.commits)
    for _ in range(100):
        if await role.round() is None:
            return len(bench.commits) - before
    raise AssertionError("the role does not come to an end")


async def _statuses(bench: Bench) -> list[str]:
    page = await bench.store.read(ListRuns(project_id=PROJECT, limit=100))
    return [run.status for run in reversed(page.items)]


# ---- making and changing ---------------------------------------------------------------------


async def test_a_job_has_what_it_was_made_with(backend: Backend) -> None:
    async with opened(backend) as bench:
        job = await Runs(bench).create(
            "nightly.build-1",
            name="Nightly",
            endpoint_url="https://example.com/hook",
            timeout_secs=60,
            max_attempts=5,
            max_concurrency=2,
            tags='{"team":"red"}',
        )
        assert (job.version, job.deleted_at, job.created_at) == (1, None, job.updated_at)
        assert await bench.store.read(GetJob(PROJECT, "nightly.build-1")) == job
        assert await bench.store.read(GetJob(PROJECT, job.id)) == job
        assert bench.commits[-1].jobs == (job,)


async def test_a_slug_is_taken_once_in_its_project_also_in_one_commit(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        first, second = await bench.together(runs.creating(), runs.creating())
        assert isinstance(second, Conflict)
        assert first.id in second.message
        await bench.project("other")
        await Runs(bench, "other").create()
        with pytest.raises(NotFound):
            await Runs(bench, "nowhere").create()


@pytest.mark.parametrize(
    "fields",
    [
        {"slug": "Upper"},
        {"slug": "-dash"},
        {"slug": "a b"},
        {"slug": "a" * 101},
        {"slug": "01234567-89ab-7def-8123-456789abcdef"},
        {"name": "n" * 201},
        {"endpoint_url": "ftp://example.com"},
        {"timeout_secs": 0},
        {"timeout_secs": True},
        {"max_attempts": 101},
        {"max_concurrency": 0},
    ],
    ids=str,
)
async def test_a_field_beyond_its_bounds_is_refused(backend: Backend, fields: dict[str, Any]) -> None:
    async with opened(backend) as bench:
        (field,) = fields
        runs = Runs(bench)
        with pytest.raises(InvalidRequest, match=field):
            await runs.create(**fields)
        await runs.create("fine")
        with pytest.raises(InvalidRequest, match=field):
            await bench.perform(runs.updating("fine", **fields))


async def test_a_change_touches_what_it_names_and_counts_a_version(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        job = await runs.create(name="old", max_concurrency=3)
        bench.clock.advance(secs=1)
        changed = await bench.perform(runs.updating("build", name="new", max_concurrency=None))
        assert changed == job._replace(
            name="new", max_concurrency=None, version=2, updated_at=changed.updated_at
        )
        assert changed.updated_at > job.updated_at
        assert await bench.perform(runs.updating(job.id, name="new")) == changed
        for changes in ({"slug": None}, {"timeout_secs": None}, {"id": "x"}, {"signing_secrets": "[]"}):
            with pytest.raises(InvalidRequest):
                await bench.perform(runs.updating("build", **changes))


async def test_a_job_takes_a_free_slug_and_no_other(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create("one")
        two = await runs.create("two")
        with pytest.raises(Conflict, match=two.id):
            await bench.perform(runs.updating("one", slug="two"))
        renamed, taken = await bench.together(runs.updating("one", slug="three"), runs.creating("one"))
        assert (renamed.slug, taken.slug) == ("three", "one")
        with pytest.raises(NotFound):
            await bench.perform(runs.updating("four", name="x"))


async def test_runs_keep_the_limits_they_were_made_with(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create(timeout_secs=60)
        before = await runs.trigger()
        await bench.perform(runs.updating("build", timeout_secs=90, max_attempts=1))
        after = await runs.trigger()
        assert (before.timeout_secs, before.max_attempts) == (60, 3)
        assert (after.timeout_secs, after.max_attempts) == (90, 1)


async def test_a_new_secret_signs_beside_the_old_for_its_overlap(backend: Backend) -> None:
    async with opened(backend) as bench:
        job = await Runs(bench).create()
        rotated = await bench.perform(
            RotateJobSecret(
                actor=DEV,
                project_id=PROJECT,
                entropy=bench.entropy(),
                job="build",
                encrypted="new",
                overlap_secs=60,
            )
        )
        (new, old) = json.loads(rotated.signing_secrets)
        assert new == ["new", None]
        assert old == ["secret", rotated.updated_at + 60_000_000]
        assert rotated.version == job.version + 1
        assert await bench.store.read(GetJob(PROJECT, job.id)) == rotated


# ---- deleting --------------------------------------------------------------------------------


async def test_a_deleted_job_keeps_its_row_and_gives_up_its_slug(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        job = await runs.create()
        ended = await runs.dispatch()
        await runs.complete(ended)
        deleted, again = await bench.together(runs.deleting("build"), runs.creating("build"))
        assert deleted.deleted_at is not None
        assert again.id != job.id
        assert await bench.store.read(GetJob(PROJECT, job.id, even_deleted=True)) == deleted
        assert (await bench.store.read(ListJobs(PROJECT))).items == (again,)
        assert await bench.store.read(PendingMessages(10)) == ()
        for operation in (
            runs.deleting(job.id),
            runs.updating(job.id, name="x"),
            runs.triggering(job.id),
        ):
            with pytest.raises(NotFound):
                await bench.perform(operation)


@pytest.mark.parametrize("by", ["slug", "id"])
async def test_a_job_with_live_runs_is_not_deleted_unless_they_go_too(backend: Backend, by: str) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        job = await runs.create()
        await runs.create("bystander")
        await runs.trigger("bystander")
        await runs.trigger()
        name = job.slug if by == "slug" else job.id
        with pytest.raises(Conflict, match="1 live run"):
            await bench.perform(runs.deleting(name))
        # The run that the same commit starts counts as well.
        _, refused = await bench.together(runs.triggering(), runs.deleting(name))
        assert isinstance(refused, Conflict)
        assert "2 live runs" in refused.message
        await bench.perform(runs.deleting(name, cancel_runs=True))
        await _consume(bench)
        assert await _statuses(bench) == ["queued", "canceled", "canceled"]


async def test_a_job_that_is_renamed_in_the_same_commit_is_not_deleted_over_its_live_runs(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        await runs.trigger()
        renaming = runs.updating("build", slug="made")
        renamed, refused = await bench.together(renaming, runs.deleting("made"))
        assert renamed.slug == "made"
        assert isinstance(refused, Conflict)
        renaming = runs.updating("made", slug="again")
        await bench.together(renaming, runs.deleting("again", cancel_runs=True))
        await _consume(bench)
        assert await _statuses(bench) == ["canceled"]


async def test_a_limit_holds_for_claims_of_its_very_commit(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        job = await runs.create()
        await runs.dispatch()
        await runs.trigger()
        claim = Claim(PROJECT, (job.id,), 10, "worker:w", 60_000_000, DEV)
        limiting = runs.updating("build", max_concurrency=1)
        _, claimed = await bench.together(limiting, ClaimRuns(claims=(claim,), entropy=1))
        assert claimed == ((),)


async def test_a_deleted_jobs_runs_are_canceled_whatever_they_do(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        waiting, sleeping = await runs.dispatch(), await runs.dispatch()
        await runs.wait(waiting, "a", "b", mode="all")
        await runs.sleep(sleeping, 60)
        completed, executing = await runs.dispatch(), await runs.dispatch()
        await runs.complete(completed)
        await runs.trigger()
        await runs.trigger(scheduled_at=bench.clock.now() + HOUR_US)
        await bench.perform(runs.deleting("build", cancel_runs=True))
        (message,) = bench.commits[-1].messages
        assert ConsumeMessagesRole(bench.service).wakes(bench.commits[-1]) is not None
        await _consume(bench)
        assert await _statuses(bench) == ["canceled", "canceled", "completed", *["canceled"] * 3]
        assert await bench.store.read(PendingMessages(10)) == ()
        assert await bench.rows("messages_by_id", (PROJECT, message.id)) == []
        assert {trigger.status for trigger in await bench.listed()} == {"canceled"}
        assert (await runs.get(executing)).error == "its job was deleted"
        assert (await bench.store.read(CountRuns()))[RunStatus.CANCELED] == 5


async def test_many_runs_go_in_bounded_commits(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "CHUNK", 4)
    monkeypatch.setattr(due_runs, "LOOK", 6)
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        await runs.create("other")
        await bench.together(*(runs.triggering("other") for _ in range(20)))
        await bench.together(*(runs.triggering() for _ in range(11)))
        await bench.perform(runs.deleting("build", cancel_runs=True))
        # Looks that find nothing cost no commit, and the message goes with the last run.
        assert await _consume(bench) <= 5
        assert all(len(commit.runs) <= 4 for commit in bench.commits[-4:])
        assert await _statuses(bench) == ["queued"] * 20 + ["canceled"] * 11


async def test_a_repeated_step_of_a_message_does_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        await bench.together(*(runs.triggering() for _ in range(3)))
        await bench.perform(runs.deleting("build", cancel_runs=True))
        (message,) = await bench.store.read(PendingMessages(10))
        ids, _ = await bench.store.read(LiveRunsOfJob(PROJECT, message.subject_id, "", message.id, 2))
        step = CancelRunsOfJob(message=message, run_ids=ids, cursor=ids[-1], entropy=bench.entropy())
        assert await bench.perform(step) == 2
        assert await bench.perform(step) == 0
        (moved,) = await bench.store.read(PendingMessages(10))
        assert moved.cursor == ids[-1]
    # After a crash another process goes on from there.
    async with opened(backend, bench.clock) as bench:
        await _consume(bench)
        assert await _statuses(bench) == ["canceled"] * 3
        assert await bench.perform(step) == 0
