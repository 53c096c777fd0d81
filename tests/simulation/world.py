"""One run of the simulation: a server that crashes, clients that send and wait, and the ledger that
checks every commit and every answer against the model."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from narrows.core.ids import make_id
from narrows.core.records import NEVER
from narrows.operations.access import CreateProject
from narrows.operations.base import HOST
from narrows.operations.jobs import CreateJob
from narrows.storage.queued import Ticket
from narrows.storage.writer import Result
from tests.simulation.character import character_of
from tests.simulation.clients import PROJECTS, Client
from tests.simulation.comparing import DUMP_COUNTERS, DUMP_HELD, DUMP_TRIGGERS, compare
from tests.simulation.ending import LATE_US, check_the_end, verify_store
from tests.simulation.ledger import CameDue
from tests.simulation.limits import small_limits
from tests.simulation.run_comparing import DUMP_RUN_COUNTERS, DUMP_RUNS, compare_runs
from tests.simulation.run_ending import LONGEST_END_US
from tests.simulation.server import Faults, Server, database, empty
from tests.simulation.starters import JOBS, Starter
from tests.simulation.values import DAY_US, Violation, Wait
from tests.simulation.virtual import VirtualClock, VirtualLoop
from tests.simulation.workers import Endpoints, Worker
from tests.simulation.workflow_clients import WorkflowClient, create_workflows
from tests.simulation.workflow_comparing import compare_everything
from tests.simulation.workflow_model import WorkflowModel
from tests.simulation.workflow_seen import Seen

SECOND_US = 1_000_000


class FeedLog(logging.Handler):
    """A subscriber of the feed that fails is logged and goes on; here it is a violation."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        self._fail(Violation(f"{record.getMessage()}: {record.exc_info}"))


@contextlib.contextmanager
def silence(fail: Callable[[BaseException], None]) -> Iterator[None]:
    """The server's log of planted faults is of no interest, but for what must never be logged."""
    ours, feed, handler = logging.getLogger("narrows"), logging.getLogger("narrows.feed"), FeedLog(fail)
    level, propagate = ours.level, feed.propagate
    ours.setLevel(logging.CRITICAL + 1)
    feed.setLevel(logging.ERROR)
    feed.propagate = False
    feed.addHandler(handler)
    try:
        yield
    finally:
        feed.removeHandler(handler)
        feed.propagate = propagate
        feed.setLevel(logging.NOTSET)
        ours.setLevel(level)


class World:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.character = character_of(seed)
        self.has_runs = self.character.has_runs
        self.has_workflows = self.character.has_workflows
        # One stream of chance each: a change in one place does not turn everything else over.
        self.loop = VirtualLoop(random.Random(f"{seed} loop"))
        self.clock = VirtualClock(self.loop, random.Random(f"{seed} bytes"))
        self.rng = random.Random(f"{seed} world")
        self.model = WorkflowModel()
        self.server: Server | None = None
        self.up = asyncio.Event()
        self.calm = False
        self.calm_at = 0
        self.crashes = 0
        self.commits = 0
        self.starts: list[int] = []
        self._trail: deque[tuple[int, tuple[Any, ...]]] = deque(maxlen=40)
        self.faults = Faults(self.loop)
        client = WorkflowClient if self.has_workflows else Starter if self.has_runs else Client
        self.clients = [
            client(self, number, random.Random(f"{seed} client {number}"))
            for number in range(self.character.clients)
        ]
        self.workers = [
            Worker(self, 10 + number, random.Random(f"{seed} worker {number}"))
            for number in range(self.character.workers * len(self.character.projects))
        ]
        self.endpoints = Endpoints(self, 20, random.Random(f"{seed} endpoints"))
        self._main: asyncio.Task[Any] | None = None
        self._mine: set[asyncio.Task[Any]] = set()
        self._problem: BaseException | None = None
        self.lives: list[tuple[int, int]] = []
        #: When the calls of the role that times waits out began and were answered.
        self.calls: list[tuple[int, int]] = []
        self.result = ""

    # ---- the run ----

    def run(self) -> str:
        """Run it all; returns the digest of the facts. Raises Violation."""
        empty(database().raw)
        self.loop.set_exception_handler(self._unhandled)
        with small_limits(), silence(self._fail):
            try:
                return self.loop.run_until_complete(self._story())
            except asyncio.CancelledError:
                assert self._problem is not None
                raise self._problem from None
            finally:
                self._clear_up()

    def _clear_up(self) -> None:
        self.loop.set_exception_handler(lambda loop, context: None)
        self.faults.enabled = False
        tasks = self.loop.tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    async def _story(self) -> str:
        self._main = asyncio.current_task()
        self._start_server()
        await self._open_projects()
        tasks = [self.outside_task(client.run()) for client in self.clients]
        for worker in self.workers:
            _ = self.aside(worker.run())
        crasher = self.outside_task(self._crash_now_and_then())
        await self._all_done(tasks)
        crasher.cancel()
        await self._calm_down()
        await check_the_end(self)
        return self.digest()

    async def _all_done(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        for task in tasks:
            await task
        if self._problem is not None:
            raise self._problem

    async def _open_projects(self) -> None:
        self.faults.enabled = False
        perform = self.require_server().service.perform
        for project_id in PROJECTS:
            await perform(CreateProject(actor=HOST, id=project_id, entropy=self.rng.getrandbits(64)))
            self._plant_needed(project_id)
        jobs = JOBS.items() if self.has_runs else ()
        creations = [
            CreateJob(
                actor=HOST, project_id=project_id, entropy=self.rng.getrandbits(64), slug=slug,
                signing_secrets="[]", **fields,
            )
            for project_id in PROJECTS
            for slug, fields in jobs
        ]  # fmt: skip
        await asyncio.gather(*map(perform, creations))
        if self.has_workflows:
            await asyncio.gather(*(create_workflows(self, project_id) for project_id in PROJECTS))
        self.faults.enabled = True

    def _plant_needed(self, project_id: str) -> None:
        """A wait of a root that never ends."""
        now, trigger_id, fact_id = (
            self.clock.now(),
            make_id(self.clock.now(), 1, 7),
            make_id(self.clock.now(), 2, 7),
        )
        raw = database().raw
        with raw:
            raw.execute(
                "insert into roots (project_id, id, kind, created_at) values (?, 'run', 'run', ?)",
                (project_id, now),
            )
            raw.execute(
                """insert into triggers (project_id, id, event_key, ordinal, version, trigger_type, source_type,
                     status, root_id, timeout_secs, requested_at, expires_at, opened_by, last_fact_id)
                   values (?, ?, 'needed', 1, 1, 'event', 'workflow_step', 'waiting', 'run', 0, ?, ?, 'engine', ?)""",
                (project_id, trigger_id, now, NEVER, fact_id),
            )
            raw.execute(
                "insert into facts values (?, ?, 'trigger.opened', ?, 'run', null, 'engine', 1, ?, null)",
                (project_id, fact_id, trigger_id, now),
            )
            raw.execute(
                "insert into counters (project_id, writer, waiting) values (?, 'local', 1)", (project_id,)
            )
        self.model.waits[trigger_id] = Wait(
            project_id, trigger_id, "needed", 1, 1, "waiting", None, 0, now, NEVER, None, None, needed=True
        )

    def outside_task(self, coroutine: Any) -> asyncio.Task[Any]:
        """A task of the outside world, which no crash ends."""
        task = self.loop.create_task(coroutine)
        self._mine.add(task)
        return task

    def aside(self, coroutine: Any) -> asyncio.Task[Any]:
        """One that nobody waits for: what it finds wrong ends the simulation all the same."""

        def ended(task: asyncio.Task[Any]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        task = self.outside_task(coroutine)
        task.add_done_callback(ended)
        return task

    def note(self, *what: Any) -> None:
        """Remember what happened; it is put into words only if somebody asks (`told`)."""
        self._trail.append((self.loop.elapsed_us, what))

    def told(self) -> list[str]:
        """What happened lately, a line each."""
        return [f"{at / SECOND_US:12.6f}  {' '.join(map(str, what))}" for at, what in self._trail]

    def remember_all(self) -> None:
        self._trail = deque()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Violation) or (error is not None and self.server is not None):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._problem is None:
            self._problem = error
            if self._main is not None:
                self._main.cancel()

    # ---- life and death ----

    def _start_server(self) -> None:
        self.note("the server starts")
        if self.crashes:
            verify_store()
        self.server = Server(self.loop, self.clock, self._executed, self._die, self.faults, self.endpoints)
        self.server.tell_calls("expire", self.calls)
        self.server.engine.start()
        self.lives.append((self.clock.now(), 0))
        self.up.set()

    def require_server(self) -> Server:
        assert self.server is not None
        return self.server

    def _die(self, step: str) -> None:
        """The process is gone: its memory, its tasks, whatever it had not committed."""
        if self.server is None:
            return
        self.note("crash at:", step)
        self.crashes += 1
        self.up.clear()
        self.server.die()
        self.server = None
        self.lives[-1] = (self.lives[-1][0], self.clock.now())
        self.loop.forget_pending()
        for task in self.loop.tasks():
            if task not in self._mine and task is not self._main:
                task.cancel()
        _ = self.aside(self._start_again())

    async def _start_again(self) -> None:
        down_us = self.rng.randrange(1_000, 3 * SECOND_US)
        if self.rng.random() < 0.2 and not self.calm:
            down_us = self.rng.randrange(DAY_US // 2, 40 * DAY_US)
        await asyncio.sleep(down_us / SECOND_US)
        self._start_server()

    async def _crash_now_and_then(self) -> None:
        while True:
            await self.up.wait()
            await asyncio.sleep(self.rng.expovariate(1 / 20))
            if self.server is not None:
                self._die("between two steps")

    # ---- the ledger ----

    def _executed(self, batch: Sequence[Ticket], result: Result, came_due: CameDue) -> None:
        """Called at the moment of a commit, before anybody is told; or when there will be none."""
        committed, wall = result.committed, self.clock.now()
        try:
            if committed is not None:
                self.model.seen = Seen(database().raw.execute)
                self.model.begin_batch(committed.now, wall, *came_due)
            for ticket, outcome in zip(batch, result.outcomes, strict=True):
                if committed is None:
                    if outcome.error is None:
                        raise Violation(f"{ticket.operation} succeeded without a commit")
                    continue
                self.note("committed", ticket.operation, "->", outcome.error or outcome.value)
                self.model.step(ticket.operation, outcome, committed.now, wall)
            if committed is not None:
                self.model.end_batch(committed.handed)
                self.commits += 1
                self.compare()
        except Violation as problem:
            self._fail(problem)

    def compare(self) -> None:
        query = database().raw.execute
        if self.has_workflows:
            compare_everything(self.model, query)
            return
        compare(self.model, query(DUMP_TRIGGERS), query(DUMP_HELD), query(DUMP_COUNTERS))
        if self.has_runs:
            compare_runs(self.model, query(DUMP_RUNS), query(DUMP_RUN_COUNTERS))

    # ---- the end ----

    async def _calm_down(self) -> None:
        """No further crash or fault: now everything that was promised has to come true by itself."""
        self.calm = True
        self.faults.enabled = False
        while self.server is None:
            await self.up.wait()
        self.calm_at = self.clock.now()
        await self._until_quiet()
        while self._is_something_left():
            if self.clock.now() > self.calm_at + DAY_US + LONGEST_END_US:
                break  # which ones, `check_the_end` tells
            await asyncio.sleep(2)
            await self._until_quiet()
        watchers = [task for client in self.clients for task in client.watchers_of_settled()]
        if watchers:
            _, blind = await asyncio.wait(watchers, timeout=1)
            if blind:
                raise Violation("somebody who watches a settled trigger was never told")
        await self._all_done(watchers)

    def _is_something_left(self) -> bool:
        """A run that goes on, or a wait that ends soon: handlers of before may still have opened one. Or a message,
        but for events that find no room."""
        return (
            bool(self._soon())
            or any(not run.has_ended and run.status != "waiting" for run in self.model.runs.values())
            or any(message.kind != "emit_event" for message in self.model.messages.values())
        )

    def _soon(self) -> list[int]:
        """When the waits end that end soon."""
        finite = [wait.expires_at for wait in self.model.waits.values() if wait.status == "waiting"]
        return [at for at in finite if at < self.calm_at + DAY_US]

    async def _until_quiet(self) -> None:
        """Until the waits that end soon have ended."""
        quiet_at = max([self.calm_at, *self._soon()]) + LATE_US
        await asyncio.sleep(max(0, quiet_at - self.clock.now()) / SECOND_US)

    def digest(self) -> str:
        """Of every fact and every trigger: the same seed gives the same digest."""
        found = hashlib.sha256()
        raw = database().raw
        for query in (
            "select * from facts order by project_id, id",
            f"{DUMP_TRIGGERS} order by 1, 2",
            DUMP_RUNS,
        ):
            for row in raw.execute(query):
                found.update(repr(row).encode())
        return found.hexdigest()
