"""What the engine's roles ask: time-outs, leases, messages, webhooks, retention; and what a host asks about
projects and keys."""

from __future__ import annotations

from typing import Any

from narrows.core.deliveries import Outcome
from narrows.core.states import MessageKind
from narrows.operations.access import (
    CreateApiKey,
    CreateProject,
    RevokeApiKey,
    RotateApiKey,
    RotateProjectSecret,
)
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries, RetryDelivery
from narrows.operations.dispatch import RenewLeases, TakeBackDispatches, WakeRuns
from narrows.operations.events import ExpireHeldEvents, RecordUnmatched
from narrows.operations.messages import CancelRunsOfJob
from narrows.operations.purge import PRUNABLE, SetMark
from narrows.operations.retention import PruneRows, PruneRuns, PruneTriggers, PruneWorkflowRuns
from narrows.operations.triggers import ExpireTriggers
from tests.differential.scene import DAY_US, PROJECTS, SECOND_US, TEXTS, Scene

#: Rows in one look: few, so that some are left. Of these tables it is nobody's affair which go first.
ALL_OF_THEM = 10_000
OLD_US = {"idempotency_records": DAY_US, "stream_tokens": 3_600 * SECOND_US}


def expiring(scene: Scene) -> ExpireTriggers:
    """Mostly what is due, and always some that are not."""
    waiting = [each for each in scene.oracle.waits.values() if each.status == "waiting"]
    due = [each for each in waiting if each.expires_at <= scene.now]
    some = {each.id: each for each in (*scene.some(due, 8), *scene.some(scene.oracle.waits.values(), 2))}
    ids = tuple((each.project_id, each.id) for each in some.values())
    return ExpireTriggers(ids=ids, entropy=scene.entropy())


def all_that_is_due(scene: Scene) -> ExpireTriggers | None:
    due = [
        each
        for each in scene.oracle.waits.values()
        if each.status == "waiting" and each.expires_at <= scene.now
    ]
    ids = tuple((each.project_id, each.id) for each in due)
    return ExpireTriggers(ids=ids, entropy=scene.entropy()) if ids else None


def expiring_held(scene: Scene) -> ExpireHeldEvents:
    held = [each for each in scene.oracle.held.values() if not each.id.startswith("delivered:")]
    due = [each for each in held if each.held_until <= scene.now]
    some = {each.id: each for each in (*scene.some(due, 6), *scene.some(held, 2))}
    ids = tuple((each.project_id, each.id) for each in some.values())
    return ExpireHeldEvents(ids=ids, entropy=scene.entropy())


def waking(scene: Scene) -> WakeRuns:
    timed = [each for each in scene.oracle.runs.values() if each.due_at is not None]
    due = [each for each in timed if (each.due_at or 0) <= scene.now]
    some = {each.id: each for each in (*scene.some(due, 6), *scene.some(scene.oracle.runs.values(), 2))}
    ids = tuple((each.project_id, each.id) for each in some.values())
    return WakeRuns(ids=ids, entropy=scene.entropy())


def taking_back(scene: Scene) -> TakeBackDispatches:
    executing = [each for each in scene.oracle.runs.values() if each.status == "executing"]
    ids = tuple((each.project_id, each.id) for each in scene.some(executing, 4))
    return TakeBackDispatches(ids=ids, holder="server:2", grace_us=30 * SECOND_US, entropy=scene.entropy())


def renewing(scene: Scene) -> RenewLeases:
    runs = scene.some([each for each in scene.oracle.runs.values() if each.dispatch], 4)
    leases = tuple((each.project_id, each.id, each.dispatch - scene.happens(0.1)) for each in runs)
    return RenewLeases(leases=leases, lease_us=15 * SECOND_US, entropy=scene.entropy())


def marking(scene: Scene) -> SetMark:
    """No wait that is open is due before it."""
    waiting = [each.expires_at for each in scene.oracle.waits.values() if each.status == "waiting"]
    return SetMark(name=scene.pick(("expire", "Märk")), value=min([*waiting, scene.now]))


def recording_unmatched(scene: Scene) -> RecordUnmatched | None:
    events = tuple(scene.unmatched)
    scene.unmatched.clear()
    return RecordUnmatched(events=events) if events else None


def consuming(scene: Scene) -> CancelRunsOfJob | None:
    """A step of a message, as it was at some time."""
    messages = [each for each in scene.messages if each.kind == MessageKind.CANCEL_RUNS_OF_JOB]
    if not messages:
        return None
    message = scene.pick(messages)
    live = sorted(
        run.id
        for run in scene.oracle.runs.values()
        if run.job.id == message.subject_id and not run.has_ended and run.id > (message.cursor or "")
    )
    few = live[: scene.pick((1, 2, ALL_OF_THEM))]
    cursor = few[-1] if len(few) < len(live) else None
    return CancelRunsOfJob(message=message, run_ids=tuple(few), cursor=cursor, entropy=scene.entropy())


# ---- webhooks --------------------------------------------------------------------------------------


def claiming_deliveries(scene: Scene) -> ClaimDeliveries:
    known = [each for each in scene.oracle.deliveries.values() if each.id]
    due = [each for each in known if each.due_at is not None and each.due_at <= scene.now]
    some = {each.id: each for each in (*scene.some(due, 6), *scene.some(known, 2))}
    waits = scene.oracle.waits
    ids = tuple(
        (waits[each.trigger_id].project_id, each.id) for each in some.values() if each.trigger_id in waits
    )
    lease_us = scene.pick((5, 30)) * SECOND_US
    return ClaimDeliveries(ids=ids, lease_us=lease_us, entropy=scene.entropy())


def finishing_deliveries(scene: Scene) -> FinishDeliveries | None:
    claimed = {each.id: each for each in scene.some(scene.claimed, 4)}
    if not claimed:
        return None
    ended = tuple((each, _outcome(scene)) for each in claimed.values())
    return FinishDeliveries(ended=ended, entropy=scene.entropy())


def _outcome(scene: Scene) -> Outcome:
    status = scene.pick((200, 204, 302, 404, 410, 500, 503, None))
    return Outcome(status, scene.pick(TEXTS), scene.pick((None, None, 120, 90_000)))


def retrying_delivery(scene: Scene) -> RetryDelivery | None:
    known = [each for each in scene.oracle.deliveries.values() if each.id]
    if not known:
        return None
    chosen = scene.pick(known)
    project_id = scene.oracle.waits[chosen.trigger_id].project_id
    return RetryDelivery(
        **scene.common(scene.elsewhere(project_id)), delivery_id=chosen.id, trigger_id=chosen.trigger_id
    )


# ---- retention -------------------------------------------------------------------------------------


def pruning(scene: Scene) -> Any:
    """A round of retention, small or large."""
    before, limit = scene.now - scene.pick((1, 1, 2, 4)) * DAY_US, scene.pick((2, 10, 500))
    table = scene.pick((None, None, None, "runs", "runs", "workflow_runs", *PRUNABLE))
    if table is None:
        return PruneTriggers(before, limit, scene.entropy())
    if table == "runs":
        return PruneRuns(before, limit, scene.entropy())
    if table == "workflow_runs":
        return PruneWorkflowRuns(before, limit, scene.entropy())
    if table == "deliveries":
        return PruneRows(table, before, limit)
    return PruneRows(table, scene.now - OLD_US[table] if table in OLD_US else before, ALL_OF_THEM)


# ---- projects and keys -----------------------------------------------------------------------------


def creating_project(scene: Scene) -> CreateProject:
    return CreateProject(
        actor=scene.actor(),
        entropy=scene.entropy(),
        id=scene.pick((*PROJECTS, f"p{scene.rng.randrange(6)}")),
        name=scene.pick(TEXTS),
        signing_secrets=scene.pick((None, '[["encrypted",null]]')),
        exist_ok=scene.happens(0.5),
    )


def rotating_project_secret(scene: Scene) -> RotateProjectSecret:
    return RotateProjectSecret(
        **scene.common(), encrypted=f"secret {scene.number()}", overlap_secs=scene.pick((0, 3_600))
    )


def creating_key(scene: Scene) -> CreateApiKey:
    lives_us = scene.pick((None, None, 3 * DAY_US, 60 * SECOND_US, -SECOND_US))
    return CreateApiKey(
        actor=scene.actor(),
        entropy=scene.entropy(),
        id=f"{scene.rng.getrandbits(32):08x}-{scene.number()}",
        project_id=scene.pick((None, scene.project())),
        name=scene.pick(TEXTS),
        scopes=tuple(scene.some(("events:read", "events:send", "*"), 2)),
        secret_hash=f"hash {scene.asked}",
        expires_at=None if lives_us is None else scene.now + lives_us,
        granted_scopes=scene.pick((None, None, ("*",), ("events:read",))),
    )


def rotating_key(scene: Scene) -> RotateApiKey | None:
    if not scene.oracle.keys:
        return None
    key = scene.oracle.keys[scene.pick(list(scene.oracle.keys))]
    return RotateApiKey(
        actor=scene.actor(),
        entropy=scene.entropy(),
        project_id=scene.pick((None, key.project_id, scene.project())),
        api_key_id=key.id if scene.happens(0.95) else "none",
        new_id=f"{scene.rng.getrandbits(32):08x}-{scene.number()}",
        new_secret_hash=f"hash {scene.asked}",
        overlap_secs=scene.pick((0, 60, 86_400)),
    )


def revoking_key(scene: Scene) -> RevokeApiKey | None:
    if not scene.oracle.keys:
        return None
    key = scene.oracle.keys[scene.pick(list(scene.oracle.keys))]
    return RevokeApiKey(
        actor=scene.actor(),
        entropy=scene.entropy(),
        project_id=scene.pick((None, key.project_id, scene.project())),
        api_key_id=key.id if scene.happens(0.95) else "none",
    )


#: Function -> how often it is asked.
OF_ENGINE = {
    expiring: 10, expiring_held: 4, waking: 10, taking_back: 1, renewing: 3, marking: 1, recording_unmatched: 3,
    consuming: 4, claiming_deliveries: 6, finishing_deliveries: 6, retrying_delivery: 1, creating_project: 1,
    rotating_project_secret: 1, creating_key: 2, rotating_key: 1, revoking_key: 1,
}  # fmt: skip
#: Those that a request with an Idempotency-Key may be for.
ONCE = (creating_key, rotating_project_secret)
