"""A store with something of everything in it and nothing wrong, and how all of it comes to its end."""

from __future__ import annotations

import contextlib

from narrows.core.deliveries import Outcome
from narrows.core.states import ENDED
from narrows.errors import NotFound
from narrows.operations.access import CreateStreamToken
from narrows.operations.base import DEV
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries
from narrows.operations.events import RecordUnmatched
from narrows.operations.prefix import SendPrefix
from narrows.operations.reads import ListRuns
from narrows.operations.reads.deliveries import ListDeliveries
from narrows.operations.run_plane import SaveCheckpoint
from tests.storage.kit import PROJECT, Bench
from tests.storage.runs import SECOND, Runs

LARGE = '"' + "x" * 3_000 + '"'


async def fill(bench: Bench) -> None:
    """Every table of what a project has gets a row."""
    await _fill_waits(bench)
    await _fill_runs(Runs(bench))


async def _fill_waits(bench: Bench) -> None:
    await bench.open("twice", request_payload=LARGE)
    await bench.send("twice", LARGE)
    await bench.open("twice", notify_url="https://example.com/hook")
    await bench.open("tagged", tags='{"a":"b"}', expected_schema='{"type":"null"}')
    stream = CreateStreamToken(
        actor=DEV, project_id=PROJECT, entropy=bench.entropy(), token_hash="hash", event_key="tagged"
    )
    await bench.perform(stream)
    await bench.send("held", "1", hold_secs=60, event_id="once")
    await bench.open("held")
    await bench.send("early", LARGE, hold_secs=60)
    await bench.open("prefix:1", callback_token_hash="callback")
    sending = SendPrefix(DEV, PROJECT, "prefix:", LARGE, 1, scope_hash="scope", body_hash="body")
    await bench.service.send_prefix(sending)
    await bench.perform(bench.canceling((await bench.open("canceled")).event_key))
    late = await bench.open("late", 1)
    bench.clock.advance(secs=2)
    await bench.perform(bench.expiring(late))
    with contextlib.suppress(NotFound):
        await bench.send("nobody", "1")
    await bench.perform(RecordUnmatched(events=tuple(bench.sink.events)))


async def _fill_runs(runs: Runs) -> None:
    """Runs in all states of their lives; one of them waits for `wait:1` or `wait:2`."""
    bench = runs.bench
    await runs.create()
    done = await runs.dispatch(payload=LARGE)
    await bench.perform(SaveCheckpoint(**runs.of_dispatch(done), state=LARGE))
    await runs.wait(done, "done")
    await bench.send("done", "1")
    (again,) = await runs.claim()
    await runs.complete(again, LARGE)
    await runs.wait(await runs.dispatch(), "wait:1", "wait:2")
    await runs.dispatch()
    await runs.trigger()
    await runs.trigger(scheduled_at=bench.clock.now() + 3_600 * SECOND)
    await runs.create("gone")
    await runs.trigger("gone")
    await bench.perform(runs.deleting("gone", cancel_runs=True))


async def end(bench: Bench) -> None:
    """Nothing lives any more: every wait is settled, every run has ended, every webhook was called."""
    runs = Runs(bench)
    for run in (await bench.store.read(ListRuns(project_id=PROJECT))).items:
        if run.status not in ENDED:
            await bench.perform(runs.canceling(run))
    for trigger in await bench.listed():
        if trigger.status == "waiting":
            await bench.perform(bench.canceling(trigger_id=trigger.id))
    bench.clock.advance(secs=1)
    keys = tuple(
        (PROJECT, each.id) for each in (await bench.store.read(ListDeliveries(project_id=PROJECT))).items
    )
    claimed = await bench.perform(ClaimDeliveries(ids=keys, lease_us=SECOND, entropy=bench.entropy()))
    ended = tuple((each, Outcome(200)) for each in claimed)
    await bench.perform(FinishDeliveries(ended=ended, entropy=bench.entropy()))
