"""A store with something of everything in it and nothing wrong, and how all of it comes to its end."""

from __future__ import annotations

import contextlib
import json
from typing import Final

from narrows.core.deliveries import Outcome
from narrows.core.states import ENDED, WORKFLOW_RUN_ENDED
from narrows.core.workflow_records import Workflow
from narrows.errors import NotFound
from narrows.operations.access import CreateStreamToken
from narrows.operations.base import DEV
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries
from narrows.operations.events import RecordUnmatched
from narrows.operations.prefix import SendPrefix
from narrows.operations.reads import ListRuns
from narrows.operations.reads.deliveries import ListDeliveries
from narrows.operations.run_plane import SaveCheckpoint
from narrows.operations.workflows import UpdateWorkflow
from tests.storage.kit import PROJECT, Bench
from tests.storage.runs import SECOND, Runs
from tests.workflows.kit import Workflows, step, wait

LARGE = '"' + "x" * 3_000 + '"'


async def fill(bench: Bench) -> None:
    """Every table of what a project has gets a row."""
    await _fill_waits(bench)
    await _fill_workflows(Workflows(bench))
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


#: Steps of all kinds; `again` is tried a second time.
_FLOW: Final = (
    wait("early", key="{{key}}:early", event_emit_key="{{key}}:emitted"),
    step("work"),
    step("again", retry_max_attempts=2),
    step("any", type="wait_for_any", event_keys=["{{key}}:1", "{{key}}:2"]),
    step("ask", type="approval"),
    step("nap", type="sleep", sleep_duration="30m"),
    step("sub", type="sub_workflow", workflow_slug="child", payload={"large": "{{large}}"}),
    step("last", "any"),
)


async def _fill_workflows(workflows: Workflows) -> None:
    """A workflow run that has completed, one that was canceled and one that goes on from there, one with a step
    in each state, and one that is paused. Messages are left."""
    bench = workflows.bench
    await workflows.job(max_attempts=1)
    await workflows.define(step("ask", type="approval"), slug="child")
    await workflows.begin(step("nap", type="sleep", sleep_duration="1s"), slug="w")
    await workflows.after(2)
    await _update(workflows, await workflows.define(*_FLOW, slug="flow"))
    gone = await workflows.start({"key": "gone", "large": LARGE}, "flow")
    await bench.send("gone:early", LARGE)
    await workflows.messages()
    await workflows.cancel(gone)
    await workflows.messages()
    living = await workflows.start({"key": "living", "large": LARGE}, "flow")
    await workflows.messages()
    await workflows.decide(living, "ask", True)
    done, failed = await workflows.claim()
    await bench.service.perform(workflows.finishing(done, LARGE))
    await bench.service.perform(workflows.finishing(failed, error="broken"))
    await workflows.again(gone)
    paused = await workflows.start({"key": "paused", "large": LARGE}, "flow")
    await workflows.pause(paused)
    await bench.send("paused:early", LARGE)


async def _update(workflows: Workflows, workflow: Workflow) -> None:
    """The same steps as a second version."""
    bench = workflows.bench
    text = json.dumps({"slug": workflow.slug, "name": "Flow", "steps": _FLOW})
    definition = (await bench.service.check_definition(text)).definition
    assert definition is not None
    update = UpdateWorkflow(
        actor=DEV,
        project_id=PROJECT,
        entropy=bench.entropy(),
        workflow=workflow.id,
        base_version=1,
        text=text,
        definition=definition,
    )
    await bench.perform(update)


async def end(bench: Bench) -> None:
    """Nothing lives any more: every wait is settled, every run has ended, every webhook was called."""
    runs, workflows = Runs(bench), Workflows(bench)
    for each in await workflows.listed():
        if each.status not in WORKFLOW_RUN_ENDED:
            await workflows.cancel(each.id)
    await workflows.messages()
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
