"""Definitions of workflows over HTTP: made, changed, deleted, checked without being saved; every refusal. Who may do so is in
`test_workflow_access.py`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.config import Config
from narrows.testing import ManualClock
from tests.api.harness import make_api_key, opened
from tests.api.run_kit import make_job
from tests.api.workflow_kit import approval, definition, make_workflow, running, slugs, step, trigger, wait

NOBODY = "01a20a59-2952-7700-8000-1d650d1b38fa"


# ---- made, read, listed --------------------------------------------------------------------------


async def test_a_workflow_is_made_and_found_by_slug_and_id(config: Config) -> None:
    async with opened(config) as client:
        steps = [step("build"), wait("qa", "build", event_key="qa:{{payload.release}}", timeout_secs=60)]
        made = await make_workflow(
            client, *steps, name="Deploy", description="a\nb", tags={"team": "x"}, timeout_secs=3_600,
            max_parallel_steps=2,
        )  # fmt: skip
        assert made == {
            "id": made["id"], "project_id": "default", "slug": "flow", "name": "Deploy", "description": "a\nb",
            "tags": {"team": "x"}, "version": 1, "timeout_secs": 3_600, "max_parallel_steps": 2, "steps": steps,
            "created_at": made["created_at"], "updated_at": made["created_at"],
        }  # fmt: skip
        for named in ("flow", made["id"]):
            assert (await client("GET", f"/v1/workflows/{named}")).json == made
        for named in ("other", NOBODY):
            assert (await client("GET", f"/v1/workflows/{named}")).status == 404


async def test_what_is_left_out_is_nothing(config: Config) -> None:
    async with opened(config) as client:
        made = await make_workflow(client, name=None, tags={}, timeout_secs=None)
        assert (made["timeout_secs"], made["max_parallel_steps"]) == (0, 0)
        assert not {"name", "description", "tags"} & set(made)


async def test_steps_are_kept_as_they_were_sent(config: Config) -> None:
    payload = '{"price":1.50,"big":12345678901234567890123,"z":1e3,"a":"\u00fc"}'
    body = f'{{"slug": "flow", "steps": [{{"job_slug": "job",  "payload": {payload}, "step_ref": "a"}}]}}'
    async with opened(config) as client:
        made = await client("POST", "/v1/workflows", raw=body.encode())
        assert made.status == 201
        spelled = f'"steps":[{{"job_slug":"job","payload":{payload},"step_ref":"a"}}]'
        assert spelled in made.body.decode()
        assert spelled in (await client("GET", "/v1/workflows/flow")).body.decode()


async def test_workflows_are_listed_newest_first_without_their_definitions(config: Config) -> None:
    async with opened(config) as client:
        for slug in ("one", "two", "three"):
            await make_workflow(client, slug=slug, timeout_secs=5)
        first = (await client("GET", "/v1/workflows?limit=2")).json
        assert ([each["slug"] for each in first["data"]], first["has_more"]) == (["three", "two"], True)
        assert not {"steps", "timeout_secs", "max_parallel_steps"} & set(first["data"][0])
        rest = (await client("GET", f"/v1/workflows?limit=2&cursor={first['next_cursor']}")).json
        assert ([each["slug"] for each in rest["data"]], rest["has_more"]) == (["one"], False)
        for query in ("limit=0", "limit=x", "cursor=x"):
            assert (await client("GET", f"/v1/workflows?{query}")).status == 400


async def test_a_slug_is_taken_once_and_free_again_after_a_deletion(config: Config) -> None:
    async with opened(config) as client:
        first = await make_workflow(client)
        taken = await client("POST", "/v1/workflows", definition())
        assert (taken.status, first["id"] in taken.json["error"]) == (409, True)
        deleted = await client("DELETE", "/v1/workflows/flow")
        assert (deleted.status, deleted.json["id"], "steps" in deleted.json) == (200, first["id"], False)
        assert (await make_workflow(client))["id"] != first["id"]
        assert (await client("GET", f"/v1/workflows/{first['id']}")).status == 404
        assert (await client("DELETE", f"/v1/workflows/{first['id']}")).status == 404


async def test_runs_of_a_deleted_workflow_go_on_and_can_be_looked_at(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"), wait("b", "a"))
        await client("DELETE", "/v1/workflows/flow")
        assert (await client("POST", "/v1/workflows/flow/trigger", {})).status == 404
        for key in ("a", "b"):
            assert (await client("POST", f"/v1/events/{key}/send", {})).status == 200
        shown = (await client("GET", f"/v1/workflow-runs/{run['id']}")).json
        assert (shown["status"], shown["workflow_slug"]) == ("completed", "flow")
        assert len((await client("GET", f"/v1/workflow-runs/{run['id']}/steps")).json["data"]) == 2


# ---- faults --------------------------------------------------------------------------------------

FAULTY: dict[str, Any] = {
    "slug": "Ümlaut", "name": 5, "timeout_secs": -1,
    "steps": [
        step("a", "b"), step("b", "a"), step("b", payload=[1]), wait("c", "nowhere", veto="payload."),
        step("d", on_failure="explode", output_transform="$["), {"type": "guess"}, approval("e", min_approvals=0),
        wait("f", expected_schema={"$ref": "http://elsewhere/"}), step("g", type="sleep"),
    ],
}  # fmt: skip
FAULTS = (
    "wrong 'slug'", "wrong 'name'", "wrong 'timeout_secs'", "a -> b -> a", "same 'step_ref' 'b'", "an object",
    "'nowhere'", "wrong 'veto'", "unknown 'on_failure'", "wrong 'output_transform'", "no 'step_ref'",
    "unknown 'step_type'", "wrong 'min_approvals'", "wrong 'expected_schema'", "'sleep_duration'",
)  # fmt: skip


async def test_every_fault_is_told_at_once_when_it_is_made_changed_and_checked(config: Config) -> None:
    async with opened(config) as client:
        await make_workflow(client)
        made = await client("POST", "/v1/workflows", FAULTY)
        changed = await client("PATCH", "/v1/workflows/flow", FAULTY)
        checked = await client("POST", "/v1/workflows/dry-run", FAULTY)
        for answer in (made, changed):
            assert (answer.status, answer.json["code"]) == (400, "invalid_request")
            assert answer.json["details"] == checked.json["faults"]
            assert f"{len(checked.json['faults'])} faults" in answer.json["error"]
        said = "\n".join(checked.json["faults"])
        assert [fault for fault in FAULTS if fault not in said] == []
        assert (checked.status, checked.json["valid"]) == (200, False)
        assert (checked.json["order"], checked.json["depth"]) == ([], 0)
        assert await slugs(client) == ["flow"]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"name": "a\x07"}, "wrong 'name'"),
        ({"tags": {"": "x"}}, "tag without a name"),
        ({"tags": {"a": "\x01"}}, "wrong 'tags'"),
        ({"tags": {"\x01": "a"}}, "wrong 'tags'"),
        ({"tags": {"a": 1}}, "wrong 'tags'"),
        ({"tags": "x"}, "wrong 'tags'"),
        ({"steps": []}, "wrong 'steps'"),
        ({"steps": None}, "wrong 'steps'"),
        ({"steps": [wait("a")] * 1_001}, "wrong 'steps'"),
        ({"slug": None}, "no 'slug'"),
        ({"slug": NOBODY}, "wrong 'slug'"),
        ({"steps": [wait("a", event_notify_url="http://169.254.169.254/")]}, "wrong 'event_notify_url'"),
        ({"steps": [approval("a", notify_url="http://127.0.0.1/")]}, "wrong 'event_notify_url'"),
    ],
)
async def test_a_field_that_cannot_be_is_a_fault(config: Config, fields: Any, fault: str) -> None:
    async with opened(config) as client:
        made = await client("POST", "/v1/workflows", definition() | fields)
        assert (made.status, "has a fault" in made.json["error"]) == (400, True), made.body
        assert len(made.json["details"]) == 1
        assert fault in made.json["details"][0]
        checked = await client("POST", "/v1/workflows/dry-run", definition() | fields)
        assert checked.json == {
            "valid": False, "order": [], "depth": 0, "faults": made.json["details"], "notes": [],
        }  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [b"[]", b"7", b'"x"', b"{", b"\xff", b'{"slug":"a","slug":"b"}', b'{"x":NaN}', b'{"project_id":[1]}',
     b'{"x":"\\u0000"}', b'{"x":' + b"[" * 65 + b"]" * 65 + b"}", b'{"x":1e999}'],
)  # fmt: skip
async def test_what_is_no_json_object_is_400(config: Config, raw: bytes) -> None:
    async with opened(config) as client:
        await make_workflow(client)
        for method, path in (("POST", ""), ("POST", "/dry-run"), ("PATCH", "/flow")):
            answer = await client(method, f"/v1/workflows{path}", raw=raw)
            assert (answer.status, answer.json["code"]) == (400, "invalid_request"), (path, answer.body)


@pytest.mark.parametrize("raw", [b"", b" \n", b"{}"])
async def test_an_empty_body_is_an_empty_object(config: Config, raw: bytes) -> None:
    async with opened(config) as client:
        made = await make_workflow(client)
        missing = await client("POST", "/v1/workflows", raw=raw)
        assert (missing.status, len(missing.json["details"])) == (400, 2)  # slug and steps
        assert len((await client("POST", "/v1/workflows/dry-run", raw=raw)).json["faults"]) == 2
        assert (await client("PATCH", "/v1/workflows/flow", raw=raw)).json == made


async def test_a_definition_may_be_larger_than_other_bodies_and_no_larger_than_a_batch(
    config: Config,
) -> None:
    async with opened(config) as client:
        large = definition(step("a", payload={"x": "y" * 3_000_000}))
        assert (await client("POST", "/v1/workflows", large)).status == 201
        assert (await client("POST", "/v1/workflows/dry-run", large)).json["valid"]
        assert (await client("PATCH", "/v1/workflows/flow", large)).json["version"] == 1
        shown = (await client("GET", "/v1/workflows/flow")).json
        assert shown["steps"] == large["steps"]
        too_large = definition(step("a", payload={"x": "y" * 4_200_000}))
        for method, path in (("POST", ""), ("POST", "/dry-run"), ("PATCH", "/flow")):
            assert (await client(method, f"/v1/workflows{path}", too_large)).status == 413
        run = {"payload": "y" * 1_100_000}
        assert (await client("POST", "/v1/workflows/flow/trigger", run)).status == 413


async def test_a_definition_has_room_for_a_thousand_steps(config: Config) -> None:
    steps = [step("s0", payload={str(n): n for n in range(20)})]
    steps += [step(f"s{n}", f"s{n - 1}", payload={str(m): m for m in range(20)}) for n in range(1, 1_000)]
    async with opened(config) as client:
        checked = (await client("POST", "/v1/workflows/dry-run", definition(*steps))).json
        assert (checked["valid"], checked["depth"], checked["order"][-1]) == (True, 1_000, "s999")
        many = definition(step("a", payload={"x": [0] * 200_001}))
        refused = await client("POST", "/v1/workflows/dry-run", many)
        assert (refused.status, "200,000 members" in refused.json["error"]) == (400, True)


async def test_a_project_that_could_not_sign_makes_no_steps_that_notify(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "a", "*")  # its project has no signing secret
        url = "https://shop.example.com/hook"
        answer = await client("POST", "/v1/workflows", definition(wait("a", notify_url=url)), key=key)
        assert (answer.status, "signing secret" in answer.json["error"]) == (409, True)
        assert (await client("POST", "/v1/workflows", definition(), key=key)).status == 201


# ---- checked without being saved -----------------------------------------------------------------


async def test_a_dry_run_tells_the_order_and_depth_and_saves_nothing(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        steps = [step("d", "b", "c"), step("b", "a"), step("c", "a"), step("a")]
        checked = await client("POST", "/v1/workflows/dry-run", definition(*steps))
        assert (checked.status, checked.json) == (
            200, {"valid": True, "order": ["a", "b", "c", "d"], "depth": 3, "faults": [], "notes": []},
        )  # fmt: skip
        assert await slugs(client) == []


async def test_a_dry_run_notes_what_means_nothing_and_what_is_not_there_yet(config: Config) -> None:
    async with opened(config) as client:
        job = await make_job(client)
        deleted = await make_job(client, "deleted")
        await client("DELETE", "/v1/jobs/deleted")
        await make_workflow(client, slug="below")
        below = {"type": "sub_workflow"}
        steps = [
            step("a", colour="red"), step("b", job_slug="jbo"), step("c", job_slug=None, job_id=job["id"]),
            step("d", job_slug=None, job_id=deleted["id"]), step("e", **below, workflow_slug="below"),
            step("f", **below, workflow_slug="blow"), step("g", **below, workflow_slug="flow"),
        ]  # fmt: skip
        checked = (await client("POST", "/v1/workflows/dry-run", definition(*steps, owner="me"))).json
        assert (checked["valid"], checked["faults"]) == (True, [])
        assert checked["notes"] == [
            "The workflow has a field 'owner', which means nothing.",
            "Step 'a' has a field 'colour', which means nothing to it.",
            "Step 'b' names the job 'jbo', which is not there yet.",
            f"Step 'd' names the job '{deleted['id']}', which is not there yet.",
            "Step 'f' names the workflow 'blow', which is not there yet.",
        ]


async def test_either_name_of_a_field_is_taken_and_both_are_a_fault(config: Config) -> None:
    async with opened(config) as client:
        for fields in ({"type": "wait_for_event", "timeout_secs": 60}, {"step_type": "wait_for_event",
                       "event_timeout_secs": 60}):  # fmt: skip
            checked = await client(
                "POST", "/v1/workflows/dry-run", definition(step("a", event_key="k", **fields))
            )
            assert (checked.json["valid"], checked.json["notes"]) == (True, [])
        for both in ({"step_type": "sleep"}, {"timeout_secs": 1, "event_timeout_secs": 1}):
            checked = await client("POST", "/v1/workflows/dry-run", definition(wait("a", **both)))
            (fault,) = checked.json["faults"]
            assert "are one field" in fault


# ---- changed -------------------------------------------------------------------------------------


async def test_a_change_makes_a_version_and_runs_keep_theirs(config: Config) -> None:
    async with opened(config) as client:
        first = await make_workflow(client, wait("a"), wait("b", "a"), name="One", tags={"a": "b"})
        run = await trigger(client)
        changed = await client(
            "PATCH", "/v1/workflows/flow", {"steps": [wait("c")], "name": None, "timeout_secs": 60}
        )
        assert changed.status == 200
        assert changed.json["updated_at"] > first["updated_at"]
        expected = {key: value for key, value in first.items() if key != "name"} | {
            "steps": [wait("c")], "timeout_secs": 60, "version": 2, "updated_at": changed.json["updated_at"],
        }  # fmt: skip
        assert changed.json == expected == (await client("GET", "/v1/workflows/flow")).json
        steps = (await client("GET", f"/v1/workflow-runs/{run['id']}/steps")).json["data"]
        assert [each["step_ref"] for each in steps] == ["a", "b"]
        new = await trigger(client)
        assert (run["workflow_version"], new["workflow_version"]) == (1, 2)
        assert "due_at" in new
        assert "due_at" not in run


async def test_a_change_of_nothing_makes_no_version(config: Config) -> None:
    async with opened(config) as client:
        made = await make_workflow(client, name="One")
        for changes in (
            {},
            {"name": "One"},
            {"description": None},
            {"steps": made["steps"]},
            {"owner": "me"},
        ):
            changed = await client("PATCH", "/v1/workflows/flow", changes)
            assert (changed.status, changed.json) == (200, made), changes
        assert (await client("PATCH", "/v1/workflows/flow", {"name": "Two"})).json["version"] == 2


async def test_a_new_slug_is_checked_and_the_old_one_free(config: Config) -> None:
    async with opened(config) as client:
        made = await make_workflow(client)
        await make_workflow(client, slug="other")
        assert (await client("PATCH", "/v1/workflows/flow", {"slug": "other"})).status == 409
        assert (await client("PATCH", "/v1/workflows/flow", {"slug": None})).status == 400
        assert (await client("PATCH", f"/v1/workflows/{made['id']}", {"slug": "new"})).json["slug"] == "new"
        assert (await client("GET", "/v1/workflows/flow")).status == 404
        assert (await client("GET", f"/v1/workflows/{made['id']}")).json["slug"] == "new"
        for named in ("flow", NOBODY):
            assert (await client("PATCH", f"/v1/workflows/{named}", {"name": "x"})).status == 404


async def test_of_two_changes_of_one_version_one_is_told_of_the_other(config: Config) -> None:
    async with opened(config) as client:
        await make_workflow(client)
        names = [f"name {n}" for n in range(5)]
        answers = await asyncio.gather(
            *(client("PATCH", "/v1/workflows/flow", {"name": name}) for name in names)
        )
        done = [answer.json["name"] for answer in answers if answer.status == 200]
        shown = (await client("GET", "/v1/workflows/flow")).json
        assert (shown["version"], shown["name"] in done) == (1 + len(done), True)
        assert {answer.status for answer in answers} <= {200, 409}


# ---- once ----------------------------------------------------------------------------------------


async def test_one_idempotency_key_makes_one_workflow_and_repeats_its_reply(config: Config) -> None:
    async with opened(config) as client:
        first = await client("POST", "/v1/workflows", definition(name="x"), idempotency_key="a")
        await client("PATCH", "/v1/workflows/flow", {"steps": [wait("z")]})
        again = await client("POST", "/v1/workflows", definition(name="x"), idempotency_key="a")
        assert (again.status, again.json) == (201, first.json)
        assert again.headers["idempotency-replayed"] == "true"
        other = await client("POST", "/v1/workflows", definition(name="y"), idempotency_key="a")
        assert (other.status, "another body" in other.json["error"]) == (409, True)
        assert await slugs(client) == ["flow"]


async def test_a_key_is_free_again_after_a_day(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        await make_workflow(client)
        path = "/v1/workflows/flow/trigger"
        first = await client("POST", path, {}, idempotency_key="a")
        clock.advance(secs=86_399)
        assert (await client("POST", path, {}, idempotency_key="a")).json["id"] == first.json["id"]
        clock.advance(secs=2)
        assert (await client("POST", path, {}, idempotency_key="a")).json["id"] != first.json["id"]
