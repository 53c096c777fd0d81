"""A generic request time-out kills the stream; a change between the first read and the subscription is
never seen; a time-out never reaches the stream. Here streams have no time-out of a request, subscribe
before they read, and hear of every commit, the timer's too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.config import Config
from narrows.operations.base import HOST
from narrows.operations.events import SendEvent
from narrows.operations.reads import GetTrigger, GetTriggerById
from narrows.operations.triggers import ExpireTriggers
from narrows.testing import ManualClock
from tests.api.harness import opened


async def _stream(client: Any, path: str) -> str:
    body: bytes = (await asyncio.wait_for(client("GET", path), 4)).body
    return body.decode()


@pytest.mark.parametrize("after", [GetTrigger, GetTriggerById])
async def test_a_change_between_the_first_read_and_the_subscription_is_seen(
    config: Config, monkeypatch: pytest.MonkeyPatch, after: type
) -> None:
    async with opened(config) as client:
        made = (await client("POST", "/v1/events", {"event_key": "k"})).json
        service, reads = client.api.service, 0
        read = service.read

        async def settled_right_after(question: Any) -> Any:
            nonlocal reads
            answer = await read(question)
            if isinstance(question, after):
                reads += 1
                if reads == 1:
                    await service.perform(
                        SendEvent(
                            actor=HOST, project_id="default", entropy=1, payload="1", trigger_id=made["id"]
                        )
                    )
            return answer

        monkeypatch.setattr(service, "read", settled_right_after)
        frames = await _stream(client, "/v1/events/k/stream")
        assert f"id: {made['id']}.2" in frames
        assert '"status":"received"' in frames


async def test_a_time_out_reaches_the_stream(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        made = (await client("POST", "/v1/events", {"event_key": "k", "timeout_secs": 3600})).json
        streaming = asyncio.create_task(_stream(client, f"/v1/triggers/{made['id']}/stream"))
        while not client.api.streams.open_count:
            await asyncio.sleep(0.01)
        clock.advance(secs=3601)  # far longer than any request may take; the stream is there still
        expire = ExpireTriggers(ids=(("default", made["id"]),), entropy=1)
        assert await client.api.service.perform(expire)
        assert '"status":"timed_out"' in await streaming
