"""Clients that also start runs, cancel them and replay them, beside all that clients do with waits."""

from __future__ import annotations

from typing import Any

from narrows.operations.jobs import DeleteJob
from narrows.operations.runs import CancelRun, ReplayRun, TriggerJob
from tests.simulation.clients import MIX, PAYLOADS, Client

#: The jobs that there are in each project: slug -> what is special. All but the pushed ones are fetched.
JOBS: dict[str, dict[str, Any]] = {
    "work": {"timeout_secs": 60, "max_attempts": 3},
    "work-one": {"timeout_secs": 10, "max_attempts": 2, "max_concurrency": 1},
    "push": {"timeout_secs": 10, "max_attempts": 4, "endpoint_url": "https://one.example/run"},
    "push-two": {
        "timeout_secs": 30, "max_attempts": 1, "max_concurrency": 2, "endpoint_url": "https://two.example/run",
    },
}  # fmt: skip
STARTER_MIX = {
    **{name: weight // 2 for name, weight in MIX.items()},
    "start": 40, "cancel_run": 5, "replay": 5, "delete_job": 1,
}  # fmt: skip


class Starter(Client):
    """A client of runs."""

    mix = STARTER_MIX

    async def _start(self) -> None:
        rng, delay_us = self.rng, self.rng.choice((None, None, None, -1_000_000, 500_000, 4_000_000))
        operation = TriggerJob(
            **self._common(),
            job=rng.choice(list(JOBS)) if rng.random() < 0.97 else "nobody",
            payload=rng.choice(PAYLOADS),
            priority=rng.choice((0, 0, 0, 0, 5, -5)),
            scheduled_at=None if delay_us is None else self.world.clock.now() + delay_us,
        )
        await self._perform(operation)

    async def _cancel_run(self) -> None:
        await self._with_a_run(CancelRun)

    async def _replay(self) -> None:
        await self._with_a_run(ReplayRun)

    async def _with_a_run(self, kind: Any) -> None:
        runs = list(self.world.model.runs.values())
        if not runs:
            return await self._start()
        run = self.rng.choice(runs[-8:])
        common = {**self._common(), "project_id": run.project_id}
        await self._perform(kind(**common, run_id=run.id))
        return None

    async def _delete_job(self) -> None:
        await self._perform(
            DeleteJob(**self._common(), job=self.rng.choice(list(JOBS)), cancel_runs=self.rng.random() < 0.6)
        )
