"""What the reference says in words about workflows, their runs and steps. The rest, and how all of it is put
together, is in `words.py`."""

from __future__ import annotations

from typing import Final

WORKFLOW_TAGS: Final[dict[str, str]] = {
    "Workflows": "Graphs of steps that run jobs, wait for events, sleep, ask people and start each other. Each change is a new version; runs keep theirs. What a step may have stands under `StepDefinition`.",
    "Workflow runs": "Executions of workflows: looked at, paused, canceled, tried again; and what people decide of their steps.",
}

WORKFLOW_ROUTES: Final = """
Workflows | GET /v1/workflows | list_workflows
Workflows | POST /v1/workflows | create_workflow
Workflows | POST /v1/workflows/dry-run | dry_run_workflow
Workflows | GET /v1/workflows/{workflow} | get_workflow
Workflows | PATCH /v1/workflows/{workflow} | update_workflow
Workflows | DELETE /v1/workflows/{workflow} | delete_workflow
Workflows | POST /v1/workflows/{workflow}/trigger | trigger_workflow
Workflow runs | GET /v1/workflow-runs | list_workflow_runs
Workflow runs | GET /v1/workflow-runs/{id} | get_workflow_run
Workflow runs | DELETE /v1/workflow-runs/{id} | cancel_workflow_run
Workflow runs | GET /v1/workflow-runs/{id}/steps | workflow_run_steps
Workflow runs | GET /v1/workflow-runs/{id}/timeline | workflow_run_timeline
Workflow runs | GET /v1/workflow-runs/{id}/graph | workflow_run_graph
Workflow runs | POST /v1/workflow-runs/{id}/pause | pause_workflow_run
Workflow runs | POST /v1/workflow-runs/{id}/resume | resume_workflow_run
Workflow runs | POST /v1/workflow-runs/{id}/retry | retry_workflow_run
Workflow runs | GET /v1/workflow-runs/{id}/steps/{step_ref} | workflow_run_step
Workflow runs | POST /v1/workflow-runs/{id}/steps/{step_ref}/approve | approve_step
Workflow runs | POST /v1/workflow-runs/{id}/steps/{step_ref}/reject | reject_step
Workflow runs | POST /v1/workflow-runs/{id}/steps/{step_ref}/skip | skip_step
Workflow runs | POST /v1/workflow-runs/{id}/steps/{step_ref}/retry | retry_step
"""

_NEEDS: Final = "503 where the server is installed without `narrows[workflows]`."

WORKFLOW_NOTES: Final[dict[str, str]] = {
    "list_workflows": "Without their definitions: `timeout_secs`, `max_parallel_steps` and `steps` are left out.",
    "create_workflow": f"201 with the workflow. 400 with every fault in `details`; 409 if the slug is taken. Whether the jobs and workflows that it names are there is asked when a step starts. {_NEEDS}",
    "dry_run_workflow": f"200 also for a definition with faults. Where there are none, `notes` names jobs and workflows that are not there yet. {_NEEDS}",
    "update_workflow": f"The members that are given replace those of the newest definition, `steps` as a whole; null takes an optional one away. It is a new version unless nothing changes. 400 with every fault in `details`; 409 if somebody else changed it at the same time, or a new slug is taken. {_NEEDS}",
    "delete_workflow": "Nothing of it starts any more and its slug is free again. Its runs stay, and those that live go on to their end.",
    "trigger_workflow": f"201 with the run, as it is after its first steps have started. 400 names the placeholders of steps that the payload lacks. {_NEEDS}",
    "list_workflow_runs": "A page ends at 8 MiB; `status` and `tag` look at 50,000 rows at most and may give a short page with `has_more`.",
    "cancel_workflow_run": "In the same commit everything that belongs to it ends: steps, their runs and their waits; sub-workflows are told. 409 if it has ended.",
    "workflow_run_steps": "All of them, also those whose turn has not come. Beyond 8 MiB the remaining ones come without their outputs (`outputs_left_out`); get them one by one.",
    "workflow_run_timeline": "Changes of its own state and of its steps', and each decision about an approval. What happened to the run of a step's job stands in that one's timeline.",
    "workflow_run_graph": "Nodes stand in the order of the definition; an edge leads from a step to one that depends on it.",
    "pause_workflow_run": "What has begun goes on: events are received, time-outs and sleeps end. One that is paused stays so; 409 if it has ended.",
    "resume_workflow_run": "Whatever has had its turn meanwhile starts. One that is not paused stays as it is; 409 if it has ended.",
    "retry_workflow_run": f"For a run that has failed, timed out or was canceled: by the same version and with the same payload, what was completed counts as done and the rest has its turn again. 409 for any other. {_NEEDS}",
    "approve_step": "Enough approvals complete the step. The same decision again changes nothing. 403 for somebody who is not among its approvers; 409 if it does not wait for a decision, or he decided otherwise before.",
    "reject_step": "One rejection is enough: the step fails, and is not tried again. 403 and 409 as for an approval.",
    "skip_step": "A step of any kind, begun or not. 409 if it, or its workflow run, has ended.",
    "retry_step": "And the steps that were skipped for it have their turn again. Only while the workflow run lives, else 409: then retry that.",
}

WORKFLOW_PARAMETERS: Final[dict[str, str]] = {
    "workflow": "Its slug or its id.",
    "step_ref": "The name of the step in its definition.",
    "/v1/workflow-runs workflow": "Only runs of this workflow, by slug or id.",
    "/v1/workflow-runs status": "Only workflow runs in this status.",
    "/v1/workflow-runs tag": "Only workflow runs with this tag: `name:value`, or `name` with any value.",
    "parent_workflow_run_id": "Only sub-workflows of this workflow run.",
}

_TIMEOUT: Final = "After so many seconds a run of it ends as `timed_out`; 0 is never."
_PARALLEL: Final = (
    "How many jobs and sub-workflows of a run may go on at once; 0 is any number. Waits are not counted."
)
_STEP_TIMEOUT: Final = "After so many seconds the wait times out; 0 is never."

WORKFLOW_FIELDS: Final[dict[str, str]] = {
    "Workflow.version": "The number of its newest definition, from 1.",
    "Workflow.timeout_secs": _TIMEOUT,
    "CreateWorkflowRequest.timeout_secs": _TIMEOUT,
    "UpdateWorkflowRequest.timeout_secs": _TIMEOUT,
    "max_parallel_steps": _PARALLEL,
    "steps": "The steps, 1 to 1,000.",
    "Workflow.steps": "The steps, as they were sent.",
    "UpdateWorkflowRequest.steps": "All steps of the new version.",
    "valid": "Whether it could be saved.",
    "order": "The names of the steps, each after all that it depends on; empty where there are faults.",
    "DryRun.depth": "How many steps the longest chain has.",
    "faults": "What is wrong, a sentence each.",
    "notes": "What is no fault, a sentence each: fields that mean nothing, jobs and workflows that are not there yet.",
    "workflow_id": "The workflow.",
    "workflow_slug": "The workflow's slug.",
    "workflow_version": "The version of the definition that it goes by.",
    "WorkflowRun.status": "The status. `completed`, `failed`, `timed_out` and `canceled` are for ever.",
    "WorkflowGraph.status": "The status of the workflow run.",
    "WorkflowRun.payload": "What it was triggered with. Any JSON value.",
    "TriggerWorkflowRequest.payload": "What the run is triggered with. Any JSON value.",
    "WorkflowRun.error": "Why it did not end well.",
    "parent_workflow_run_id": "The workflow run whose sub-workflow it is.",
    "parent_step_ref": "The step of that which started it.",
    "WorkflowRun.depth": "How many workflow runs are above it.",
    "retry_of": "The workflow run that it tries again.",
    "WorkflowRun.due_at": "When its `timeout_secs` are over.",
    "WorkflowRun.finished_at": "When it ended.",
    "idempotency_key": "The same as the header `Idempotency-Key`; of the two that are given both must agree.",
    "WorkflowStep.id": "The id: that of its workflow run, and its name.",
    "WorkflowStep.workflow_run_id": "The workflow run that it belongs to.",
    "WorkflowGraph.workflow_run_id": "The workflow run.",
    "step_ref": "Its name, unique in the workflow.",
    "WorkflowRunEvent.step_ref": "The step that it happened to; left out where it is the workflow run itself.",
    "step_type": "What it does.",
    "StepDefinition.type": "The same as `step_type`.",
    "WorkflowStep.status": "The status: `pending` until all that it depends on has ended, `queued` while it waits for a place, `running`, `waiting` for an event or a person, `delayed` between two attempts, and how it ended.",
    "GraphNode.status": "The status of the step.",
    "WorkflowStep.attempt": "The number of its attempt, from 1.",
    "depends_on": "The names of the steps that must have ended before its turn comes.",
    "output": "What later steps see of it. Any JSON value.",
    "WorkflowStep.error": "Why it was skipped, or did not end well.",
    "votes": "The decisions about an approval so far.",
    "run_id": "The run of its job.",
    "child_workflow_run_id": "The run of its sub-workflow.",
    "event_keys": "What it waits for, while it waits; up to 100 keys.",
    "WorkflowStep.created_at": "When its turn came for the first time.",
    "started_at": "When its present attempt began.",
    "WorkflowStep.finished_at": "When it ended.",
    "outputs_left_out": "True where the outputs went over 8 MiB: those of the steps after that are left out.",
    "approver": "Who decided.",
    "DecisionRequest.approver": "Who decides; left out, it is who asks, as `key:<key id>`.",
    "approved": "Whether it was approved; else it was rejected.",
    "comment": "What was said.",
    "WorkflowRunEvent.kind": "What happened, for instance `step.completed`.",
    "WorkflowRunEvent.detail": "More about it.",
    "nodes": "The steps, in the order of the definition.",
    "edges": "What depends on what.",
    "GraphNode.depth": "How many steps the longest way to it has, itself included.",
    "condition": "A CEL expression over `payload`, `outputs` and `statuses`; where it is false the step is skipped.",
    "from": "The step that must end first.",
    "to": "The step that depends on it.",
    "on_failure": "What a bad end of it means: `fail_workflow` at once, `skip_dependents` and fail when the rest has ended, or `continue`.",
    "StepDefinition.on_timeout": '`"fail"`, which goes by `on_failure`, or `{"default": <payload>}`, which completes the step with that.',
    "retry_max_attempts": "How often it is tried, the first time included. The attempts of its job come first.",
    "retry_backoff": "How the pauses between attempts grow.",
    "retry_delay_secs": "How long the first pause lasts.",
    "output_transform": "A JSONPath that takes the step's output out of what came.",
    "event_emit_key": "A template of an event key: when the step completes, its output is sent there, and held for a day if nobody waits yet.",
    "StepDefinition.job_id": "The job, by its id.",
    "StepDefinition.job_slug": "The job, by its slug.",
    "StepDefinition.workflow_slug": "The workflow that is started.",
    "StepDefinition.payload": "A template: for a job it is merged over the workflow run's payload, a sub-workflow is triggered with it.",
    "StepDefinition.event_key": "A template of the event key that it waits for.",
    "StepDefinition.event_keys": "Templates of the event keys that it waits for.",
    "StepDefinition.count": "How many of the events are needed; left out, it is one of `wait_for_any` and all of `wait_for_all`.",
    "distinct_by": "A path into the event's payload, like `user.id`: two events that are the same there count once.",
    "veto": "A CEL expression with the event's payload as `payload`: an event for which it is true fails the step at once.",
    "event_timeout_secs": _STEP_TIMEOUT,
    "StepDefinition.timeout_secs": "The same as `event_timeout_secs`, or as `approval_timeout_secs`.",
    "approval_timeout_secs": _STEP_TIMEOUT + " Left out, it is never.",
    "StepDefinition.request_payload": "A template: what whoever answers is told.",
    "event_notify_url": "An http or https address that is called when the wait is opened and when it is settled.",
    "StepDefinition.notify_url": "The same as `event_notify_url`.",
    "sleep_duration_secs": "For how many seconds it sleeps.",
    "sleep_duration": "For how long it sleeps, like `30m`, `24h` or `7d`.",
    "until": "A template of the time until which it sleeps.",
    "approvers": "Who may decide; left out, anybody.",
    "min_approvals": "How many approvals are needed.",
}
