"""Who may do what with workflows, and what a server says that lacks the libraries for them."""

from __future__ import annotations

import json
import sys

import pytest

from narrows.config import Config
from narrows.operations.definitions import NOT_INSTALLED
from tests.api.harness import make_api_key, opened
from tests.api.workflow_kit import approval, definition, make_workflow, running, slugs, trigger, wait


async def test_workflows_of_another_project_are_not_there(config: Config) -> None:
    async with opened(config, dev=False) as client:
        mine, other = [await make_api_key(client, name, "*", number=n) for n, name in enumerate("ab", 1)]
        made = await make_workflow(client, key=mine)
        for named in ("flow", made["id"]):
            for method, tail in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/trigger")):
                answer = await client(method, f"/v1/workflows/{named}{tail}", {"name": "x"}, key=other)
                assert answer.status == 404, (method, tail)
        assert await slugs(client, key=other) == []
        assert (await client("POST", "/v1/workflows", definition(), key=other)).status == 201
        for body in (definition(project_id="b"), definition(project_id=5)):
            assert (await client("POST", "/v1/workflows/dry-run", body, key=mine)).status in (400, 404)
        assert (await client("GET", "/v1/workflows/flow", key=mine)).json == made


async def test_an_admin_names_the_project_in_the_definition(config: Config) -> None:
    async with opened(config, dev=False) as client:
        admin = await make_api_key(client, None, "*")
        mine = await make_api_key(client, "a", "*", number=2)
        assert (await client("POST", "/v1/workflows", definition(), key=admin)).status == 400
        made = await client("POST", "/v1/workflows", definition(project_id="a"), key=admin)
        assert (made.status, made.json["project_id"]) == (201, "a")
        changed = await client("PATCH", "/v1/workflows/flow", {"name": "x", "project_id": "a"}, key=admin)
        assert (changed.status, changed.json["version"]) == (200, 2)
        shown = (await client("GET", "/v1/workflows/flow", key=mine)).json
        assert (shown, "project_id" in json.dumps(shown["steps"])) == (changed.json, False)


async def test_each_may_do_what_his_scopes_say(config: Config) -> None:
    async with opened(config, dev=False) as client:
        scopes = ("workflows:read", "workflows:write", "workflows:trigger")
        keys = {each: await make_api_key(client, "a", each, number=n) for n, each in enumerate(scopes, 1)}
        await make_workflow(client, approval("a"), key=keys["workflows:write"])
        run = await trigger(client, key=keys["workflows:trigger"])
        path = f"/v1/workflow-runs/{run['id']}"
        asked = [
            ("workflows:read", "GET", "/v1/workflows"), ("workflows:read", "GET", "/v1/workflows/flow"),
            ("workflows:read", "POST", "/v1/workflows/dry-run"), ("workflows:read", "GET", path),
            ("workflows:read", "GET", f"{path}/steps"), ("workflows:read", "GET", f"{path}/steps/a"),
            ("workflows:read", "GET", f"{path}/graph"), ("workflows:read", "GET", f"{path}/timeline"),
            ("workflows:write", "PATCH", "/v1/workflows/flow"), ("workflows:write", "POST", f"{path}/pause"),
            ("workflows:write", "POST", f"{path}/resume"),
            ("workflows:write", "POST", f"{path}/steps/a/approve"),
            ("workflows:trigger", "POST", "/v1/workflows/flow/trigger"),
            ("workflows:write", "DELETE", "/v1/workflows/flow"),
        ]  # fmt: skip
        for scope, method, target in asked:
            for each, key in keys.items():
                answer = await client(method, target, {} if method in ("POST", "PATCH") else None, key=key)
                allowed = answer.status in (200, 201)
                assert allowed if each == scope else answer.status == 403, (each, method, target, answer.body)


async def test_a_key_that_is_revoked_changes_nothing(config: Config) -> None:
    async with opened(config, dev=False) as client:
        admin, key = await make_api_key(client, None, "*"), await make_api_key(client, "a", "*", number=2)
        await make_workflow(client, key=key)
        assert (await client("DELETE", f"/v1/api-keys/{key[4:20]}", key=admin)).status == 200
        for method, path in (
            ("POST", ""),
            ("PATCH", "/flow"),
            ("DELETE", "/flow"),
            ("POST", "/flow/trigger"),
        ):
            body = None if method == "DELETE" else definition(name="x", slug="new")
            answer = await client(method, f"/v1/workflows{path}", body, key=key)
            assert answer.status == 401, (method, path)
        everything = await client("GET", "/v1/workflows?project_id=a", key=admin)
        assert [(each["slug"], each["version"]) for each in everything.json["data"]] == [("flow", 1)]


# ---- without the libraries -----------------------------------------------------------------------


async def test_without_the_libraries_what_needs_them_says_how_to_get_them(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"))
    for name in ("conditions", "json_paths", "definition_checks"):
        monkeypatch.delitem(sys.modules, f"narrows.operations.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    async with opened(config) as client:
        path = f"/v1/workflow-runs/{run['id']}"
        for method, target in (
            ("POST", "/v1/workflows"), ("POST", "/v1/workflows/dry-run"), ("PATCH", "/v1/workflows/flow"),
            ("POST", "/v1/workflows/flow/trigger"), ("POST", f"{path}/retry"),
        ):  # fmt: skip
            answer = await client(method, target, {} if "run" in target else definition(name="x"))
            assert (answer.status, answer.json["code"]) == (503, "unavailable"), target
            assert answer.json["error"] == NOT_INSTALLED
            assert answer.headers["retry-after"] == "60"
        assert "pip install 'narrows[workflows]'" in NOT_INSTALLED
        for target in ("/v1/workflows", "/v1/workflows/flow", path, f"{path}/steps", f"{path}/graph"):
            assert (await client("GET", target)).status == 200
        assert (await client("POST", "/v1/events/a/send", {"payload": 1})).status == 200
        assert (await client("GET", path)).json["status"] == "completed"
        assert (await client("DELETE", "/v1/workflows/flow")).status == 200
        assert (await client("POST", "/v1/events", {"event_key": "other"})).status == 201


async def test_what_a_definition_brings_about_needs_no_scope_of_jobs_or_events(config: Config) -> None:
    """As the guide says, under "Who may do what": whoever gives these scopes away has to know."""
    async with opened(config, dev=False) as client:
        anything = await make_api_key(client, "a", "*")
        writes, triggers = [
            await make_api_key(client, "a", f"workflows:{verb}", number=number)
            for number, verb in enumerate(("write", "trigger"), 2)
        ]
        assert (await client("POST", "/v1/jobs", {"slug": "j"}, key=anything)).status == 201
        for key in (writes, triggers):
            assert (await client("POST", "/v1/jobs/j/trigger", {}, key=key)).status == 403
            assert (await client("POST", "/v1/events", {"event_key": "k"}, key=key)).status == 403
        steps = ({"step_ref": "run", "job_slug": "j"}, wait("k"))
        await make_workflow(client, *steps, key=writes)
        started = await trigger(client, key=triggers)
        runs = (await client("GET", "/v1/runs", key=anything)).json["data"]
        assert [run["workflow_run_id"] for run in runs] == [started["id"]]
        assert (await client("GET", "/v1/events/k", key=anything)).json["status"] == "waiting"
