"""Invalid UTF-8, a NUL or a lone surrogate in a payload crash-loops the queue. Here escapes are kept as
they were sent, and a text that no database can hold fails its own operation alone."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import InternalError
from tests.storage.kit import Backend, opened


@pytest.mark.parametrize(
    "payload", ['"\\u0000"', '"\\ud800"', '"a\\u0000b\\udfff"', '{"\\u0000":"\U0010ffff"}']
)
@pytest.mark.parametrize("large", [False, True])
async def test_escapes_are_kept_as_sent(backend: Backend, payload: str, large: bool) -> None:
    text = f"[{payload},{'1,' * 2_000 if large else ''}1]"
    async with opened(backend) as bench:
        await bench.open("a", 0, request_payload=text)
        await bench.send("a", text)
        stored = await bench.get("a")
        assert (stored.request_payload, stored.response_payload) == (text, text)
        await bench.send("b", text, hold_secs=60)
        assert (await bench.open("b", 0)).status == TriggerStatus.RECEIVED
        assert (await bench.get("b")).response_payload == text


@pytest.mark.parametrize("poison", ['"\ud800"', '"\udfff' + "x" * 2_000 + '"'])
async def test_raw_poison_fails_alone_and_the_queue_goes_on(backend: Backend, poison: str) -> None:
    async with opened(backend) as bench:
        for key in "abc":
            await bench.open(key, 0)
        good, bad, also_good = await bench.together(
            bench.sending("a", "1"), bench.sending("b", poison), bench.sending("c", "3")
        )
        assert isinstance(bad, InternalError)
        assert good.trigger.response_payload == "1"
        assert also_good.trigger.response_payload == "3"
        assert (await bench.send("b", "2")).trigger.response_payload == "2"
