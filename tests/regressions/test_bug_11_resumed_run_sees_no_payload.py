"""The resumed run never sees the payload, or its token expired during the wait. Here the payload stands with
the trigger, a dispatch after the wait finds it by the run's wait group however long that took, and a
token is bound to its dispatch and not to a time."""

from __future__ import annotations

import pytest

from narrows.keyring import Keyring
from narrows.operations.reads import RunCheckpoint
from narrows.operations.run_plane import SaveCheckpoint
from tests.storage.kit import PROJECT, Backend, opened
from tests.storage.runs import Runs

LONG = '"' + "p" * 5_000 + '"'


@pytest.mark.parametrize("payload", ["null", '{"approved":true}', LONG])
async def test_a_run_resumed_after_months_has_state_and_payload(backend: Backend, payload: str) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await bench.perform(SaveCheckpoint(**runs.of_dispatch(run), state='{"step":1}'))
        await runs.wait(run, "k", timeout_secs=31_536_000)
        bench.clock.advance(secs=300 * 86_400)
        await bench.send("k", payload)
        clock = bench.clock
    async with opened(backend, clock) as bench:  # and a restart in between
        (again,) = await Runs(bench).claim()
        checkpoint = await bench.store.read(RunCheckpoint(project_id=PROJECT, run_id=run.id))
        assert checkpoint.state == '{"step":1}'
        (trigger,) = checkpoint.triggers
        assert (trigger.status, trigger.response_payload) == ("received", payload)
        keyring = Keyring.of(b"k" * 32)
        token = keyring.run_token(PROJECT, again.id, again.dispatch)
        bench.clock.advance(secs=300 * 86_400)
        ticket = keyring.open_run_token(token, again.id)
        assert ticket is not None
        assert (ticket.project_id, ticket.run_id, ticket.dispatch) == (PROJECT, run.id, 2)
