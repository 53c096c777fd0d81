"""Idempotency keys over HTTP: once, the same answer again, and never a secret twice."""

from __future__ import annotations

import asyncio
from typing import Any

from narrows.config import Config
from tests.api.harness import make_api_key, opened


async def test_a_repeat_gets_the_first_answer_and_changes_nothing(config: Config) -> None:
    async with opened(config) as client:
        wait = {"event_key": "k"}
        first = await client("POST", "/v1/events", wait, idempotency_key="a")
        again = await client("POST", "/v1/events", wait, idempotency_key="a")
        other_name = await client("POST", "/v1/events", wait, x_idempotency_key="a")
        assert (first.status, again.status, other_name.status) == (201, 201, 201)
        assert first.json == again.json == other_name.json
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert (await client("GET", "/v1/events/stats")).json["total_count"] == 1


async def test_another_body_or_two_keys_or_a_bad_key_is_refused(config: Config) -> None:
    async with opened(config) as client:
        await client("POST", "/v1/events", {"event_key": "k"}, idempotency_key="a")
        other = await client("POST", "/v1/events", {"event_key": "k2"}, idempotency_key="a")
        assert other.status == 409
        both = await client("POST", "/v1/events", {}, idempotency_key="a", x_idempotency_key="b")
        assert both.status == 400
        for bad in ("", "x" * 256, "é"):
            answer = await client("POST", "/v1/events", {"event_key": "x"}, idempotency_key=bad)
            assert answer.status == 400, bad


async def test_refusals_are_not_kept(config: Config) -> None:
    async with opened(config) as client:
        early = await client("POST", "/v1/events/k/send", {"payload": 1}, idempotency_key="a")
        assert early.status == 404
        await client("POST", "/v1/events", {"event_key": "k"})
        assert (await client("POST", "/v1/events/k/send", {"payload": 1}, idempotency_key="a")).status == 200


async def test_the_scope_is_credential_method_and_raw_path(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        other = await make_api_key(client, "one", "*", number=2)
        for event_key in ("k1", "k2"):
            await client("POST", "/v1/events", {"event_key": event_key}, key=key)
        sent = {"payload": 1}
        await client("POST", "/v1/events/k1/send", sent, key=key, idempotency_key="a")
        for path, who in (("/v1/events/k2/send", key), ("/v1/events/k1/send", other)):
            answer = await client("POST", path, sent, key=who, idempotency_key="a")
            assert answer.status == 200
            assert "idempotency-replayed" not in answer.headers


async def test_a_secret_is_never_given_twice(config: Config) -> None:
    async with opened(config) as client:
        wait = {"event_key": "k", "callback_url": True}
        first = await client("POST", "/v1/events", wait, idempotency_key="a")
        trigger_id = first.json["id"]
        asked: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("/v1/events", wait, trigger_id),
            ("/v1/api-keys", {"scopes": ["*"]}, ""),
            (f"/v1/triggers/{trigger_id}/callback-urls", {}, ""),
        )
        for path, body, made in asked:
            await client("POST", path, body, idempotency_key="a")
            again = await client("POST", path, body, idempotency_key="a")
            assert again.status == 409
            assert made in again.json["error"]
            assert first.json["callback_url"][-43:].encode() not in again.body


async def test_held_batch_and_prefix_sends_are_replayed(config: Config) -> None:
    async with opened(config) as client:
        for event_key in ("p:1", "p:2", "q"):
            await client("POST", "/v1/events", {"event_key": event_key})
        batch = {"events": [{"event_key": "q", "payload": 1}, {"event_key": ""}, {"event_key": "no"}]}
        asked = (
            ("/v1/events/early/send", {"payload": 1, "hold_secs": 60}),
            ("/v1/events/batch", batch),
            ("/v1/events/prefix/p:/send", {"payload": 1}),
        )
        for path, body in asked:
            first = await client("POST", path, body, idempotency_key="a")
            again = await client("POST", path, body, idempotency_key="a")
            assert first.status == again.status, path
            assert first.json == again.json, path
            assert again.headers["idempotency-replayed"] == "true", path
        assert len((await client("GET", "/v1/held-events")).json["data"]) == 1


async def test_one_still_in_flight_is_409_with_retry_after(config: Config) -> None:
    async with opened(config) as client:
        wait = {"event_key": "k"}
        both = await asyncio.gather(
            client("POST", "/v1/events", wait, idempotency_key="a"),
            client("POST", "/v1/events", wait, idempotency_key="a"),
        )
        assert sorted(answer.status for answer in both) == [201, 409]
        late = next(answer for answer in both if answer.status == 409)
        assert late.headers["retry-after"] == "1"


async def test_a_purge_and_dry_runs_are_replayed(config: Config) -> None:
    async with opened(config) as client:
        await client("POST", "/v1/events", {"event_key": "p:1"})
        asked: list[tuple[str, dict[str, Any], str]] = [
            ("/v1/events/purge", {"older_than_days": 1}, "a"),
            ("/v1/events/purge", {"older_than_days": 1, "dry_run": True}, "b"),
            ("/v1/events/prefix/p:/send", {"dry_run": True}, "c"),
        ]
        for path, body, key in asked:
            first = await client("POST", path, body, idempotency_key=key)
            again = await client("POST", path, body, idempotency_key=key)
            other = await client("POST", path, body | {"more": 1}, idempotency_key=key)
            assert (first.status, again.status, other.status) == (200, 200, 409), (path, other.json)
            assert first.json == again.json
            assert "idempotency-replayed" not in first.headers
            assert again.headers["idempotency-replayed"] == "true"


async def test_at_a_callback_url_the_address_counts_and_no_key(config: Config) -> None:
    """As the reference says there: a repeat with an equal body changes nothing, whatever its key."""
    async with opened(config) as client:
        paths = []
        for event_key in ("k1", "k2"):
            wait = {"event_key": event_key, "callback_url": True}
            url = (await client("POST", "/v1/events", wait)).json["callback_url"]
            paths.append("/h/" + url.rpartition("/")[2])
        for path in (*paths, *paths):
            answer = await client("POST", path, {"paid": True}, idempotency_key="one for all")
            assert (answer.status, answer.json["status"]) == (200, "received")
            assert "idempotency-replayed" not in answer.headers
        assert (await client("POST", paths[0], {"paid": False}, idempotency_key="one for all")).status == 409
        document = (await client("GET", "/openapi.json")).json
        assert "Idempotency-Key" in document["paths"]["/h/{token}"]["post"]["description"]
