"""The calls about workflow runs: look, pause, cancel, try again, and what people decide of steps. Each says
beside `repeat` why it may, or may not, be sent twice."""

from __future__ import annotations

from narrows.client.call import Call, Repeat, encode_body, encode_query, encode_segment
from narrows.wire import workflow_messages
from narrows.wire.workflow_messages import WorkflowRun, WorkflowStep


def list_workflow_runs(
    *,
    status: str | None = None,
    workflow: str | None = None,
    tag: str | None = None,
    parent_workflow_run_id: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[workflow_messages.WorkflowRunPage]:
    """One page of workflow runs, newest first; `iterate_workflow_runs` goes through all pages.

    `workflow` is a slug or id, `tag` "name" or "name:value"; `parent_workflow_run_id` is for the sub-workflows
    of one run.

    Example::

        page = client.list_workflow_runs(workflow="deploy-gate", status="running")
    """
    query = encode_query(
        status=status,
        workflow=workflow,
        tag=tag,
        parent_workflow_run_id=parent_workflow_run_id,
        limit=limit,
        cursor=cursor,
    )
    return Call(method="GET", path="/v1/workflow-runs", query=query, reply=workflow_messages.WorkflowRunPage)


def get_workflow_run(workflow_run: str | WorkflowRun) -> Call[WorkflowRun]:
    """One workflow run, by id. Raises NotFound."""
    return Call(method="GET", path=_path_of_run(workflow_run), reply=WorkflowRun)


def workflow_run_steps(workflow_run: str | WorkflowRun) -> Call[workflow_messages.WorkflowSteps]:
    """The steps of a workflow run, in the order of its definition. Raises NotFound.

    Beyond 8 MiB the outputs of the remaining steps are left out; `workflow_run_step` has them.
    """
    path = _path_of_run(workflow_run, "/steps")
    return Call(method="GET", path=path, reply=workflow_messages.WorkflowSteps)


def workflow_run_step(workflow_run: str | WorkflowRun, step_ref: str) -> Call[WorkflowStep]:
    """One step of a workflow run, with its output. Raises NotFound."""
    return Call(method="GET", path=_path_of_step(workflow_run, step_ref), reply=WorkflowStep)


def workflow_run_timeline(
    workflow_run: str | WorkflowRun, *, limit: int | None = None, cursor: str | None = None
) -> Call[workflow_messages.WorkflowRunEventPage]:
    """One page of what happened to a workflow run and its steps, newest first. Raises NotFound."""
    return Call(
        method="GET",
        path=_path_of_run(workflow_run, "/timeline"),
        query=encode_query(limit=limit, cursor=cursor),
        reply=workflow_messages.WorkflowRunEventPage,
    )


def workflow_run_graph(workflow_run: str | WorkflowRun) -> Call[workflow_messages.WorkflowGraph]:
    """The steps of a workflow run as nodes and edges, for a picture. Raises NotFound."""
    path = _path_of_run(workflow_run, "/graph")
    return Call(method="GET", path=path, reply=workflow_messages.WorkflowGraph)


def cancel_workflow_run(workflow_run: str | WorkflowRun) -> Call[WorkflowRun]:
    """Cancel a workflow run with everything that goes on of it, and return it. Raises NotFound, and Conflict
    if it has ended."""
    path = _path_of_run(workflow_run)
    # Safe: ids are never reused. If the repeat is a conflict, a look tells whether it was canceled.
    confirm: Call[WorkflowRun] = Call(method="GET", path=path, reply=WorkflowRun)
    return Call(method="DELETE", path=path, reply=WorkflowRun, repeat=Repeat.SAFE, confirm=confirm)


def pause_workflow_run(workflow_run: str | WorkflowRun) -> Call[WorkflowRun]:
    """Let nothing new start in a workflow run; what has begun goes on. Raises NotFound, and Conflict if it has
    ended."""
    # Safe without a key: one that is paused stays so.
    return Call(method="POST", path=_path_of_run(workflow_run, "/pause"), reply=WorkflowRun)


def resume_workflow_run(workflow_run: str | WorkflowRun) -> Call[WorkflowRun]:
    """Let a paused workflow run go on. Raises NotFound, and Conflict if it has ended."""
    # Safe without a key, likewise.
    return Call(method="POST", path=_path_of_run(workflow_run, "/resume"), reply=WorkflowRun)


def retry_workflow_run(
    workflow_run: str | WorkflowRun, *, idempotency_key: str | None = None
) -> Call[WorkflowRun]:
    """Start a new run that keeps what a failed, timed out or canceled one has completed, and return it. Raises
    NotFound, and Conflict for any other status."""
    return Call(
        method="POST",
        path=_path_of_run(workflow_run, "/retry"),
        reply=WorkflowRun,
        repeat=Repeat.KEYED,  # a second sending would be a second run
        idempotency_key=idempotency_key,
    )


def approve_step(
    workflow_run: str | WorkflowRun,
    step_ref: str,
    *,
    approver: str | None = None,
    comment: str | None = None,
) -> Call[WorkflowStep]:
    """Approve a step that waits for it, and return the step. Without an `approver` it is whoever the API key
    belongs to.

    Raises NotFound, Forbidden for somebody who is not asked, and Conflict if it does not wait for a decision
    or the same person decided otherwise before.

    Example::

        client.approve_step(run, "sign-off", approver="ada", comment="go")
    """
    return _decide(workflow_run, step_ref, "/approve", approver, comment)


def reject_step(
    workflow_run: str | WorkflowRun,
    step_ref: str,
    *,
    approver: str | None = None,
    comment: str | None = None,
) -> Call[WorkflowStep]:
    """Reject a step that waits for approval, and return the step: one rejection is enough. Raises as
    `approve_step` does."""
    return _decide(workflow_run, step_ref, "/reject", approver, comment)


def _decide(
    workflow_run: str | WorkflowRun, step_ref: str, tail: str, approver: str | None, comment: str | None
) -> Call[WorkflowStep]:
    request = workflow_messages.DecisionRequest(approver=approver, comment=comment)
    return Call(
        method="POST",
        path=_path_of_step(workflow_run, step_ref, tail),
        body=encode_body(request),
        reply=WorkflowStep,
        repeat=Repeat.KEYED,  # so that a late repeat cannot decide the step's next attempt
    )


def skip_step(workflow_run: str | WorkflowRun, step_ref: str) -> Call[WorkflowStep]:
    """End a step as skipped, so that what depends on it goes on, and return it. Raises NotFound, and Conflict
    if it or its workflow run has ended."""
    return Call(
        method="POST",
        path=_path_of_step(workflow_run, step_ref, "/skip"),
        reply=WorkflowStep,
        repeat=Repeat.KEYED,  # it would find itself skipped, and be a conflict
    )


def retry_step(workflow_run: str | WorkflowRun, step_ref: str) -> Call[WorkflowStep]:
    """Give a step that has ended badly another turn, and return it. Raises NotFound, and Conflict if it has not,
    or its workflow run has ended."""
    return Call(
        method="POST",
        path=_path_of_step(workflow_run, step_ref, "/retry"),
        reply=WorkflowStep,
        repeat=Repeat.KEYED,  # a late repeat could be one retry more
    )


def _path_of_run(workflow_run: str | WorkflowRun, tail: str = "") -> str:
    workflow_run_id = workflow_run.id if isinstance(workflow_run, WorkflowRun) else workflow_run
    return f"/v1/workflow-runs/{encode_segment(workflow_run_id)}{tail}"


def _path_of_step(workflow_run: str | WorkflowRun, step_ref: str, tail: str = "") -> str:
    return _path_of_run(workflow_run, f"/steps/{encode_segment(step_ref)}{tail}")
