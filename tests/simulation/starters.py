"""Clients that also start runs, cancel them and replay them, beside all that clients do with waits."""

from __future__ import annotations

import asyncio
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
    "start": 26, "cancel_run": 10, "replay": 5, "delete_job": 1,
}  # fmt: skip


class Starter(Client):
    """A client of runs."""

    async def _start(self) -> None:
        """One run, or several of one job in one moment, so that some lie queued behind others."""
        job = self.rng.choice(self.world.character.jobs) if self.rng.random() < 0.97 else "nobody"
        await asyncio.gather(*(self._start_one(job) for _ in range(self.rng.choice((1, 1, 1, 4)))))

    async def _start_one(self, job: str) -> None:
        rng, delay_us = self.rng, self.rng.choice((None, None, None, -1_000_000, 500_000, 4_000_000))
        operation = TriggerJob(
            **self._common(),
            job=job,
            payload=rng.choice(PAYLOADS),
            priority=rng.choice((0, 0, 0, 0, 5, -5)),
            scheduled_at=None if delay_us is None else self.world.clock.now() + delay_us,
        )
        await self._perform(operation)

    async def _cancel_run(self) -> None:
        """Any run, or some at the head of a queue from which somebody else may be about to claim."""
        await self._stroke()
        queued = [run for run in self.world.model.runs.values() if run.status == "queued"]
        if not queued or self.rng.random() < 0.2:
            return await self._with_a_run(CancelRun)
        job = self.rng.choice(queued).job
        queue = sorted((run for run in queued if run.job is job), key=lambda run: run.place)
        few = queue[: self.rng.choice((1, 2, 3))]
        await asyncio.gather(*(self._perform(self._about(CancelRun, run)) for run in few))
        return None

    async def _replay(self) -> None:
        await self._with_a_run(ReplayRun)

    async def _with_a_run(self, kind: Any) -> None:
        runs = list(self.world.model.runs.values())
        if not runs:
            return await self._start()
        await self._perform(self._about(kind, self.rng.choice(runs[-8:])))
        return None

    def _about(self, kind: Any, run: Any) -> Any:
        return kind(**{**self._common(), "project_id": run.project_id}, run_id=run.id)

    async def _delete_job(self) -> None:
        await self._perform(
            DeleteJob(
                **self._common(),
                job=self.rng.choice(self.world.character.jobs),
                cancel_runs=self.rng.random() < 0.6,
            )
        )
