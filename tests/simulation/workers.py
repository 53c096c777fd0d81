"""Who executes the simulation's runs: workers that claim them, and endpoints that the server calls. Both do
it by handlers (`handlers.py`), and both misbehave by chance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from narrows.errors import Refusal
from narrows.operations.base import Actor
from narrows.operations.dispatch import Claim
from narrows.outgoing.answers import Answer
from tests.simulation.handlers import Handler
from tests.simulation.values import Violation, same_json

if TYPE_CHECKING:
    from tests.simulation.world import World

#: What an endpoint does -> weight.
MANNERS = {"plain": 30, "handle": 45, "hang": 4, "slow": 6, "error": 10, "redirect": 2, "network": 3}
ERRORS = ((500, None), (503, 2), (429, 5), (429, None), (404, None), (400, None))


class Worker(Handler):
    """Claims runs of the jobs without an endpoint, and executes them one after the other."""

    async def run(self) -> None:
        await self.world.up.wait()
        projects = self.world.character.projects
        while True:
            claimed = await self._claim(projects[self.number % len(projects)])
            for run in claimed or ():
                await self._execute_claimed(run)
            if not self.world.calm:
                await (self._stroke() if self.rng.random() < 0.5 else self._pause())

    async def _claim(self, project_id: str) -> Any:
        rng, jobs = self.rng, self.world.model.jobs.values()
        fetched = [job for job in jobs if job.project_id == project_id and not job.is_pushed]
        if rng.random() < 0.5:  # a run of these may be handed to him by the commit that queues it
            fetched = [job for job in fetched if job.max_concurrency is None]
        claim = Claim(
            project_id,
            tuple(job.id for job in fetched),
            rng.choice((1, 1, 1, 2, 3)),
            f"worker:{self.number}",
            rng.choice((2, 5, 20, 60)) * 1_000_000,
            Actor(f"worker:{self.number}"),
        )
        wait_secs = 30.0 if self.world.calm else rng.choice((0, 1.0, 4.0))
        found = await self._ask(lambda service: service.claims.claim(claim, wait_secs), again=False)
        return () if isinstance(found, Refusal) else found

    async def _execute_claimed(self, run: Any) -> None:
        if not self.world.calm and self.rng.random() < 0.05:
            return  # killed before it began; another takes its place
        await self.execute(run.project_id, run.id, run.dispatch)


class Endpoints(Handler):
    """All endpoints, as `Caller` reaches them. What they do goes on when the server that called dies."""

    def __init__(self, world: World, number: int, rng: Any) -> None:
        super().__init__(world, number, rng)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_secs: float, max_answer_bytes: int
    ) -> Answer:
        task = self.world.aside(self._answer(body, headers, timeout_secs))
        try:
            async with asyncio.timeout(timeout_secs):
                return await asyncio.shield(task)
        except TimeoutError:
            return Answer(None, b"", f"no answer within {timeout_secs} s", None)

    async def _answer(self, body: bytes, headers: Mapping[str, str], timeout_secs: float) -> Answer:
        rng = self.rng
        project_id, run_id, number = headers["X-Run-Token"].split()
        dispatch = int(number)
        self._check_call(run_id, dispatch, body, headers)
        (manner,) = ["plain"] if self.world.calm else rng.choices(list(MANNERS), list(MANNERS.values()))
        if manner == "network":
            return Answer(None, b"", "the connection broke", None)
        if manner == "redirect":
            return Answer(302, b"", "a redirect", None)
        if manner == "error":
            status, retry_after_secs = rng.choice(ERRORS)
            return Answer(status, b"", f"{status}", retry_after_secs)
        if manner == "hang":
            await asyncio.sleep(timeout_secs + 3)
        elif manner == "slow":
            await asyncio.sleep(rng.random() * 12)
        elif manner == "handle":
            await self._handle(project_id, run_id, dispatch)
        return Answer(200, (rng.choice(self.world.character.payloads) or "").encode(), None, None)

    async def _handle(self, project_id: str, run_id: str, dispatch: int) -> None:
        """The handler asks to wait, or whatever, and then the request is answered by 2xx: at once, when the
        event has come already, or much later."""
        await self.execute(project_id, run_id, dispatch)
        if self.rng.random() < 0.3 and not self.world.calm:
            await asyncio.sleep(self.rng.choice((0.1, 2.0, 15.0)))

    def _check_call(self, run_id: str, dispatch: int, body: bytes, headers: Mapping[str, str]) -> None:
        """What the endpoint is told is what the run has, and who resumed it."""
        run = self.world.model.runs.get(run_id)
        if run is None or run.dispatch != dispatch or run.status != "executing":
            return
        if not same_json(body.decode(), run.payload or "null"):
            raise Violation(f"{run} was dispatched with the payload {body!r}")
        if run.group is not None and run.replay_of is None and run.group.ended_by is not None:
            told, ended_by = headers.get("X-Resume-Trigger"), run.group.ended_by
            if told != ended_by.id:
                raise Violation(f"{run} was told that {told} resumed it, and it was {ended_by}")
