"""What is read: every question that there is, about what is there and what is not. Reads have SQL of their own,
of which a changed row says nothing."""

from __future__ import annotations

from typing import Any

from narrows.core.ids import first_id_at
from narrows.operations import reads
from narrows.operations.opening import tag_items
from narrows.operations.purge import PRUNABLE
from narrows.operations.reads.deliveries import DueDeliveries, GetDelivery, ListDeliveries, LoadParcel
from narrows.operations.reads.internal import FirstTriggers, GetIdempotencyRecord, LoadHeldPayload
from narrows.operations.reads.luggage import LuggageOf
from narrows.operations.reads.retention import OutputsOf, SurplusUnmatched
from narrows.operations.reads.workflow_runs import ShowWorkflowRuns
from narrows.operations.reads.workflows import MissingNames, Names
from tests.differential.asks_of_runs import KEYS_OF_RUNS, SLUGS
from tests.differential.asks_of_workflows import WORKFLOWS
from tests.differential.scene import DAY_US, KEYS, PREFIXES, SECOND_US, Scene
from tests.differential.steps import Read
from tests.simulation.run_values import STATUSES
from tests.simulation.workflow_comparing import COUNTED

LIMITS = (1, 2, 5, 100)
TAGS = (None, None, None, "team", "team:x", "über:a:b", "über", "none")
NEVER = 1 << 60


def some_key(scene: Scene) -> str:
    return scene.pick((*KEYS, *KEYS_OF_RUNS, "A", "a/12", "A_1", "e", "\U0010ffff", "none"))


def a_trigger(scene: Scene) -> tuple[str, str]:
    """Project and id of one that is there; now and then of none."""
    wait = scene.wait()
    if wait is None or scene.happens(0.03):
        return scene.project(), "none"
    return scene.elsewhere(wait.project_id), wait.id


def a_run(scene: Scene) -> tuple[str, str]:
    run = scene.run()
    if run is None or scene.happens(0.03):
        return scene.project(), "none"
    return scene.elsewhere(run.project_id), run.id


def cursor(scene: Scene, *ids: str) -> str | None:
    """Where a page begins: at an id, at a time, at the start, or at nonsense."""
    times = ("2026-01-01T00:00:30Z", "2026-01-03T00:00:00.5Z", "2000-01-01T00:00:00Z")
    return scene.pick(
        (None, None, None, *ids, *ids, scene.pick(times), "nonsense" if scene.happens(0.1) else None)
    )


def paging(scene: Scene, *ids: str) -> dict[str, Any]:
    return {"limit": scene.pick(LIMITS), "cursor": cursor(scene, *ids)}


def place(scene: Scene) -> tuple[int, str, str]:
    """In an order of due times."""
    after = scene.pick((0, 0, scene.now - DAY_US, scene.now))
    return scene.pick(((after, "", ""), (after, "default", "0")))


# ---- triggers --------------------------------------------------------------------------------------


def of_triggers(scene: Scene) -> Any:
    (project_id, trigger_id), event_key = a_trigger(scene), some_key(scene)
    found = tuple(scene.some(scene.triggers, 4))
    return scene.pick(
        (
            reads.GetTrigger(project_id, event_key),
            reads.GetTriggerById(project_id, trigger_id),
            reads.GetStats(project_id),
            reads.Timeline(project_id, trigger_id),
            reads.WaitingUnderPrefix(project_id, scene.pick(PREFIXES)),
            reads.Explain(project_id, event_key),
            reads.NearKeys(project_id, event_key, scene.happens(0.5)),
            reads.NearWaits(project_id, event_key),
            reads.LoadBodies(found),
            FirstTriggers(project_id=project_id, ids=tuple(each.id for each in found)),
        )
    )


def listing(scene: Scene) -> Any:
    """Filters that one of them passes, or others; a page that begins at one of them, or elsewhere."""
    one = scene.pick(list(scene.triggers))
    length = scene.rng.randint(0, len(one.event_key))
    filters: dict[str, Any] = {
        "status": scene.pick((one.status, "waiting", "received", "timed_out", "canceled")),
        "source_type": scene.pick(("job_run", "workflow_step")),
        "job_run_id": scene.pick((one.job_run_id, a_run(scene)[1])),
        "workflow_run_id": "none",
        "event_key": scene.pick((one.event_key, some_key(scene))),
        "key_prefix": scene.pick((one.event_key[:length], scene.pick(PREFIXES))),
        "tag": scene.pick(_tags_of(one) or TAGS),
    }
    chosen = {name: filters[name] for name in scene.some(filters, 2)}
    return reads.ListTriggers(
        project_id=scene.elsewhere(one.project_id), **chosen, **paging(scene, one.id, a_trigger(scene)[1])
    )


def _tags_of(record: Any) -> list[str]:
    return [each for name, value in tag_items(record.tags) for each in (name, f"{name}:{value}")]


def of_events(scene: Scene) -> Any:
    project_id, event_key, held = scene.project(), scene.pick((None, some_key(scene))), "none"
    if scene.oracle.held and scene.happens(0.8):
        one = scene.pick(list(scene.oracle.held.values()))
        project_id, held = scene.elsewhere(one.project_id), one.id
        event_key = scene.pick((None, one.event_key))
    scopes = [each.scope_hash for each in scene.scopes] or ["none"]
    return scene.pick(
        (
            reads.ListHeldEvents(project_id, event_key, **paging(scene, held)),
            reads.ListUnmatched(project_id, event_key, **paging(scene)),
            LoadHeldPayload(project_id=project_id, held_id=held),
            GetIdempotencyRecord(scope_hash=scene.pick(scopes)),
        )
    )


# ---- runs, webhooks --------------------------------------------------------------------------------


def of_runs(scene: Scene) -> Any:
    (project_id, run_id), found = a_run(scene), tuple(scene.some(scene.runs, 3))
    job = scene.job(project_id)
    filters: dict[str, Any] = {
        "status": scene.pick(STATUSES),
        "job": job,
        "tag": scene.pick((*(each for one in found for each in _tags_of(one)), *TAGS)),
    }
    chosen = {name: filters[name] for name in scene.some(filters, 2)}
    facts = [each.last_fact_id for each in found if each.last_fact_id is not None]
    return scene.pick(
        (
            reads.ListRuns(project_id=project_id, **chosen, **paging(scene, run_id)),
            reads.GetRun(project_id, run_id),
            *(
                reads.RunTimeline(project_id=each.project_id, run_id=each.id, **paging(scene, *facts))
                for each in found
            ),
            reads.RunsWithBodies(found),
            reads.RunCheckpoint(project_id, run_id),
            reads.RunCheckpoints(found),
            reads.WaitingFor(found),
            reads.GetJob(project_id, job, scene.happens(0.3)),
            reads.JobsById(tuple((each.project_id, each.job_id) for each in found)),
            reads.JobsWithQueuedRuns(tuple(sorted({(each.project_id, each.job_id) for each in found}))),
            reads.ListJobs(project_id, **paging(scene, *(each.job_id for each in found))),
            *(LuggageOf(each) for each in found),
        )
    )


def of_deliveries(scene: Scene) -> Any:
    known = [each for each in scene.oracle.deliveries.values() if each.id]
    if not known:
        return GetDelivery(scene.project(), "none")
    one = scene.pick(known)
    project_id = scene.elsewhere(scene.oracle.waits[one.trigger_id].project_id)
    wanted: dict[str, Any] = {
        "status": scene.pick((one.status, "pending", "delivered", "failed")),
        "trigger_id": one.trigger_id,
    }
    filters = {name: wanted[name] for name in scene.some(wanted, 2)}
    return scene.pick(
        (
            ListDeliveries(project_id=project_id, **filters, **paging(scene, one.id)),
            GetDelivery(project_id, one.id),
            DueDeliveries(place(scene), scene.pick((scene.now, NEVER)), scene.pick(LIMITS)),
            *(LoadParcel(each) for each in scene.some(scene.claimed, 2)),
        )
    )


# ---- workflows -------------------------------------------------------------------------------------


def of_workflows(scene: Scene) -> Any:
    found = tuple(scene.some(scene.workflow_runs, 3))
    project_id, run_id, workflow_id, version = scene.project(), "none", "none", 1
    if found:
        one = found[0]
        project_id, run_id, workflow_id = scene.elsewhere(one.project_id), one.id, one.workflow_id
        version = one.workflow_version
    workflow = scene.pick((workflow_id, *WORKFLOWS))
    filters: dict[str, Any] = {
        "status": scene.pick(COUNTED),
        "workflow": workflow,
        "tag": scene.pick(TAGS),
        "parent": scene.pick([each.parent_run_id for each in found] or [None]),
    }
    chosen = {name: filters[name] for name in scene.some(filters, 2)}
    facts = [each.last_fact_id for each in found if each.last_fact_id is not None]
    names = Names(frozenset({"none"}), frozenset(SLUGS[:3]), frozenset(WORKFLOWS))
    return scene.pick(
        (
            reads.GetWorkflow(project_id, workflow),
            reads.GetWorkflowVersion(project_id, workflow_id, scene.pick((version, version + 1))),
            reads.ListWorkflows(project_id, **paging(scene, workflow_id)),
            reads.GetWorkflowRun(project_id, run_id),
            reads.ListWorkflowRuns(project_id=project_id, **chosen, **paging(scene, run_id)),
            reads.WorkflowRunSteps(project_id, run_id, scene.pick((None, None, "s0"))),
            reads.WorkflowRunTimeline(project_id=project_id, workflow_run_id=run_id, **paging(scene, *facts)),
            reads.DueWorkflowRuns(scene.pick(LIMITS)),
            ShowWorkflowRuns(found),
            MissingNames(project_id, names),
            OutputsOf(tuple((each.project_id, each.id) for each in found)),
        )
    )


# ---- the engine, the host --------------------------------------------------------------------------


def of_engine(scene: Scene) -> Any:
    until, limit = scene.pick((scene.now, NEVER)), scene.pick(LIMITS)
    return scene.pick(
        (
            reads.DueTriggers(place(scene), until, limit),
            reads.DueHeldEvents(until, ALL),
            reads.ReadMark(scene.pick(("expire", "Märk", "none"))),
            reads.CountByStatus(),
            reads.OldestWaiting(),
            reads.DueRuns(place(scene), until, limit),
            reads.ExecutingRuns(limit, place(scene)),
            reads.CountRuns(),
            reads.CountWorkflowRuns(),
            reads.QueuedJobs(),
            reads.PendingMessages(limit),
            reads.PendingMessages(limit, tuple(each.id for each in scene.some(scene.messages, 3))),
            *(
                reads.LiveRunsOfJob(
                    each.project_id, each.subject_id, scene.pick(("", a_run(scene)[1])), each.id, limit
                )
                for each in scene.some(scene.messages, 3)
            ),
        )
    )


ALL = 10_000


def of_retention(scene: Scene) -> Any:
    project_id, before = scene.project(), scene.now - scene.pick((1, 2, 3)) * DAY_US
    after = scene.pick((("", ""), ("default", first_id_at(before - 3_600 * SECOND_US))))
    found = tuple((each.project_id, each.id) for each in scene.some(scene.triggers, 4))
    table = scene.pick([each for each in PRUNABLE if each != "deliveries"])
    return scene.pick(
        (
            reads.CountSettled(project_id, before),
            reads.SettledTriggers(
                project_id, before, scene.pick(("", a_trigger(scene)[1])), scene.pick(LIMITS)
            ),
            reads.Prunable(
                scene.pick(("triggers", "runs", "workflow_runs", "deliveries")),
                before,
                scene.pick(LIMITS),
                after,
            ),
            reads.OldRows(table, before, ALL),
            reads.WaitGroupsOf(found),
            SurplusUnmatched(project_id, scene.pick((0, 3)), scene.pick(LIMITS)),
        )
    )


def of_access(scene: Scene) -> Any:
    keys = list(scene.oracle.keys) or ["none"]
    return scene.pick(
        (
            reads.GetApiKey(scene.pick(keys)),
            reads.ListApiKeys(
                scene.pick((None, scene.project())), scene.pick(LIMITS), scene.pick((None, *keys))
            ),
            reads.GetProject(scene.project()),
            reads.ListProjects(scene.pick(LIMITS), scene.pick((None, "a", "default", "Z"))),
            *(
                reads.LoadSchema(each.project_id, each.expected_schema_id)
                for each in scene.some(scene.triggers, 6)
                if each.expected_schema_id is not None
            ),
        )
    )


#: Each database has migrations of its own; two are answers, which have a workflow run.
NOT_ASKED = {"SchemaVersion", "ShownSteps", "ShownWorkflowRun"}
#: Whose rows have no order that anybody relies on.
UNORDERED = (reads.OldRows, reads.WaitGroupsOf, OutputsOf)
#: Function -> how often it is asked.
READS = {
    of_triggers: 6, listing: 10, of_events: 4, of_runs: 6, of_workflows: 6, of_deliveries: 3, of_engine: 5,
    of_retention: 4,
    of_access: 3,
}  # fmt: skip


def reading(scene: Scene) -> Read:
    make = scene.weighed(READS)
    read = make(scene) if scene.triggers else reads.CountByStatus()
    return Read(read, in_any_order=isinstance(read, UNORDERED))
