"""A canceled client request returns a connection to the pool with an open transaction. Here the writer
owns its connection and never sees a cancellation; reads leave no transaction open either."""

from __future__ import annotations

import asyncio

import pytest

from narrows.operations.base import DEV
from narrows.operations.prefix import SendPrefix
from narrows.operations.reads import ListTriggers
from tests.storage.kit import PROJECT, Backend, opened


async def test_canceled_operations_and_reads_leave_nothing_open(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.together(*(bench.opening(f"k{number}", 0) for number in range(50)))
        bench.gate.shut()
        operations = [asyncio.create_task(bench.send(f"k{number}", "1")) for number in range(20)]
        reads = [asyncio.create_task(bench.store.read(ListTriggers(project_id=PROJECT))) for _ in range(9)]
        await bench.gate.reached()
        for task in (*operations, *reads):
            task.cancel()
        bench.gate.open()
        ended = await asyncio.gather(*operations, *reads, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended[: len(operations)])
        assert (await bench.send("k40", "1")).status == 200
        assert len(await bench.listed()) == 50
        assert await backend.open_transactions(bench.store) == 0


async def test_a_prefix_send_goes_on_to_its_end_when_its_caller_is_gone(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.together(*(bench.opening(f"p:{number}", 0) for number in range(20)))
        bench.gate.shut()
        request = SendPrefix(DEV, PROJECT, "p:", "1", bench.entropy())
        sending = asyncio.create_task(bench.service.send_prefix(request))
        await bench.gate.reached()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        bench.gate.open()
        while (await bench.stats()).received < 20:
            await asyncio.sleep(0)
