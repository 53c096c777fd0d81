"""Every route of the server has a client call: the route table is matched against the requests that
all calls make, with the server's own router."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.api.app import ROUTES
from narrows.api.routing import Route, Router
from narrows.client import BatchItem, calls, following
from narrows.client.call import Call
from narrows.client.calls.run_plane import RunPlane

PLANE = RunPlane("r", "token")
CALLS: list[Call[Any]] = [
    calls.open("k"),
    calls.get("k"),
    calls.get(trigger_id="t"),
    calls.list(status="waiting"),
    calls.stats(),
    calls.cancel("k"),
    calls.cancel(trigger_id="t"),
    calls.extend("t", timeout_secs=1),
    calls.wait_once(trigger_id="t"),
    calls.create_callback_url("t"),
    calls.purge(older_than_days=1),
    calls.explain("k"),
    calls.send("k"),
    calls.send(trigger_id="t"),
    calls.hold("k", hold_secs=1),
    calls.send_batch([BatchItem(event_key="k")]),
    calls.send_prefix("k"),
    calls.send_to_callback("/h/token"),
    calls.show_callback("/h/token"),
    calls.held_events(),
    calls.delete_held_event("h"),
    calls.unmatched_events(),
    calls.list_deliveries(status="failed", trigger_id="t"),
    calls.retry_delivery("d"),
    calls.create_project("p"),
    calls.rotate_project_secret("p"),
    calls.list_projects(),
    calls.create_api_key(scopes=[]),
    calls.list_api_keys(),
    calls.revoke_api_key("a"),
    calls.rotate_api_key("a"),
    calls.create_stream_token("k"),
    calls.list_jobs(),
    calls.create_job("j"),
    calls.get_job("j"),
    calls.update_job("j", name=None),
    calls.delete_job("j", cancel_runs=True),
    calls.rotate_job_secret("j"),
    calls.trigger_job("j"),
    calls.list_runs(status="queued", job="j", tag="t"),
    calls.get_run("r"),
    calls.cancel_run("r"),
    calls.run_events("r"),
    calls.wait_for_run_once("r"),
    calls.replay_run("r"),
    calls.claim_runs(["j"]),
    calls.list_workflows(limit=1),
    calls.create_workflow({"slug": "w"}),
    calls.dry_run_workflow({"slug": "w"}),
    calls.get_workflow("w"),
    calls.update_workflow("w", {"name": None}),
    calls.delete_workflow("w"),
    calls.trigger_workflow("w"),
    calls.list_workflow_runs(status="running", workflow="w", tag="t", parent_workflow_run_id="r"),
    calls.get_workflow_run("r"),
    calls.cancel_workflow_run("r"),
    calls.workflow_run_steps("r"),
    calls.workflow_run_step("r", "s"),
    calls.workflow_run_timeline("r", limit=1),
    calls.workflow_run_graph("r"),
    calls.pause_workflow_run("r"),
    calls.resume_workflow_run("r"),
    calls.retry_workflow_run("r"),
    calls.approve_step("r", "s"),
    calls.reject_step("r", "s"),
    calls.skip_step("r", "s"),
    calls.retry_step("r", "s"),
    PLANE.payload(),
    PLANE.get_checkpoint(),
    PLANE.save_checkpoint(1),
    PLANE.log("m"),
    PLANE.progress(1),
    PLANE.heartbeat(),
    PLANE.complete(1),
    PLANE.fail("e"),
    PLANE.release(),
    PLANE.sleep(1),
    PLANE.wait_for_event("k"),
    PLANE.wait_for_events(["k"]),
    calls.version(),
    calls.live(),
    calls.ready(),
    calls.metrics(),
    calls.openapi(),
    calls.reference(),
    *(
        Call(method="GET", path=source.path, reply=bytes)
        for source in (following.stream("k"), following.stream(trigger_id="t"))
    ),
]


def route_of(call: Call[Any]) -> Route:
    return Router(ROUTES).match(call.method, call.path.encode())[0]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_has_a_call(route: Route) -> None:
    assert any(route_of(call) is route for call in CALLS)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_every_call_has_its_route_reply_and_query(call: Call[Any]) -> None:
    route = route_of(call)
    if route.reply is not None and not route.stream:
        assert call.reply is route.reply
    assert {pair.partition("=")[0] for pair in call.query.split("&") if pair} <= set(route.query)
    assert (call.body is not None) <= (route.request is not None or route.pattern == "/h/{token}")


def test_keyed_calls_go_to_routes_that_keep_keys() -> None:
    assert [
        call.path for call in CALLS if call.repeat.value == "keyed" and not route_of(call).idempotent
    ] == []


@pytest.mark.parametrize(
    "key",
    ["stats", "purge", "prefix", "batch", "x/stream", "a/send", "healthz", "..", "%2e%2e", "a/", "ä" * 256],
)
def test_keys_that_look_like_routes_reach_their_key(key: str) -> None:
    for call, pattern in (
        (calls.cancel(key), "/v1/events/{eventKey}"),
        (calls.send(key), "/v1/events/{eventKey}/send"),
        (calls.send_prefix(key), "/v1/events/prefix/{prefix}/send"),
    ):
        route, found, _ = Router(ROUTES).match(call.method, call.path.encode())
        assert (route.pattern, found) == (pattern, key)
