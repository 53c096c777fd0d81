"""Purge takes what a run still needs to resume. Here a trigger goes only when its root has ended, also if
it was found by purge before; and a payload stays as long as anybody names it."""

from __future__ import annotations

from narrows.core.records import Root, Trigger
from narrows.operations.base import DEV
from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import DeleteTriggers, Purge
from narrows.operations.reads import WaitGroupsOf
from narrows.operations.retention import PruneTriggers
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.records import SaveRecords
from tests.workflows.kit import Workflows, wait

LARGE = '"' + "x" * 2_000 + '"'


async def _goes(bench: Bench, trigger: Trigger) -> int:
    """What purge, retention, and whoever has found it before take of a settled wait, long after."""
    bench.clock.advance(secs=90 * 86_400)
    groups = await bench.store.read(WaitGroupsOf(((PROJECT, trigger.id),)))
    found = DeleteTriggers(
        ids=((PROJECT, trigger.id),), settled_before=bench.clock.now(), entropy=1, wait_groups=groups
    )
    deleted: int = (await bench.service.purge(Purge(DEV, PROJECT, 0, False, 1))).deleted
    deleted += await bench.prune(PruneTriggers(bench.clock.now(), 10, 1))
    return deleted + int(await bench.perform(found))


async def test_a_settled_wait_of_a_live_root_stays(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.perform(SaveRecords(records=(Root(PROJECT, "root", "run", 1, None, 0),)))
        trigger = await bench.perform(SaveRecords.wait("a", 0, root_id="root"))
        await bench.send("a", LARGE)
        assert await _goes(bench, trigger) == 0
        assert (await bench.get("a")).response_payload == LARGE


async def test_a_settled_wait_of_a_live_workflow_run_stays(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.begin(wait("a"), wait("b", "a", timeout_secs=0))
        await bench.send("a", LARGE)
        assert await _goes(bench, await bench.get("a")) == 0
        assert (await bench.get("a")).response_payload == LARGE
        await bench.send("b")
        assert await _goes(bench, await bench.get("a")) == 2


async def test_a_shared_payload_outlives_the_first_of_its_triggers(backend: Backend) -> None:
    async with opened(backend) as bench:
        for key in ("p:1", "p:2", "p:3"):
            await bench.open(key, 0)
        await bench.service.send_prefix(SendPrefix(DEV, PROJECT, "p:", LARGE, bench.entropy()))
        bench.clock.advance(secs=1)
        for left in (2, 1):
            assert await bench.prune(PruneTriggers(bench.clock.now(), 1, 1)) == 1
            assert [t.response_payload for t in await bench.listed()] == [LARGE] * left


async def test_a_waiting_trigger_never_goes(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 0)
        bench.clock.advance(secs=365 * 86_400)
        found = DeleteTriggers(ids=((PROJECT, trigger.id),), settled_before=bench.clock.now(), entropy=1)
        assert await bench.perform(found) == 0
        assert (await bench.service.purge(Purge(DEV, PROJECT, 0, False, 1))).deleted == 0
        assert (await bench.get("a")).id == trigger.id
