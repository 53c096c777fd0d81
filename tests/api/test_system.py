"""What a server says of itself."""

from __future__ import annotations

from narrows.config import Config
from narrows.testing import ManualClock
from tests.api.harness import opened


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
