"""Every route of the table, attacked the same way: no key, no scope, other projects, bad bodies."""

from __future__ import annotations

import pytest
from msgspec.structs import fields as fields_of_struct

from narrows.api.app import ROUTES
from narrows.api.keys import make_key
from narrows.api.routing import PUBLIC, RUN, Route
from narrows.config import Config
from narrows.keyring import Keyring
from tests.api.harness import Answer, Client, make_api_key, opened

CLOSED = [route for route in ROUTES if route.scope != PUBLIC]
RUN_PLANE = [route for route in CLOSED if route.scope == RUN]
WITH_KEY = [route for route in CLOSED if route.scope != RUN]
WITH_BODY = [route for route in ROUTES if route.method in ("POST", "PATCH")]
SOME_ID = "01a20a59-2952-7700-8000-1d650d1b38fa"


def path_of(route: Route) -> str:
    path = route.pattern.replace("{eventKey}", "k").replace("{prefix}", "p").replace("{job}", "j")
    path = path.replace("{workflow}", "w").replace("{step_ref}", "s")
    return path.replace("{id}", SOME_ID).replace("{runID}", SOME_ID).replace("{token}", "t" * 43)


def token_for(client: Client, route: Route, project_id: str = "one") -> str | None:
    """What a route of the run plane is asked with; the run is not there."""
    keyring = client.api.settings.keyring
    return keyring.run_token(project_id, SOME_ID, 1) if route.scope == RUN else None


def check_problem(answer: Answer, status: int, code: str) -> None:
    problem = answer.json
    assert (answer.status, problem["code"]) == (status, code)
    assert problem["error"] == problem["message"]
    assert problem["error"].endswith(".")
    assert problem["request_id"] == answer.headers["x-request-id"]
    check_headers(answer)


def check_headers(answer: Answer) -> None:
    assert answer.headers["x-api-version"] == "v1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"]


async def test_without_a_key_every_closed_route_is_401(config: Config) -> None:
    async with opened(config, dev=False) as client:
        for route in CLOSED:
            answer = await client(route.method, path_of(route))
            check_problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer nrw_x", "Bearer " + "a" * 90]
)
async def test_what_is_no_key_of_ours_is_401(config: Config, header: str) -> None:
    async with opened(config) as client:  # also in dev, where a key that is given counts
        check_problem(await client("GET", "/v1/events", authorization=header), 401, "unauthenticated")


async def test_a_mistyped_or_unknown_key_is_401(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        assert (await client("GET", "/v1/events", key=key)).status == 200
        forged = make_key(key[4:20], b"x" * 32)  # its check is right, its secret is not
        for wrong in (
            forged,
            key[:-1] + ("0" if key[-1] != "0" else "1"),
            key[:30] + ("x" if key[30] != "x" else "y") + key[31:],
            key + "0",
        ):
            check_problem(await client("GET", "/v1/events", key=wrong), 401, "unauthenticated")


async def test_a_key_without_the_scope_is_403(config: Config) -> None:
    async with opened(config, dev=False) as client:
        others = {route.scope for route in WITH_KEY}
        none = await make_api_key(client, "one")
        for number, route in enumerate(WITH_KEY):
            check_problem(await client(route.method, path_of(route), key=none), 403, "forbidden")
            rest = await make_api_key(client, "one", *sorted(others - {route.scope}), number=number + 2)
            check_problem(await client(route.method, path_of(route), key=rest), 403, "forbidden")


async def test_admin_routes_are_closed_to_the_keys_of_projects(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        for route in CLOSED:
            if route.admin_only:
                check_problem(await client(route.method, path_of(route), key=key), 403, "forbidden")


#: Bodies that every route takes, so that it comes to look at the project.
REQUIRED = {
    "event_key": "k", "timeout_secs": 1, "older_than_days": 1, "events": [], "scopes": [], "slug": "s",
    "jobs": ["j"], "state": 1, "message": "m", "error": "e", "duration_secs": 1,
}  # fmt: skip
REQUIRED_BY: dict[str, dict[str, object]] = {f"/sdk/v1/runs/{SOME_ID}/wait-for-event": {"events": None}}


async def test_another_project_is_404_wherever_it_is_named(config: Config) -> None:
    async with opened(config, dev=False) as client:
        one = await make_api_key(client, "one", "*")
        await make_api_key(client, "two", "*", number=2)
        for route in CLOSED:
            key = token_for(client, route) or one
            if route.admin_only or route.pattern == "/metrics":
                continue
            path = path_of(route)
            required = REQUIRED | REQUIRED_BY.get(path, {})
            body = required if route.request is not None else None
            asked = "event_key=k&project_id=two"
            for answer in (
                await client(route.method, f"{path}?{asked}", body, key=key),
                await client(route.method, f"{path}?event_key=k", body, key=key, x_project_id="two"),
            ):
                check_problem(answer, 404, "not_found")
            if route.request is not None and "project_id" in fields_of(route.request):
                answer = await client(route.method, path, required | {"project_id": "two"}, key=key)
                check_problem(answer, 404, "not_found")


def fields_of(message: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields_of_struct(message))


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b"1", b"null", b'{"project_id":1}', b"\xff", b'{"a":"\\u0000"}', b'{"x":' + b"[" * 2000],
)
async def test_a_bad_body_is_400(config: Config, raw: bytes) -> None:
    async with opened(config) as client:
        for route in WITH_BODY:
            if route.secret_path or (route.pattern.startswith("/v1/api-keys/") and b"project_id" in raw):
                continue
            if b"project_id" in raw and route.request and "project_id" not in fields_of(route.request):
                continue
            key = token_for(client, route, "default")
            answer = await client(route.method, path_of(route), raw=raw, key=key)
            check_problem(answer, 400, "invalid_request")


async def test_an_oversized_body_is_413_everywhere(config: Config) -> None:
    async with opened(config, body_limit_bytes=1000, batch_limit_bytes=4000) as client:
        for route in ROUTES:
            answer = await client(route.method, path_of(route), raw=b" " * 4001)
            check_problem(answer, 413, "payload_too_large")


async def test_a_content_encoding_is_415(config: Config) -> None:
    async with opened(config) as client:
        for route in WITH_BODY:
            key = token_for(client, route, "default")
            answer = await client(route.method, path_of(route), {}, key=key, content_encoding="gzip")
            check_problem(answer, 415, "unsupported_media_type")


async def test_a_wrong_method_is_405_and_says_which_are_right(config: Config) -> None:
    async with opened(config) as client:
        for route in ROUTES:
            answer = await client("PUT", path_of(route))
            check_problem(answer, 405, "method_not_allowed")
            assert route.method in answer.headers["allow"].split(", ")


async def test_the_run_plane_takes_nothing_but_a_token_of_that_very_run(config: Config) -> None:
    async with opened(config) as client:  # in dev, where all else needs no key
        key = await make_api_key(client, "one", "*")
        admin = await make_api_key(client, None, "*", number=2)
        keyring = client.api.settings.keyring
        good = keyring.run_token("one", SOME_ID, 1)
        of_another_run = keyring.run_token("one", SOME_ID[:-1] + "b", 1)
        strange = Keyring.of(b"x" * 32).run_token("one", SOME_ID, 1)
        cut, longer = good[:-1], good + "A"
        for route in RUN_PLANE:
            path = path_of(route)
            for wrong in (None, key, admin, of_another_run, strange, cut, longer, "nrt_", ""):
                check_problem(await client(route.method, path, {}, key=wrong), 401, "unauthenticated")
            other_scheme = await client(route.method, path, {}, authorization=f"Basic {good}")
            check_problem(other_scheme, 401, "unauthenticated")
            in_url = await client(route.method, f"{path}?token={good}", {})
            check_problem(in_url, 401, "unauthenticated")
            host = await Client(client.api, as_host=True)(route.method, path, {})
            check_problem(host, 401, "unauthenticated")


async def test_a_run_token_opens_nothing_but_the_run_plane(config: Config) -> None:
    async with opened(config) as client:
        token = client.api.settings.keyring.run_token("default", SOME_ID, 1)
        for route in WITH_KEY:
            check_problem(await client(route.method, path_of(route), {}, key=token), 401, "unauthenticated")
            in_url = await client(route.method, f"{path_of(route)}?x={token}", {})
            check_problem(in_url, 401, "unauthenticated")


async def test_a_run_that_is_gone_is_404_for_its_token(config: Config) -> None:
    async with opened(config) as client:
        for route in RUN_PLANE:
            path = path_of(route)
            body = REQUIRED | REQUIRED_BY.get(path, {}) if route.request else None
            answer = await client(route.method, path, body, key=token_for(client, route))
            check_problem(answer, 404, "not_found")


async def test_no_path_and_no_key_opens_a_door(config: Config) -> None:
    async with opened(config, dev=False) as client:
        for path in (
            "/v1/events/livez",
            "/v1/events/docs",
            "/v1/events/healthz",
            "/v1/events//h/x",
            "/v1/events/..",
        ):
            check_problem(await client("GET", path), 401, "unauthenticated")
        check_problem(await client("GET", "/v1/nothing"), 404, "not_found")
