"""A dropped listener with no poll behind it: the waiter sleeps till its time-out. Here the feed is a hint:
who missed the news of a commit finds what it wrote by looking again, the roles within half a minute, a
worker by his next claim."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from narrows.core.run_records import Job, Run
from narrows.core.runs import WORKER_LEASE_US
from narrows.core.signing_secrets import first_secret
from narrows.core.states import DeliveryStatus
from narrows.engine.consume import ConsumeMessagesRole
from narrows.engine.deliver import DeliverRole
from narrows.engine.dispatch import DispatchRole
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.in_flight import RENEW_US
from narrows.engine.loop import SAFETY_POLL_US, Engine
from narrows.engine.runs_due import WakeRunsRole
from narrows.operations.access import CreateProject
from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, DispatchResult
from narrows.operations.jobs import DeleteJob
from narrows.operations.reads.deliveries import ListDeliveries
from narrows.operations.run_plane import SleepRun
from narrows.operations.runs import CancelRun
from narrows.outgoing.answers import Answer
from narrows.testing import settle
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.runs import SECOND, PutJob, Runs

URL = "http://one.example/x"
#: For what must come, on a machine however busy.
PATIENCE_SECS = 30
DONE = DispatchResult(True, "1", None, False, None)


class Endpoints:
    """Answers at once, unless it is told to `hang`."""

    def __init__(self) -> None:
        self.called: list[Run] = []
        self.urls: list[str | None] = []
        self.hang = False
        self.broken_off = 0

    async def call(self, run: Run, job: Job, luggage: Any) -> DispatchResult:
        self.called.append(run)
        self.urls.append(job.endpoint_url)
        if self.hang:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.broken_off += 1
                raise
        return DONE


class Caller:
    """Takes every delivery."""

    def room(self, url: str) -> int:
        return 50

    async def post(self, url: str, body: bytes, headers: Any, **limits: Any) -> Answer:
        return Answer(200, b"", None, None)


class Life:
    """An engine on a bench whose feed may go deaf."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.runs, self.endpoints = bench, Runs(bench), Endpoints()
        service = bench.service
        self.engine = Engine(
            service,
            [
                ExpireTriggersRole(service),
                WakeRunsRole(service, "server:now"),
                ConsumeMessagesRole(service),
                DispatchRole(service, self.endpoints, "server:now", 200),  # type: ignore[arg-type]
                DeliverRole(service, Caller(), lambda parcel: b"{}", lambda *given: {}),  # type: ignore[arg-type]
            ],
        )

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """What is committed meanwhile is heard by nobody."""
        feed = self.bench.feed
        heard, feed._subscribers = feed._subscribers, []
        try:
            yield
        finally:
            feed._subscribers = heard

    async def rest(self) -> None:
        """Until every role sleeps, with looks at the store in between."""
        store = self.bench.store
        for _ in range(20):
            await self.bench.stats()
            while store.queue_length or store.pace._awaited:  # a commit may take longer than many looks
                await self.bench.stats()
            await settle(10)

    async def half_a_minute(self) -> None:
        for _ in range(SAFETY_POLL_US // RENEW_US):
            self.bench.clock.advance(us=RENEW_US)
            await self.rest()

    async def status(self, run: Run) -> str:
        return str((await self.runs.get(run)).status)

    async def delivery_status(self) -> str:
        page = await self.bench.store.read(ListDeliveries(project_id=PROJECT, limit=10))
        (delivery,) = page.items
        return str(delivery.status)

    async def is_delivered(self) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while await self.delivery_status() != DeliveryStatus.DELIVERED:
                await settle(5)

    async def becomes(self, run: Run, status: str) -> Run:
        async with asyncio.timeout(PATIENCE_SECS):
            while (found := await self.runs.get(run)).status != status:
                await settle(5)
        return found


@contextlib.asynccontextmanager
async def life(backend: Backend) -> AsyncIterator[Life]:
    async with opened(backend) as bench:
        secrets = first_secret("kept")
        await bench.perform(
            CreateProject(actor=DEV, id=PROJECT, entropy=1, exist_ok=True, signing_secrets=secrets)
        )
        found = Life(bench)
        found.engine.start()
        await found.rest()
        yield found
        await found.engine.stop()


async def test_a_queued_run_is_dispatched(backend: Backend) -> None:
    async with life(backend) as it:
        with it.deaf():
            await it.runs.put(endpoint_url=URL)
            run = await it.runs.trigger()
        await it.rest()
        assert await it.status(run) == "queued"
        await it.half_a_minute()
        await it.becomes(run, "completed")


async def test_a_job_that_got_an_endpoint_or_another_one_is_called_there(backend: Backend) -> None:
    async with life(backend) as it:
        job = await it.runs.put()
        run = await it.runs.trigger()
        await it.rest()
        assert await it.status(run) == "queued", "it is for workers"
        with it.deaf():
            await it.bench.perform(PutJob(job._replace(endpoint_url=URL, version=2)))
        await it.half_a_minute()
        await it.becomes(run, "completed")
        with it.deaf():
            await it.bench.perform(PutJob(job._replace(endpoint_url=URL + "/new", version=3)))
            second = await it.runs.trigger()
        await it.half_a_minute()
        await it.becomes(second, "completed")
        assert it.endpoints.urls == [URL, URL + "/new"]


async def test_a_run_that_its_event_resumed_is_dispatched_again(backend: Backend) -> None:
    async with life(backend) as it:
        it.bench.service.handing.desks.clear()  # what the commit itself hands out needs no news
        await it.runs.put(endpoint_url=URL)
        it.endpoints.hang = True
        run = await it.runs.trigger()
        await it.rest()
        await it.runs.wait(it.endpoints.called[0], "k", timeout_secs=3_600)
        it.endpoints.hang = False
        with it.deaf():
            await it.bench.send("k")
        await it.rest()
        assert await it.status(run) == "queued"
        await it.half_a_minute()
        await it.becomes(run, "completed")


async def test_a_delayed_run_and_a_lost_lease_are_woken(backend: Backend) -> None:
    async with life(backend) as it:
        await it.runs.put()
        with it.deaf():
            delayed = await it.runs.trigger(scheduled_at=it.bench.clock.now() + SECOND)
            lost = await it.runs.dispatch()
        await it.half_a_minute()
        await it.becomes(delayed, "queued")
        assert await it.status(lost) == "executing", "its lease holds still"
        await it.half_a_minute()
        await it.half_a_minute()
        assert (await it.becomes(lost, "queued")).attempt == 2


async def test_a_wait_of_a_run_times_out_and_a_sleep_ends(backend: Backend) -> None:
    async with life(backend) as it:
        await it.runs.put()
        waits, sleeps = await it.runs.dispatch(), await it.runs.dispatch()
        with it.deaf():
            await it.runs.wait(waits, "k", timeout_secs=1)
            await it.bench.perform(SleepRun(**it.runs.of_dispatch(sleeps), duration_secs=1, body_hash="s"))
        await it.half_a_minute()
        await it.becomes(waits, "timed_out")
        await it.becomes(sleeps, "queued")


async def test_a_webhook_is_sent(backend: Backend) -> None:
    async with life(backend) as it:
        with it.deaf():
            await it.bench.open("k", notify_url=URL)
        await it.rest()
        assert await it.delivery_status() == DeliveryStatus.PENDING
        await it.half_a_minute()
        await it.is_delivered()


async def test_the_runs_of_a_deleted_job_are_canceled(backend: Backend) -> None:
    async with life(backend) as it:
        await it.runs.put()
        run = await it.runs.trigger()
        deleting = DeleteJob(
            actor=DEV, project_id=PROJECT, entropy=it.bench.entropy(), job="build", cancel_runs=True
        )
        with it.deaf():
            await it.bench.perform(deleting)
        await it.rest()
        assert await it.status(run) == "queued"
        await it.half_a_minute()
        await it.becomes(run, "canceled")


async def test_a_request_whose_run_was_canceled_is_broken_off_with_the_next_renewal(backend: Backend) -> None:
    async with life(backend) as it:
        await it.runs.put(endpoint_url=URL)
        it.endpoints.hang = True
        run = await it.runs.trigger()
        await it.rest()
        cancel = CancelRun(actor=DEV, project_id=PROJECT, entropy=it.bench.entropy(), run_id=run.id)
        with it.deaf():
            await it.bench.perform(cancel)
        await it.rest()
        assert it.endpoints.broken_off == 0
        it.bench.clock.advance(us=RENEW_US)
        async with asyncio.timeout(PATIENCE_SECS):
            while not it.endpoints.broken_off:
                await settle(5)


async def test_a_worker_finds_it_by_his_next_claim(backend: Backend) -> None:
    async with life(backend) as it:
        await it.runs.put(max_concurrency=9)
        claim = Claim(PROJECT, ("build",), 1, "worker:w", WORKER_LEASE_US, DEV)
        claims = it.bench.service.claims
        waiting = asyncio.create_task(claims.claim(claim, 20))
        while not claims.waiting:
            await asyncio.sleep(0)
        with it.deaf():
            run = await it.runs.trigger()
        await it.rest()
        assert not waiting.done()
        it.bench.clock.advance(secs=20)
        assert await waiting == ()
        assert [each.id for each in await claims.claim(claim, 20)] == [run.id]


async def test_what_is_handed_out_by_the_commit_needs_no_news(backend: Backend) -> None:
    async with life(backend) as it:
        await it.runs.put()
        await it.runs.put("called", endpoint_url=URL)
        await it.rest()
        claim = Claim(PROJECT, ("build",), 1, "worker:w", WORKER_LEASE_US, DEV)
        claims = it.bench.service.claims
        waiting = asyncio.create_task(claims.claim(claim, 20))
        while not claims.waiting:
            await asyncio.sleep(0)
        with it.deaf():
            fetched, called = await it.runs.trigger(), await it.runs.trigger("called")
        assert [each.id for each in await waiting] == [fetched.id]
        await it.becomes(called, "completed")
