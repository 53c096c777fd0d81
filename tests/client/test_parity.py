"""The two clients are columns over one set of calls: same methods, same signatures, same requests.
Generated from the methods, so that a new one cannot be left out."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from narrows.client import AsyncClient, BatchItem, Client, calls
from tests.client.conftest import Face
from tests.client.scripted import Answer, ManualPace, ScriptedServer

LIFE = {"close", "perform", "follow", "line"}
PASSED_ON = {"wait_once": {"trigger_id": "t1"}}
ARGUMENTS: dict[str, Any] = {
    "event_key": "a/b",
    "hold_secs": 60,
    "events": [BatchItem(event_key="a", payload=[1])],
    "prefix": "batch:",
    "callback_url": "http://elsewhere/h/token",
    "timeout_secs": 5,
    "older_than_days": 3,
    "held_id": "h1",
    "project_id": "p1",
    "scopes": ["events:read"],
    "api_key_id": "key1",
    "delivery_id": "d1",
    "job": "resize-image",
    "jobs": ["resize-image"],
    "slug": "resize-image",
    "run": "run1",
    "workflow": "deploy-gate",
    "definition": {"slug": "deploy-gate", "steps": []},
    "changes": {"name": None},
    "workflow_run": "run1",
    "step_ref": "sign-off",
}


def public(cls: type) -> dict[str, Any]:
    return {name: each for name, each in vars(cls).items() if not name.startswith("_") and name not in LIFE}


METHODS = public(Client)


def test_every_call_is_a_method_of_both() -> None:
    assert set(calls.__all__) <= set(METHODS)
    assert set(METHODS) == set(public(AsyncClient))


@pytest.mark.parametrize("name", METHODS)
def test_signature_and_docstring_are_the_same(name: str) -> None:
    ours, theirs = METHODS[name], public(AsyncClient)[name]
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert next(iter(inspect.signature(ours).parameters)) == "self"
    assert ours.__doc__ == theirs.__doc__
    assert ours.__doc__


def arguments(name: str) -> dict[str, Any]:
    """A value for each parameter that must have one, and for what names the wait."""
    found: dict[str, Any] = dict(PASSED_ON.get(name, {}))
    for each in inspect.signature(METHODS[name]).parameters.values():
        must = each.default is inspect.Parameter.empty or each.name == "event_key"
        if each.name != "self" and must and each.name not in found:
            found[each.name] = ARGUMENTS[each.name]
    return found


@pytest.mark.parametrize("name", METHODS)
def test_both_send_the_same_request(name: str, server: ScriptedServer) -> None:
    seen = []
    for kind in ("sync", "async"):
        face = Face(kind, url=server.url, api_key="k", project_id="p", pace=ManualPace())
        server.play(Answer(422, b"{}"))
        act = (
            face.collect
            if name in {"stream", "iterate", "iterate_runs", "iterate_workflow_runs"}
            else face.call
        )
        with pytest.raises(Exception, match="422"):
            act(name, **arguments(name))
        seen.append(server.seen[0])
    assert seen[0] == seen[1]
