"""What the reference says in words about jobs, runs, workers and the run plane. The rest, and how all of it
is put together, is in `words.py`."""

from __future__ import annotations

from typing import Final

RUN_TAGS: Final[dict[str, str]] = {
    "Jobs": "Definitions of work. With an `endpoint_url` the server calls it for each run; without, workers fetch the runs.",
    "Runs": "Executions of jobs: looked at, waited for, canceled, replayed.",
    "Workers": "How workers get the runs of jobs that have no `endpoint_url`.",
    "Run plane": "What a handler asks for the run that it executes, by the run token of its dispatch (`X-Run-Token`, or `run_token` of a claim). A token of an earlier dispatch gets 409, one of an ended run 410; a call that ended a dispatch, repeated with the same body, gets its first answer, also later.",
}

RUN_ROUTES: Final = """
Jobs | GET /v1/jobs | list_jobs
Jobs | POST /v1/jobs | create_job
Jobs | GET /v1/jobs/{job} | get_job
Jobs | PATCH /v1/jobs/{job} | update_job
Jobs | DELETE /v1/jobs/{job} | delete_job
Jobs | POST /v1/jobs/{job}/rotate-secret | rotate_job_secret
Jobs | POST /v1/jobs/{job}/trigger | trigger_job
Runs | GET /v1/runs | list_runs
Runs | GET /v1/runs/{id} | get_run
Runs | DELETE /v1/runs/{id} | cancel_run
Runs | GET /v1/runs/{id}/events | run_events
Runs | GET /v1/runs/{id}/wait | wait_for_run
Runs | POST /v1/runs/{id}/replay | replay_run
Workers | POST /v1/workers/claim | claim_runs
Run plane | GET /sdk/v1/runs/{runID}/payload | get_payload
Run plane | GET /sdk/v1/runs/{runID}/checkpoint | get_checkpoint
Run plane | POST /sdk/v1/runs/{runID}/checkpoint | save_checkpoint
Run plane | POST /sdk/v1/runs/{runID}/log | log
Run plane | POST /sdk/v1/runs/{runID}/progress | progress
Run plane | POST /sdk/v1/runs/{runID}/heartbeat | heartbeat
Run plane | POST /sdk/v1/runs/{runID}/complete | complete
Run plane | POST /sdk/v1/runs/{runID}/fail | fail
Run plane | POST /sdk/v1/runs/{runID}/sleep | sleep
Run plane | POST /sdk/v1/runs/{runID}/wait-for-event | wait_for_event
Run plane | POST /sdk/v1/runs/{runID}/release | release
"""

RUN_NOTES: Final[dict[str, str]] = {
    "create_job": "201 with the job and its `signing_secret`, which the requests to its endpoint are signed with. 409 if the slug is taken. A repeat under an `Idempotency-Key` is 409 naming the id, since the secret is not kept.",
    "update_job": "What is left out stays as it is; null takes an optional field away. Runs that there are keep the `timeout_secs` and `max_attempts` that they were made with.",
    "delete_job": "409 with live runs, unless `cancel_runs=true`: then they are canceled by commits that follow at once. Its slug is free again.",
    "rotate_job_secret": "For `overlap_secs` requests are signed with both secrets; 0 ends the old one at once.",
    "trigger_job": "201 with the run: `queued`, or `delayed` until `scheduled_at` if that is still to come. Runs of higher `priority` are dispatched first, then the oldest.",
    "list_runs": "A page ends at 8 MiB; filters look at 50,000 rows at most and may give a short page with `has_more`.",
    "cancel_run": "In the same commit whatever it waits for is canceled. 409 if it has ended.",
    "run_events": "State changes, what the handler logged, its checkpoints and progress.",
    "wait_for_run": "Answers as soon as the run has ended, else after the given seconds with the run as it is.",
    "replay_run": "A new run with the payload of one that is `failed`, `dead_letter`, `timed_out` or `canceled`, with what that kept, and with how its last wait ended; 409 for any other.",
    "claim_runs": "Each run comes with its run token, a lease of 60 s that `heartbeat` renews, and its checkpoint. With none queued it waits up to `wait_secs` and answers as soon as one is; after that the list is empty. 404 for an unknown job, 409 for one with an `endpoint_url`. What was claimed for a client that has gone is given back.",
    "get_checkpoint": "`event` is the trigger that ended the last wait, with its status and payload; of a wait for several, `events` has all of them.",
    "heartbeat": "For another 60 s, but never beyond the `timeout_secs` of the dispatch. 410 tells that the run was canceled.",
    "complete": "The result is any JSON value; with the body it is at most 1 MiB.",
    "fail": "Tried again after a pause that grows, up to `max_attempts`; then the run is `dead_letter`. With `retry` false it has `failed` at once.",
    "sleep": "The wait that it makes is a trigger of type `sleep`, which no event can end.",
    "wait_for_event": "Granted, it ends this dispatch: nothing that it still does changes the run, which goes on in a new dispatch when the wait is over. That is at once if an event was held. Several are waited for by `events`, with `mode` `any` (one of them), `all`, or `count`; those left over are canceled. 409 if a key is waiting already.",
    "release": "Queued again at once, for another worker.",
}

RUN_PARAMETERS: Final[dict[str, str]] = {
    "job": "Its slug or its id.",
    "runID": "The id of the run that the token is for.",
    "/v1/runs job": "Only runs of this job, by slug or id.",
    "/v1/runs status": "Only runs in this status.",
    "/v1/runs tag": "Only runs with this tag: `name:value`, or `name` with any value.",
    "cancel_runs": "`true` cancels its live runs with it.",
}

_TIMEOUT_OF_DISPATCH: Final = "How long one dispatch may last, in seconds."

RUN_FIELDS: Final[dict[str, str]] = {
    "slug": "Its name in addresses: 1 to 100 of a-z, 0-9, dot, dash and underscore, the first a letter or digit.",
    "description": "What it does, for people.",
    "endpoint_url": "An http or https address that is called for each run. Without it workers fetch the runs.",
    "Job.timeout_secs": _TIMEOUT_OF_DISPATCH,
    "CreateJobRequest.timeout_secs": _TIMEOUT_OF_DISPATCH,
    "UpdateJobRequest.timeout_secs": _TIMEOUT_OF_DISPATCH,
    "Run.timeout_secs": _TIMEOUT_OF_DISPATCH,
    "max_attempts": "How often a run is tried between two waits, the first time included.",
    "max_concurrency": "How many of its runs may execute at once.",
    "updated_at": "When it was last changed.",
    "percent": "0 to 100.",
    "Progress.message": "Where it is, in words.",
    "ProgressRequest.message": "Where it is, in words.",
    "LogRequest.message": "The line.",
    "level": "How important the line is.",
    "job_id": "The job.",
    "Run.status": "The status. `completed`, `failed`, `timed_out`, `canceled` and `dead_letter` are for ever.",
    "RunState.status": "The run's status after this call.",
    "Lease.status": "The run's status.",
    "WaitResult.status": "The run waits. If an event was held for it, it is queued again already.",
    "priority": "-100 to 100; the highest goes first.",
    "attempt": "The number of this attempt, counted anew after each wait.",
    "dispatches": "How often it was handed out in all.",
    "Run.workflow_run_id": "The workflow run that it belongs to.",
    "Run.workflow_step_run_id": "The workflow step that it belongs to.",
    "Run.payload": "What it was started with. Any JSON value.",
    "TriggerJobRequest.payload": "What the run is started with. Any JSON value.",
    "result": "What it was completed with. Any JSON value.",
    "Run.error": "Why its last attempt, or the run as a whole, failed.",
    "FailRequest.error": "What went wrong.",
    "progress": "How far its handler says it is.",
    "holder": "Who executes it.",
    "waiting_for": "The ids of the triggers that it waits for.",
    "replay_of": "The run that it replays.",
    "created_by": "Who started it, for instance `key:<key id>`.",
    "scheduled_at": "When it was to begin.",
    "TriggerJobRequest.scheduled_at": "When to begin, within ten years; a time that has passed is now.",
    "due_at": "When a delayed run is queued.",
    "dispatched_at": "When it was last handed out.",
    "Run.finished_at": "When it ended.",
    "kind": "What happened, for instance `run.dispatched`.",
    "at": "When.",
    "actor": "Who did it.",
    "RunEvent.detail": "More about it.",
    "state": "What the run keeps for its later dispatches. Any JSON value.",
    "event": "The trigger that ended its last wait.",
    "Checkpoint.events": "All triggers of its last wait, if that was for several, in the order in which they were asked for.",
    "run": "The run.",
    "job_slug": "The slug of its job.",
    "run_token": "The secret of this dispatch: `Authorization: Bearer` of the run plane.",
    "lease_until": "Until when the run is this dispatch's; a heartbeat renews it.",
    "checkpoint": "Where it was: what it kept, and how its last wait ended.",
    "runs": "The runs, those to be done first at the head; empty if none was queued in time.",
    "jobs": "Slugs or ids.",
    "ClaimRequest.limit": "How many runs at most.",
    "wait_secs": "How long to wait for runs if none are queued.",
    "worker": "The worker's name, for people to read.",
    "GrantedWait.callback_url": "The secret address that settles this wait.",
    "WaitResult.callback_url": "The secret address that settles the wait.",
    "WaitResult.events": "The waits, if several were asked for; the first also stands above.",
    "retry": "Whether to try again as long as attempts are left.",
    "duration_secs": "For how many seconds.",
    "EventToWaitFor.timeout_secs": "After so many seconds this wait times out; 0 is never. Left out, it is that of the request.",
    "EventToWaitFor.callback_url": "Whether to make a callback URL for it.",
    "WaitRequest.callback_url": "Whether to make a callback URL.",
    "WaitRequest.event_key": "The one event to wait for.",
    "WaitRequest.events": "Several events to wait for, up to 100, each key once.",
    "mode": "How many of the events are needed: `any` one, `all`, or `count` of them.",
    "count": "How many, for the mode `count`.",
    "on_timeout": "What a wait does that times out: `end` the run, or `resume` it, which then sees it in its checkpoint.",
    "on_cancel": "The same for a wait that is canceled.",
}
