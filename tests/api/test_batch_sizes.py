"""The size of a batch: what a large one costs others, and how large its reply may become."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from narrows.api import batch, bodies
from narrows.config import Config
from tests.api.harness import Client, opened


async def _received(client: Client, count: int, payload: str) -> list[dict[str, Any]]:
    """As many settled waits; resends of their payloads are answered with what is stored."""
    for number in range(count):
        await client("POST", "/v1/events", {"event_key": f"k{number}", "request_payload": payload})
        await client("POST", f"/v1/events/k{number}/send", {"payload": number})
    return [{"event_key": f"k{number}", "payload": number} for number in range(count)]


async def test_a_reply_beyond_its_limit_leaves_payloads_out_and_no_item(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_TRIGGERS_BYTES", 12_000)
    async with opened(config) as client:
        resends = await _received(client, 5, "x" * 5_000)
        events = [*resends, {"event_key": "nobody", "payload": 1}, {"event_key": "held", "hold_secs": 60}]
        for _ in range(2):  # the second is a replay
            answer = await client("POST", "/v1/events/batch", {"events": events}, idempotency_key="a")
            assert answer.json["payloads_left_out"] is True
            results = answer.json["results"]
            assert [each["status"] for each in results] == [200] * 5 + [404, 202]
            whole = ["request_payload" in each["trigger"] for each in results[:5]]
            assert whole == [True, True, False, False, False]
            assert [each["trigger"]["event_key"] for each in results[:5]] == [f"k{n}" for n in range(5)]
            assert all("response_payload" not in each["trigger"] for each in results[2:5])
            assert len(answer.body) < 16_000


async def test_a_thousand_stored_megabytes_are_not_answered(config: Config) -> None:
    async with opened(config) as client:
        (resend,) = await _received(client, 1, "x" * 1_000_000)
        answer = await client("POST", "/v1/events/batch", {"events": [resend] * 1000})
        assert len(answer.body) < 9_500_000
        assert {each["status"] for each in answer.json["results"]} == {200}


async def test_a_reply_within_its_limit_says_nothing_of_it(config: Config) -> None:
    async with opened(config) as client:
        events = await _received(client, 2, "x" * 5_000)
        answer = await client("POST", "/v1/events/batch", {"events": events})
        assert "payloads_left_out" not in answer.json


@pytest.mark.parametrize(("size_bytes", "on_loop"), [(1_000, True), (300_000, False)])
async def test_a_large_batch_is_decoded_beside_the_event_loop(
    config: Config, monkeypatch: pytest.MonkeyPatch, size_bytes: int, on_loop: bool
) -> None:
    threads: list[int] = []
    parse = bodies.parse

    def noted(body: bytes, decoder: Any) -> Any:
        threads.append(threading.get_ident())
        return parse(body, decoder)

    async with opened(config) as client:
        monkeypatch.setattr(bodies, "parse", noted)
        events = [{"event_key": "k", "payload": "x" * size_bytes, "hold_secs": 60}]
        answer = await client("POST", "/v1/events/batch", {"events": events})
        assert answer.json["results"][0]["status"] == 202
        assert (threads == [threading.get_ident()]) is on_loop
        broken = await client("POST", "/v1/events/batch", raw=b'{"events": [' + b" " * size_bytes)
        assert (broken.status, broken.json["code"]) == (400, "invalid_request")
