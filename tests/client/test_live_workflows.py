"""Every call about workflows against a real `narrows dev`, by both clients."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from narrows.client import AsyncClient, Client, Workflow, WorkflowRun
from narrows.errors import Conflict, Forbidden, InvalidRequest, NotFound
from tests.client.test_live import Server, serving
from tests.storage.databases import DATABASES

#: Performs a method of one of the clients by its name.
Ask = Callable[..., Awaitable[Any]]
STEPS: list[dict[str, Any]] = [
    {"step_ref": "told", "type": "wait_for_event", "event_key": "told:{{workflow_run_id}}"},
    {"step_ref": "good", "type": "approval", "depends_on": ["told"], "on_failure": "skip_dependents"},
    {"step_ref": "rest", "type": "sleep", "sleep_duration": "7d", "depends_on": ["good"]},
]


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp("live")) as server:
        yield server


async def both(server: Server, story: Callable[[Ask], Awaitable[None]]) -> None:
    """A story, told to each of the two clients."""
    with Client(server.url) as client:

        async def ask(name: str, *args: Any, **named: Any) -> Any:
            found = getattr(client, name)(*args, **named)
            return list(found) if inspect.isgenerator(found) else found

        await story(ask)
    async with AsyncClient(server.url) as async_client:

        async def ask_async(name: str, *args: Any, **named: Any) -> Any:
            found = getattr(async_client, name)(*args, **named)
            return [each async for each in found] if inspect.isasyncgen(found) else await found

        await story(ask_async)


async def test_definitions(server: Server) -> None:
    async def story(ask: Ask) -> None:
        definition = {"slug": "live", "steps": STEPS, "tags": {"team": "a"}}
        checked = await ask("dry_run_workflow", definition)
        assert (checked.valid, checked.order, checked.depth) == (True, ["told", "good", "rest"], 3)
        made = await ask("create_workflow", definition)
        assert isinstance(made, Workflow)
        assert (made.steps, made.tags, made.timeout_secs, made.version) == (STEPS, {"team": "a"}, 0, 1)
        with pytest.raises(Conflict):
            await ask("create_workflow", definition)
        with pytest.raises(InvalidRequest) as refused:
            await ask("create_workflow", {"slug": "other", "steps": [{}]})
        assert len(refused.value.details) == 2
        assert not (await ask("dry_run_workflow", {})).valid
        changed = await ask("update_workflow", "live", {"tags": None, "timeout_secs": 60})
        assert (changed.version, changed.tags, changed.timeout_secs, changed.steps) == (2, None, 60, STEPS)
        assert await ask("get_workflow", made.id) == changed
        (listed,) = (await ask("list_workflows", limit=10)).data
        assert (listed.id, listed.steps) == (made.id, None)
        assert (await ask("delete_workflow", made.id)).id == made.id
        with pytest.raises(NotFound):
            await ask("get_workflow", "live")

    await both(server, story)


async def test_a_definition_of_raw_members_goes_as_it_stands(server: Server) -> None:
    async def story(ask: Ask) -> None:
        steps = b'[{"step_ref":"a","job_slug":"job","payload":{"price":1.50}}]'
        made = await ask("create_workflow", {"slug": msgspec.Raw(b'"raw"'), "steps": msgspec.Raw(steps)})
        assert made.steps == msgspec.json.decode(steps)
        with pytest.raises(InvalidRequest, match="JSON"):
            await ask("update_workflow", "raw", {"timeout_secs": float("nan")})
        await ask("delete_workflow", made.id)

    await both(server, story)


async def test_runs_and_their_steps(server: Server) -> None:
    async def story(ask: Ask) -> None:
        made = await ask("create_workflow", {"slug": "run-me", "steps": STEPS})
        run = await ask("trigger_workflow", "run-me", {"n": 1}, tags={"a": "b"}, idempotency_key=made.id)
        assert isinstance(run, WorkflowRun)
        assert (run.status, run.payload, run.tags, run.workflow_slug) == (
            "running",
            {"n": 1},
            {"a": "b"},
            "run-me",
        )
        again = await ask("trigger_workflow", "run-me", {"n": 1}, tags={"a": "b"}, idempotency_key=made.id)
        assert again.id == run.id
        assert (await ask("pause_workflow_run", run)).status == "paused"
        assert (await ask("resume_workflow_run", run.id)).status == "running"
        await ask("send", f"told:{run.id}", {"who": "ada"})
        told, good, rest = (await ask("workflow_run_steps", run)).data
        assert (told.output, good.status, rest.status, rest.attempt) == (
            {"who": "ada"},
            "waiting",
            "pending",
            None,
        )
        assert await ask("workflow_run_step", run, "told") == told
        with pytest.raises(NotFound):
            await ask("workflow_run_step", run, "nothing")
        rejected = await ask("reject_step", run, "good", approver="ada", comment="no")
        assert (rejected.status, rejected.votes[0].comment) == ("failed", "no")
        ended = await ask("get_workflow_run", run.id)
        assert (ended.status, ended.finished_at > ended.created_at) == ("failed", True)
        with pytest.raises(Conflict):
            await ask("retry_step", run, "good")
        new = await ask("retry_workflow_run", run)
        assert new.retry_of == run.id
        approved = await ask("approve_step", new, "good", approver="grace")
        assert (approved.status, approved.output["approved_by"]) == ("completed", ["grace"])
        assert (await ask("skip_step", new, "rest")).status == "skipped"
        assert (await ask("get_workflow_run", new)).status == "completed"
        graph = await ask("workflow_run_graph", new)
        assert [(edge.from_, edge.to) for edge in graph.edges] == [("told", "good"), ("good", "rest")]
        assert [(node.status, node.depth) for node in graph.nodes] == [
            ("completed", 1), ("completed", 2), ("skipped", 3),
        ]  # fmt: skip
        page = await ask("workflow_run_timeline", new, limit=2)
        assert [each.kind for each in page.data] == ["workflow_run.completed", "step.skipped"]
        assert page.has_more
        ids = [each.id for each in await ask("iterate_workflow_runs", workflow=made.id, page_size=1)]
        assert ids == [new.id, run.id]
        (failed,) = (await ask("list_workflow_runs", workflow="run-me", status="failed", tag="a:b")).data
        assert failed == ended
        await ask("delete_workflow", made.id)

    await both(server, story)


async def test_canceling_and_a_step_of_a_live_run(server: Server) -> None:
    async def story(ask: Ask) -> None:
        steps = [*STEPS[:1], STEPS[1] | {"depends_on": [], "approvers": ["ada"]}]
        made = await ask("create_workflow", {"slug": "cancel-me", "steps": steps})
        run = await ask("trigger_workflow", made.id)
        with pytest.raises(Forbidden):
            await ask("approve_step", run, "good", approver="bob")
        await ask("reject_step", run, "good", approver="ada")
        assert (await ask("retry_step", run, "good")).status == "waiting"
        canceled = await ask("cancel_workflow_run", run)
        assert (canceled.status, canceled.error) == ("canceled", "canceled by user")
        with pytest.raises(Conflict):
            await ask("cancel_workflow_run", run)
        await ask("delete_workflow", "cancel-me")

    await both(server, story)
