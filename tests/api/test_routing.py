"""Which route a raw path means: the rules of the contract, as a table."""

from __future__ import annotations

import pytest

from narrows.api.app import ROUTES
from narrows.api.routing import Router, WrongMethod
from narrows.errors import InvalidRequest, NotFound

ROUTER = Router(ROUTES)
LONG_KEY = "ü" * 256

MATCHES = [
    ("GET", "/v1/events", "list_triggers", ""),
    ("GET", "/v1/events/", "list_triggers", ""),
    ("POST", "/v1/events/", "open_trigger", ""),
    ("GET", "/v1/events/stats", "get_stats", ""),
    ("GET", "/v1/events/stats/", "get_stats", ""),
    ("DELETE", "/v1/events/stats", "cancel_trigger", "stats"),
    ("GET", "/v1/events/purge", "get_trigger", "purge"),
    ("GET", "/v1/events/purge/", "get_trigger", "purge/"),
    ("POST", "/v1/events/purge", "purge", ""),
    ("POST", "/v1/events/purge/", "purge", ""),
    ("GET", "/v1/events/batch", "get_trigger", "batch"),
    ("POST", "/v1/events/batch", "send_batch", ""),
    ("GET", "/v1/events/prefix", "get_trigger", "prefix"),
    ("POST", "/v1/events/stats/send", "send_event", "stats"),
    ("POST", "/v1/events/purge/send", "send_event", "purge"),
    ("POST", "/v1/events/batch/send", "send_event", "batch"),
    ("POST", "/v1/events/prefix/send", "send_event", "prefix"),
    ("POST", "/v1/events/prefix/send/", "send_event", "prefix"),
    ("POST", "/v1/events/prefix/order/send", "send_prefix", "order"),
    ("POST", "/v1/events/prefix/order/send/", "send_prefix", "order"),
    ("POST", "/v1/events/prefix/order//send", "send_prefix", "order/"),
    ("POST", "/v1/events/prefix/a/b/send", "send_prefix", "a/b"),
    ("POST", "/v1/events/prefix/a/send/send", "send_prefix", "a/send"),
    ("POST", "/v1/events/prefix%2Forder/send", "send_event", "prefix/order"),
    ("POST", "/v1/events/%70refix/order/send", "send_event", "prefix/order"),
    ("GET", "/v1/events/prefix/order", "get_trigger", "prefix/order"),
    ("GET", "/v1/events/prefix/order/stream", "stream_by_key", "prefix/order"),
    ("DELETE", "/v1/events/prefix/order", "cancel_trigger", "prefix/order"),
    ("POST", "/v1/events/a/b/send", "send_event", "a/b"),
    ("POST", "/v1/events/a%2Fb/send", "send_event", "a/b"),
    ("POST", "/v1/events/a//send", "send_event", "a/"),
    ("POST", "/v1/events/a/send/send", "send_event", "a/send"),
    ("POST", "/v1/events/a%2Fsend/send", "send_event", "a/send"),
    ("POST", "/v1/events/send/send", "send_event", "send"),
    ("GET", "/v1/events/a%2Fsend", "get_trigger", "a/send"),
    ("GET", "/v1/events/send", "get_trigger", "send"),
    ("GET", "/v1/events/stream", "get_trigger", "stream"),
    ("GET", "/v1/events/x%2Fstream", "get_trigger", "x/stream"),
    ("GET", "/v1/events/x/stream", "stream_by_key", "x"),
    ("GET", "/v1/events/x/stream/", "stream_by_key", "x"),
    ("GET", "/v1/events/x%2Fstream/stream", "stream_by_key", "x/stream"),
    ("GET", "/v1/events/order:1", "get_trigger", "order:1"),
    ("GET", "/v1/events/order%3A1", "get_trigger", "order:1"),
    ("GET", "/v1/events/order%3a1", "get_trigger", "order:1"),
    ("GET", "/v1/events/%6frder:1", "get_trigger", "order:1"),
    ("GET", "/v1/events/a+b%20c%2Bd", "get_trigger", "a+b c+d"),
    ("GET", "/v1/events/a%252Fb", "get_trigger", "a%2Fb"),
    ("GET", "/v1/events/a/", "get_trigger", "a/"),
    ("GET", "/v1/events//", "get_trigger", "/"),
    ("GET", "/v1/events//a", "get_trigger", "/a"),
    ("GET", "/v1/events/healthz", "get_trigger", "healthz"),
    ("GET", "/v1/events/livez", "get_trigger", "livez"),
    ("GET", "/v1/events/..", "get_trigger", ".."),
    ("GET", "/v1/events/%2e%2e", "get_trigger", ".."),
    ("GET", "/v1/events/../stats", "get_trigger", "../stats"),
    ("GET", "/v1/events/./a", "get_trigger", "./a"),
    ("POST", "/v1/events/../send", "send_event", ".."),
    ("GET", "/v1/events/%C3%BC" + "%C3%BC" * 255, "get_trigger", LONG_KEY),
    ("GET", "/v1/events/ü", "get_trigger", "ü"),
    ("HEAD", "/v1/events/a", "get_trigger", "a"),
    ("HEAD", "/v1/events", "list_triggers", ""),
    ("HEAD", "/h/token", "show_callback", "token"),
    ("GET", "/v1/triggers/7", "get_trigger", "7"),
    ("GET", "/v1/triggers/7/", "get_trigger", "7"),
    ("GET", "/v1/triggers/7/wait", "wait_for_trigger", "7"),
    ("GET", "/v1/triggers/7/stream", "stream_by_id", "7"),
    ("POST", "/v1/triggers/7/send", "send_event", "7"),
    ("POST", "/v1/triggers/7/extend/", "extend_trigger", "7"),
    ("DELETE", "/v1/held-events/7", "delete_held_event", "7"),
    ("POST", "/v1/api-keys/7/rotate", "rotate_api_key", "7"),
    ("GET", "/v1/jobs/", "list_jobs", ""),
    ("PATCH", "/v1/jobs/ship-order", "update_job", "ship-order"),
    ("POST", "/v1/jobs/trigger/trigger/", "trigger_job", "trigger"),
    ("GET", "/v1/runs/7/events", "list_run_events", "7"),
    ("GET", "/v1/runs/wait", "get_run", "wait"),
    ("GET", "/sdk/v1/runs/7/checkpoint", "get_checkpoint", "7"),
    ("POST", "/sdk/v1/runs/7/checkpoint/", "save_checkpoint", "7"),
    ("POST", "/sdk/v1/runs/7/wait-for-event", "wait_for_event", "7"),
    ("GET", "/livez", "livez", ""),
    ("GET", "/livez/", "livez", ""),
]


@pytest.mark.parametrize(("method", "path", "endpoint", "param"), MATCHES)
def test_a_raw_path_means_its_route(method: str, path: str, endpoint: str, param: str) -> None:
    route, found, inner = ROUTER.match(method, path.encode())
    assert (route.endpoint.__name__, found, inner) == (endpoint, param, "")


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "params"),
    [
        ("GET", "/v1/workflow-runs/7/steps", "list_workflow_run_steps", ("7", "")),
        ("GET", "/v1/workflow-runs/7/steps/", "list_workflow_run_steps", ("7", "")),
        ("GET", "/v1/workflow-runs/7/steps/a", "get_workflow_run_step", ("7", "a")),
        ("GET", "/v1/workflow-runs/7/steps/a/", "get_workflow_run_step", ("7", "a")),
        ("GET", "/v1/workflow-runs/7/steps/approve", "get_workflow_run_step", ("7", "approve")),
        ("GET", "/v1/workflow-runs/steps/steps/steps", "get_workflow_run_step", ("steps", "steps")),
        ("POST", "/v1/workflow-runs/7/steps/a/approve", "approve_step", ("7", "a")),
        ("POST", "/v1/workflow-runs/7/steps/skip/skip/", "skip_step", ("7", "skip")),
        ("POST", "/v1/workflow-runs/7/steps/retry/retry", "retry_step", ("7", "retry")),
        ("POST", "/v1/workflow-runs/7/retry", "retry_workflow_run", ("7", "")),
        ("POST", "/v1/workflow-runs/steps/retry", "retry_workflow_run", ("steps", "")),
        ("POST", "/v1/workflow-runs/%61%2F/steps/%62%2fc/skip", "skip_step", ("a/", "b/c")),
        ("GET", "/v1/workflows/dry-run", "get_workflow", ("dry-run", "")),
        ("POST", "/v1/workflows/dry-run", "dry_run_workflow", ("", "")),
        ("POST", "/v1/workflows/dry-run/trigger", "trigger_workflow", ("dry-run", "")),
    ],
)
def test_a_path_may_name_something_within_what_it_names(
    method: str, path: str, endpoint: str, params: tuple[str, str]
) -> None:
    route, *found = ROUTER.match(method, path.encode())
    assert (route.endpoint.__name__, tuple(found)) == (endpoint, params)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/events/a/send", "POST"),
        ("DELETE", "/v1/events/a/send", "POST"),
        ("GET", "/v1/events/prefix/a/send", "POST"),
        ("POST", "/v1/events/a/stream", "GET"),
        ("HEAD", "/v1/events/a/stream", "GET"),
        ("DELETE", "/v1/events/a/stream", "GET"),
        ("POST", "/v1/events/a", "DELETE, GET, HEAD"),
        ("POST", "/v1/events/send", "DELETE, GET, HEAD"),
        ("POST", "/v1/events/send/", "DELETE, GET, HEAD"),
        ("PUT", "/v1/events", "GET, HEAD, POST"),
        ("DELETE", "/v1/events/", "GET, HEAD, POST"),
        ("PUT", "/v1/events/purge", "DELETE, GET, HEAD, POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("GET", "/v1/stream-tokens", "POST"),
        ("DELETE", "/h/token", "GET, HEAD, POST"),
        ("POST", "/v1/workflow-runs/7/steps/retry", "GET, HEAD"),
        ("GET", "/v1/workflow-runs/7/steps/a/retry", "POST"),
    ],
)
def test_a_wrong_method_says_which_ones_are_right(method: str, path: str, allow: str) -> None:
    with pytest.raises(WrongMethod) as caught:
        ROUTER.match(method, path.encode())
    assert caught.value.allow == allow


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize("word", ["batch", "purge", "stats", "batch/", "purge/", "stats/"])
def test_allow_at_a_word_that_may_be_a_key_lists_what_works_there(word: str) -> None:
    works, told = set(), set()
    for method in METHODS:
        try:
            ROUTER.match(method, f"/v1/events/{word}".encode())
            works.add(method)
        except WrongMethod as refusal:
            told.add(refusal.allow)
    assert told == {", ".join(sorted(works))}
    assert works == {"GET", "HEAD", "DELETE"} | (set() if "stats" in word else {"POST"})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v1/event",
        "//v1/events",
        "/v1//events",
        "/V1/events",
        "/v1/Events/a",
        "/v1/%65vents/a",
        "/v1/./events",
        "/v1/x/../events",
        "/v1/triggers",
        "/v1/triggers/",
        "/v1/triggers/a/b",
        "/v1/jobs/a/b",
        "/v1/runs/a/heartbeat",
        "/v1/workflow-runs//steps/a",
        "/v1/workflow-runs/7/steps//approve",
        "/v1/workflow-runs/7/8/steps/a",
        "/v1/workflow-runs/7/steps/a/b",
        "/v1/workflow-runs/7/steps/a/b/approve",
        "/v1/workflow-runs/7/stepsa",
        "/sdk/v1/runs/a",
        "/sdk/v1/runs//payload",
        "/sdk/v1/runs/a/b/payload",
        "/v1/triggers/a/b/send",
        "/v1/triggers//send",
        "/v1/triggers/a/send/x",
        "/h/",
        "/h/a/b",
        "/livez//",
        "/livez/x",
        "/healthz",
        "/v1/api-keys/7/rotat",
    ],
)
def test_any_other_path_is_not_found(path: str) -> None:
    for method in ("GET", "POST", "DELETE", "HEAD"):
        with pytest.raises(NotFound):
            ROUTER.match(method, path.encode())


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/events/%",
        b"/v1/events/a%2",
        b"/v1/events/%zz",
        b"/v1/events/100%",
        b"/v1/events/%u0041",
        b"/v1/events/%ff",
        b"/v1/events/%C3",
        b"/v1/events/%ED%A0%80",
        b"/v1/events/\xff",
        b"/v1/events/%00",
        b"/v1/events/a%0Ab",
        b"/v1/events/%1F",
        b"/v1/events/%7F",
        b"/v1/events/a%09b/stream",
        b"/v1/events/" + b"a" * 513,
        b"/v1/events/" + b"%C3%BC" * 257,
        b"/v1/triggers/%",
        b"/v1/triggers/%00",
        b"/v1/runs/a%00b",
        b"/v1/workflow-runs/a/steps/%",
        b"/v1/workflow-runs/a/steps/b%00",
    ],
)
def test_a_key_that_cannot_be_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        ROUTER.match("GET", path)


@pytest.mark.parametrize("path", [b"/v1/events//send", b"/v1/events/prefix//send"])
def test_an_empty_key_or_prefix_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        ROUTER.match("POST", path)


def test_every_route_is_reached_by_its_own_pattern() -> None:
    for route in ROUTES:
        path = route.pattern.replace("{eventKey}", "k").replace("{prefix}", "p")
        path = path.replace("{workflow}", "w").replace("{step_ref}", "s")
        path = path.replace("{id}", "i").replace("{token}", "t").replace("{job}", "j").replace("{runID}", "r")
        assert ROUTER.match(route.method, path.encode())[0] is route


def test_every_route_has_a_summary_and_a_known_scope() -> None:
    from narrows.api.auth import SCOPES
    from narrows.api.routing import PUBLIC, RUN

    for route in ROUTES:
        assert route.summary, route
        assert route.scope in (PUBLIC, RUN) or route.scope in SCOPES
        assert route.scope != "*"
