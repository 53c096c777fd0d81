"""What a server says of itself."""

from __future__ import annotations

import pytest

from narrows.config import Config
from narrows.errors import NarrowsError, StorageError, Unavailable
from narrows.testing import ManualClock
from tests.api.harness import opened
from tests.api.workflow_kit import running, wait


async def test_a_server_lives_is_ready_and_names_its_versions(config: Config) -> None:
    async with opened(config, dev=False) as client:
        assert (await client("GET", "/livez")).json == {"status": "ok"}
        assert (await client("GET", "/readyz")).json == {"status": "ok"}
        version = (await client("GET", "/version")).json
        assert (version["name"], version["api_version"]) == ("narrows", "v1")


async def test_readiness_says_why_not(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        await client("POST", "/v1/events", {"event_key": "k"})
        clock.step_wall_back(secs=60)
        await client("POST", "/v1/events/k/send")
        behind = await client("GET", "/readyz")
        assert (behind.status, behind.json["status"]) == (503, "unavailable")
        assert "stepped back by 60 s" in behind.json["reasons"][0]
        clock.advance(secs=61)
        await client("POST", "/v1/events", {"event_key": "k2"})
        assert (await client("GET", "/readyz")).status == 200
        client.api.close()
        stopping = await client("GET", "/readyz")
        assert (stopping.status, stopping.json["reasons"]) == (503, ["The server is stopping."])
        assert stopping.headers["retry-after"] == "1"


async def test_what_fails_inside_stays_inside(config: Config) -> None:
    async with opened(config) as client:

        async def fail(read: object) -> None:
            raise RuntimeError("canary-internal")

        client.api.service.read = fail  # type: ignore[method-assign]
        answer = await client("GET", "/v1/events")
        assert (answer.status, answer.json["code"]) == (500, "internal")
        assert b"canary" not in answer.body


@pytest.mark.parametrize(
    "failure", [Unavailable("The store is away."), StorageError("disk I/O error")], ids=type
)
async def test_what_was_done_is_never_answered_as_not_done(
    config: Config, monkeypatch: pytest.MonkeyPatch, failure: NarrowsError
) -> None:
    """503 means that nothing was done: a client sends again, and a second workflow run was started."""
    async with opened(config) as client:
        run = await running(client, wait("a"))
        await client("POST", "/v1/jobs", {"slug": "job", "endpoint_url": "https://a.example/"})
        large = {"payload": {"text": "x" * 5_000}}
        await client("POST", "/v1/events", {"event_key": "k", "request_payload": large})
        service, is_away = client.api.service, False
        perform, read = service.perform, service.read

        async def performed(operation: object) -> object:
            nonlocal is_away
            outcome = await perform(operation)
            is_away = True
            return outcome

        async def read_unless_away(asked: object) -> object:
            if is_away:
                raise failure
            return await read(asked)

        monkeypatch.setattr(service, "perform", performed)
        monkeypatch.setattr(service, "read", read_unless_away)
        for method, path, body in (
            ("POST", "/v1/workflows/flow/trigger", {}),
            ("DELETE", f"/v1/workflow-runs/{run['id']}", None),
            ("POST", "/v1/events/k/send", large),
        ):
            answer = await client(method, path, body)
            assert (answer.status, answer.json["code"]) == (504, "outcome_unknown"), path
            assert "It was done" in answer.json["error"]
            is_away = False
        is_away = True
        assert (await client("GET", "/v1/workflow-runs")).status == 503
