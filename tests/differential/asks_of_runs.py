"""What is asked about jobs and runs: starting, handing out, and all that a handler may ask for its run, by the
token of its dispatch or of an earlier one."""

from __future__ import annotations

from typing import Any

from narrows.core.signing_secrets import first_secret
from narrows.core.states import GroupMode, OnEnd
from narrows.operations.dispatch import Claim, ClaimRuns, DispatchResult, FinishDispatch
from narrows.operations.jobs import CreateJob, DeleteJob, RotateJobSecret, UpdateJob
from narrows.operations.run_plane import (
    CompleteRun,
    FailRun,
    Heartbeat,
    LogLine,
    ReleaseRun,
    SaveCheckpoint,
    SaveProgress,
    SleepRun,
    WaitForEvents,
)
from narrows.operations.runs import CancelRun, ReplayRun, TriggerJob
from tests.differential.asks_of_waits import wanted
from tests.differential.scene import KEYS, LONG, LONG_UNICODE, PAYLOADS, SECOND_US, TAGS, TEXTS, Scene

LIVE = ("delayed", "queued", "executing", "waiting")
#: Under these nobody but runs waits: a group of them often finds them free.
KEYS_OF_RUNS = ("run/1", "run/2", "run_3", "rün")
SLUGS = ("work", "work-one", "push", "push-two", "fifth.job")


def creating_job(scene: Scene) -> CreateJob:
    slug = "Not A Slug" if scene.happens(0.05) else scene.pick(SLUGS)
    return CreateJob(
        **scene.common(),
        slug=slug,
        name=scene.pick(TEXTS),
        description=scene.pick(TEXTS),
        endpoint_url=scene.pick((None, "https://example.com/run")),
        timeout_secs=0 if scene.happens(0.05) else scene.pick((5, 60, 300)),
        max_attempts=scene.pick((1, 2, 4)),
        max_concurrency=scene.pick((None, None, 1, 2)),
        tags=scene.pick(TAGS),
        signing_secrets=first_secret(f"secret {scene.number()}"),
    )


def updating_job(scene: Scene) -> UpdateJob:
    project_id = scene.project()
    name = scene.job(project_id)
    changes: dict[str, Any] = {
        "slug": scene.pick(SLUGS),
        "description": scene.pick(TEXTS),
        "timeout_secs": scene.pick((5, 60, 300, 0)),
        "max_attempts": scene.pick((1, 2, 4, None)),
        "tags": scene.pick(TAGS),
        "colour": "red",
    }
    chosen = [(field, changes[field]) for field in scene.some(changes, 2)]
    return UpdateJob(**scene.common(project_id), job=name, changes=tuple(chosen))


def limiting_job(scene: Scene) -> UpdateJob | None:
    """Another `max_concurrency`, never below what is under way: the model holds every moment to it."""
    jobs = [each for each in scene.oracle.jobs.values() if not each.is_deleted]
    if not jobs:
        return None
    job = scene.pick(jobs)
    limit = scene.pick((None, max(1, scene.oracle.executing(job)), 50))
    return UpdateJob(**scene.common(job.project_id), job=job.id, changes=(("max_concurrency", limit),))


def rotating_job_secret(scene: Scene) -> RotateJobSecret:
    project_id = scene.project()
    return RotateJobSecret(
        **scene.common(project_id),
        job=scene.job(project_id),
        encrypted=f"secret {scene.number()}",
        overlap_secs=scene.pick((0, 60, 86_400)),
    )


def deleting_job(scene: Scene) -> DeleteJob:
    project_id = scene.project()
    return DeleteJob(**scene.common(project_id), job=scene.job(project_id), cancel_runs=scene.happens(0.6))


def triggering(scene: Scene) -> TriggerJob:
    project_id = scene.project()
    delay_us = scene.pick((None, None, None, -SECOND_US, SECOND_US // 2, 4 * SECOND_US))
    return TriggerJob(
        **scene.common(project_id),
        job=scene.job(project_id),
        payload=scene.pick(PAYLOADS),
        priority=scene.pick((0, 0, 0, 5, -5)),
        scheduled_at=None if delay_us is None else scene.now + delay_us,
        tags=scene.pick(TAGS),
    )


def canceling_run(scene: Scene) -> CancelRun | None:
    run = scene.run(*LIVE)
    if run is None:
        return None
    common = scene.common(scene.elsewhere(run.project_id))
    return CancelRun(**common, run_id=run.id, reason=scene.pick(TEXTS) or "")


def replaying(scene: Scene) -> ReplayRun | None:
    run = scene.run("failed", "timed_out", "canceled", "dead_letter")
    if run is None:
        return None
    return ReplayRun(**scene.common(scene.elsewhere(run.project_id)), run_id=run.id)


# ---- handing out -----------------------------------------------------------------------------------


def claiming(scene: Scene) -> ClaimRuns:
    claims = tuple(_claim(scene) for _ in range(scene.pick((1, 1, 2, 3))))
    return ClaimRuns(claims=claims, entropy=scene.entropy())


def _claim(scene: Scene) -> Claim:
    project_id = scene.project()
    jobs = [each.id for each in scene.oracle.jobs.values() if each.project_id == project_id]
    some = jobs if scene.happens(0.6) else scene.some(jobs, 3)
    return Claim(
        project_id,
        tuple(some),
        scene.pick((1, 1, 2, 5)),
        scene.pick(("worker:w1", "worker:ü", "server:1", "server:2")),
        scene.pick((2, 15, 60)) * SECOND_US,
        scene.actor(),
    )


def finishing(scene: Scene) -> FinishDispatch | None:
    run = scene.run("executing")
    if run is None:
        return None
    result = DispatchResult(
        completed=scene.happens(0.4),
        result=scene.pick(PAYLOADS),
        error=scene.pick(TEXTS),
        retry=scene.happens(0.8),
        retry_after_secs=scene.pick((None, None, 2, 7_200)),
    )
    return FinishDispatch(**_dispatch(scene, run), result=result)


def _dispatch(scene: Scene, run: Any) -> dict[str, Any]:
    """The newest dispatch of the run, or an earlier one whose handler does not know that it is over."""
    return {
        "project_id": scene.elsewhere(run.project_id),
        "run_id": run.id,
        "dispatch": max(0, run.dispatch - (scene.happens(0.08))),
        "entropy": scene.entropy(),
    }


# ---- the run plane ---------------------------------------------------------------------------------


def noting(scene: Scene) -> Any:
    run = scene.run("executing")
    if run is None:
        return None
    common = _dispatch(scene, run)
    kind = scene.pick((Heartbeat, SaveCheckpoint, LogLine, SaveProgress))
    if kind is Heartbeat:
        return Heartbeat(**common, lease_us=scene.pick((2, 20)) * SECOND_US)
    if kind is SaveCheckpoint:
        return SaveCheckpoint(**common, state=scene.pick(('{"step":1}', '"é"', LONG, LONG_UNICODE)))
    if kind is LogLine:
        return LogLine(**common, level="info", message=scene.pick(TEXTS) or "")
    return SaveProgress(**common, percent=scene.pick((None, 0.0, 33.3, 100.0)), message=scene.pick(TEXTS))


def ending(scene: Scene) -> Any:
    """A call that ends its dispatch, or the repeat of one."""
    if scene.ended and scene.happens(0.15):
        return scene.pick(scene.ended)
    run = scene.run("executing")
    if run is None:
        return None
    common = {**_dispatch(scene, run), "body_hash": f"body:{scene.number()}"}
    operation = scene.weighed(ENDS)(scene, common)
    scene.ended.append(operation)
    return operation


def _complete(scene: Scene, common: dict[str, Any]) -> CompleteRun:
    return CompleteRun(**common, result=scene.pick(PAYLOADS))


def _fail(scene: Scene, common: dict[str, Any]) -> FailRun:
    return FailRun(**common, error=scene.pick(TEXTS) or LONG, retry=scene.happens(0.8))


def _release(scene: Scene, common: dict[str, Any]) -> ReleaseRun:
    return ReleaseRun(**common)


def _sleep(scene: Scene, common: dict[str, Any]) -> SleepRun:
    return SleepRun(**common, duration_secs=scene.pick((0, 1, 2, 10, 90_000)))


def _wait(scene: Scene, common: dict[str, Any]) -> WaitForEvents:
    some = scene.pick((KEYS, KEYS_OF_RUNS, (*KEYS, *KEYS_OF_RUNS)))
    keys = scene.rng.sample(some, scene.pick((1, 1, 1, 2, 2, 3, 4)))
    if scene.happens(0.03):
        keys.append(keys[0])
    return WaitForEvents(
        **common,
        events=tuple(wanted(scene, each) for each in keys),
        mode=scene.pick(list(GroupMode)),
        count=scene.pick((None, *range(1, len(keys) + 1))),
        on_timeout=scene.pick(list(OnEnd)),
        on_cancel=scene.pick(list(OnEnd)),
    )


ENDS = {_complete: 18, _fail: 14, _release: 5, _sleep: 12, _wait: 51}

#: Function -> how often it is asked.
OF_RUNS = {
    creating_job: 3, updating_job: 3, limiting_job: 1, rotating_job_secret: 1, deleting_job: 2,
    triggering: 24, canceling_run: 4, replaying: 5, claiming: 20, finishing: 5, noting: 10, ending: 34,
}  # fmt: skip
#: Those that a request with an Idempotency-Key may be for.
ONCE = (triggering, canceling_run, replaying)
