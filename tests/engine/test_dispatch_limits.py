"""How many runs are dispatched at once, over a real store and with the limits of the configuration: of a
server, of a host, of a job; and that nobody's backlog keeps somebody else waiting. The endpoints are a
double that answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from narrows.api.settings import ApiSettings
from narrows.config import Config
from narrows.core.run_records import Job, Run
from narrows.engine.dispatch import DispatchRole
from narrows.engine.loop import Engine
from narrows.engine.roles import all_roles
from narrows.engine.unmatched import UnmatchedBuffer
from narrows.operations.base import DEV
from narrows.operations.dispatch import MAX_CLAIMED, DispatchResult
from narrows.operations.runs import TriggerJob
from narrows.server import _outgoing
from narrows.testing import settle
from tests.storage.fixtures import backend
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.runs import PutJob

__all__ = ["backend"]

#: For what must come, on a machine however busy.
PATIENCE_SECS = 30
DONE = DispatchResult(True, "1", None, False, None)


class Endpoints:
    """Keeps every call until `answer`; knows how many there were at once, of everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[Run, asyncio.Future[DispatchResult]]] = []
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def call(self, run: Run, job: Job, luggage: Any) -> DispatchResult:
        names = ("all", f"project {run.project_id}", f"job {job.id}", f"url {job.endpoint_url}")
        self.now.update(names)
        self.most |= self.now
        future: asyncio.Future[DispatchResult] = asyncio.get_running_loop().create_future()
        self.calls.append((run, future))
        try:
            return await future
        finally:
            self.now.subtract(names)

    def answer(self, most: int) -> int:
        """Answer the oldest calls; how many there were."""
        waiting = [future for _, future in self.calls if not future.done()][:most]
        for future in waiting:
            future.set_result(DONE)
        return len(waiting)


class Life:
    """The engine of a server, as its composition root puts it together."""

    def __init__(self, bench: Bench, folder: Path, **options: Any) -> None:
        self.bench, self.endpoints = bench, Endpoints()
        config = Config(data=folder, **options)
        outgoing = _outgoing(config, ApiSettings(), bench.clock)
        roles = all_roles(
            bench.service,
            UnmatchedBuffer(),
            30,
            outgoing._replace(endpoints=self.endpoints),  # type: ignore[arg-type]
        )
        self.engine = Engine(bench.service, roles)
        (self.role,) = (role for role in roles if isinstance(role, DispatchRole))

    async def job(self, project_id: str, slug: str, host: str, **changes: Any) -> None:
        await self.bench.project(project_id, exist_ok=True)
        now = self.bench.clock.now()
        job = Job(
            project_id, slug, slug, None, None, f"http://{host}.example/", 300, 3, None, None, "[]",
            1, now, now, None,
        )  # fmt: skip
        await self.bench.perform(PutJob(job._replace(**changes)))

    async def trigger(self, project_id: str, slug: str, count: int) -> None:
        def triggering() -> TriggerJob:
            return TriggerJob(actor=DEV, project_id=project_id, entropy=self.bench.entropy(), job=slug)

        for start in range(0, count, 500):
            runs = range(min(500, count - start))
            await asyncio.gather(*(self.bench.perform(triggering()) for _ in runs))

    async def called(self, count: int) -> None:
        """Return once there were so many calls."""
        async with asyncio.timeout(PATIENCE_SECS):
            while len(self.endpoints.calls) < count:
                await asyncio.sleep(0)

    async def rest(self) -> None:
        """Some turns, with commits in between."""
        for _ in range(5):
            await self.bench.project(exist_ok=True)
            await settle(30)

    async def answer_all(self, count: int) -> None:
        """Answer whatever comes until so many have completed."""
        async with asyncio.timeout(PATIENCE_SECS):
            while self.role.in_flight.results["completed"] < count:
                self.endpoints.answer(len(self.endpoints.calls))
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def life(
    backend: Backend, folder: Path, *, started: bool = True, **options: Any
) -> AsyncIterator[Life]:
    async with opened(backend) as bench:
        found = Life(bench, folder, **options)
        if started:
            found.engine.start()
        yield found
        found.endpoints.answer(len(found.endpoints.calls))
        await found.engine.stop()


async def test_a_server_dispatches_at_most_200_at_once_and_50_to_a_host(
    backend: Backend, tmp_path: Path
) -> None:
    async with life(backend, tmp_path) as it:
        for number in range(10):
            await it.job(f"p{number}", "j", f"h{number % 5}")
            await it.trigger(f"p{number}", "j", 60)
        await it.called(200)
        await it.rest()
        assert it.endpoints.most["all"] == len(it.endpoints.calls) == 200
        await it.answer_all(600)
        assert it.endpoints.most["all"] == 200
        assert max(it.endpoints.now.values()) == 0
        assert len({run.id for run, _ in it.endpoints.calls}) == len(it.endpoints.calls) == 600


async def test_a_host_gets_at_most_50_at_once_from_all_jobs_and_projects(
    backend: Backend, tmp_path: Path
) -> None:
    async with life(backend, tmp_path, started=False) as it:
        for number in range(12):
            project_id, slug = f"p{number // 2}", f"j{number}"
            await it.job(project_id, slug, "", endpoint_url=f"http://Slow.example:{8_000 + number}/{slug}")
            await it.trigger(project_id, slug, 10)
        await it.job(PROJECT, "quick", "quick")
        await it.trigger(PROJECT, "quick", 5)
        it.engine.start()
        await it.called(55)
        await it.rest()
        slow = [run for run, _ in it.endpoints.calls if run.job_id != "quick"]
        assert len(slow) == 50
        assert len({run.job_id for run in slow}) == 12
        await it.answer_all(125)


async def test_max_concurrency_is_exact_at_every_moment(backend: Backend, tmp_path: Path) -> None:
    async with life(backend, tmp_path) as it:
        await it.job(PROJECT, "three", "h1", max_concurrency=3)
        await it.job(PROJECT, "free", "h2")
        await it.trigger(PROJECT, "three", 30)
        await it.trigger(PROJECT, "free", 20)
        await it.called(23)
        await it.rest()
        assert it.endpoints.most == {
            "all": 23,
            f"project {PROJECT}": 23,
            "job three": 3,
            "job free": 20,
            "url http://h1.example/": 3,
            "url http://h2.example/": 20,
        }
        await it.answer_all(50)
        assert it.endpoints.most["job three"] == 3


async def test_a_backlog_of_5000_keeps_no_other_project_waiting(backend: Backend, tmp_path: Path) -> None:
    async with life(backend, tmp_path, started=False, dispatches_per_host=10_000) as it:
        for slug in ("a", "b", "c"):
            await it.job("big", slug, slug)
        await it.trigger("big", "a", 3_000)
        await it.trigger("big", "b", 1_000)
        await it.trigger("big", "c", 1_000)
        it.engine.start()
        await it.called(180)
        await it.rest()
        assert len(it.endpoints.calls) == 180, "a tenth of the places is kept for whoever comes"
        await it.job("small", "j", "d")
        await it.trigger("small", "j", 10)
        await it.called(190)
        assert Counter(run.project_id for run, _ in it.endpoints.calls) == {"big": 180, "small": 10}
        assert Counter(run.job_id for run, _ in it.endpoints.calls[:180]) == {"a": 60, "b": 60, "c": 60}


async def test_a_backlog_at_a_host_keeps_no_other_project_of_that_host_waiting(
    backend: Backend, tmp_path: Path
) -> None:
    async with life(backend, tmp_path) as it:
        await it.job("big", "j", "shared")
        await it.trigger("big", "j", 1_000)
        await it.called(45)
        await it.rest()
        assert len(it.endpoints.calls) == 45, "a tenth of the host's places is kept for whoever comes"
        await it.job("small", "j", "shared")
        await it.trigger("small", "j", 10)
        await it.called(50)
        assert Counter(run.project_id for run, _ in it.endpoints.calls) == {"big": 45, "small": 5}
        it.endpoints.answer(30)
        await it.called(60)
        await it.rest()
        assert Counter(run.project_id for run, _ in it.endpoints.calls)["small"] == 10


async def test_places_that_become_free_go_to_each_project_in_turn(backend: Backend, tmp_path: Path) -> None:
    async with life(backend, tmp_path, dispatches=20) as it:
        await it.job("big", "j", "h1")
        await it.trigger("big", "j", 5_000)
        await it.called(18)
        await it.job("small", "j", "h2")
        await it.trigger("small", "j", 10)
        seen = 0
        while Counter(run.project_id for run, _ in it.endpoints.calls)["small"] < 10:
            seen = len(it.endpoints.calls)
            it.endpoints.answer(4)
            await it.called(seen + 1)
            await it.rest()
        # Both got about the same while both had something: its ten did not wait for the five thousand.
        assert seen < 60


async def test_more_places_than_one_commit_hands_out_are_all_used(backend: Backend, tmp_path: Path) -> None:
    count = MAX_CLAIMED + 150
    async with life(backend, tmp_path, dispatches=1_000, dispatches_per_host=1_000) as it:
        await it.job(PROJECT, "j", "h", endpoint_url=None)
        await it.trigger(PROJECT, "j", count)
        await it.job(PROJECT, "j", "h", version=2)
        await it.called(count)
        await it.answer_all(count)


async def test_a_job_that_nobody_knew_is_dispatched_when_a_place_is_free(
    backend: Backend, tmp_path: Path
) -> None:
    """The one place was taken when the news came, and the job that has it is nobody to claim for any more."""
    async with life(backend, tmp_path, started=False, dispatches=1) as it:
        await it.job(PROJECT, "a", "h")
        await it.job(PROJECT, "b", "h")
        it.engine.start()
        await it.trigger(PROJECT, "a", 1)
        await it.called(1)
        await it.job(PROJECT, "a", "h", endpoint_url=None, version=2)
        await it.trigger(PROJECT, "b", 1)
        await it.rest()
        it.endpoints.answer(1)
        await it.called(2)


@pytest.mark.parametrize("option", ["dispatches", "dispatches_per_host"])
async def test_a_limit_of_one_is_one(backend: Backend, tmp_path: Path, option: str) -> None:
    options: dict[str, Any] = {option: 1}
    async with life(backend, tmp_path, **options) as it:
        await it.job(PROJECT, "a", "h")
        await it.job("other", "b", "h")
        await it.trigger(PROJECT, "a", 3)
        await it.trigger("other", "b", 3)
        await it.answer_all(6)
        assert it.endpoints.most["all"] == 1
