"""Deadlock errors reach the client as 500. Here one writer takes what is asked of the same rows in one order;
whoever asks, in whatever order, gets an outcome or a refusal, never an error of the database."""

from __future__ import annotations

import asyncio
import random

from narrows.core.states import GroupMode
from narrows.errors import Refusal
from narrows.operations.base import DEV
from narrows.operations.runs import CancelRun
from tests.storage.kit import PROJECT, Backend, opened
from tests.storage.runs import Runs


async def test_crossing_changes_of_the_same_rows_never_fail(backend: Backend) -> None:
    order = random.Random(21)
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        for turn in range(12):
            keys = [f"{turn}:{letter}" for letter in "abcd"]
            first, second = await runs.dispatch(), await runs.dispatch()
            await runs.wait(first, *keys[:2], mode=GroupMode.ALL)
            await runs.wait(second, *keys[2:])
            ids = (first.id, second.id)
            changes = [
                *(bench.sending(key, "1") for key in keys * 2),
                *(bench.canceling(key) for key in keys),
                *(CancelRun(actor=DEV, project_id=PROJECT, entropy=turn, run_id=each) for each in ids),
                *(runs.claiming(limit=2, holder=f"worker:{number}") for number in range(3)),
            ]
            order.shuffle(changes)
            outcomes = await asyncio.gather(*map(bench.perform, changes), return_exceptions=True)
            errors = [each for each in outcomes if isinstance(each, BaseException)]
            assert all(isinstance(each, Refusal) for each in errors)
            assert len(errors) < len(outcomes)
        assert bench.store.writer.invariant_violations == 0
    assert backend.faults() == []
