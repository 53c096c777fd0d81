"""What other nodes committed, as this one hears of it: it listens to their hints and publishes what
somebody here wants to know, as commits of elsewhere.

A connection that listens may be dropped without a word. So it is asked for a sign of life, opened again,
and until then, or where nobody listens at all, a poll each quarter of a second stands in for the hints:
whoever wants to know looks at the tables. Correctness never hangs on a hint.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from narrows.core.records import ApiKey, Trigger
from narrows.core.run_records import Job, Run
from narrows.storage import hints
from narrows.storage.backend import Reader
from narrows.storage.committed import Committed, Elsewhere
from narrows.storage.members import Nodes

log = logging.getLogger("narrows.storage")

CHANNEL: Final = "narrows"
POLL_SECS: Final = 0.25
SIGN_OF_LIFE_SECS: Final = 5.0
#: Records in one look.
PAGE: Final = 500
#: Of so many that nobody watches any more it is remembered what was told.
SPARE: Final = 1_000


class Interests(NamedTuple):
    """What somebody in this process wants to hear of: triggers and runs by id, with their project, and
    API keys."""

    subjects: Mapping[str, str]
    api_keys: frozenset[str]


class Readers(Protocol):
    async def read(self, read: Any) -> Any: ...


class Changed(NamedTuple):
    """The records as they are now."""

    subjects: tuple[tuple[str, str], ...]
    jobs: tuple[tuple[str, str], ...] = ()
    api_keys: tuple[str, ...] = ()

    async def run(self, reader: Reader) -> tuple[list[Trigger], list[Run], list[Job], list[ApiKey]]:
        subjects, jobs = list(self.subjects), list(self.jobs)
        keys = [(key,) for key in self.api_keys]
        return (
            [Trigger(*row) for row in (await reader.load("triggers_by_id", subjects) if subjects else ())],
            [Run(*row) for row in (await reader.load("runs_by_id", subjects) if subjects else ())],
            [Job(*row) for row in (await reader.load("jobs_by_id", jobs) if jobs else ())],
            [ApiKey(*row) for row in (await reader.load("api_keys_by_id", keys) if keys else ())],
        )


class News:
    """Listens, and publishes. `listen` opens a connection that listens; None where there is none to be had."""

    def __init__(
        self,
        store: Readers,
        own_node: str,
        nodes: Nodes,
        publish: Callable[[Committed], None],
        interests: Callable[[], Interests],
        listen: Callable[[Callable[..., None]], Awaitable[Any]] | None,
    ) -> None:
        self.is_listening = False
        self._store = store
        self._own_node = own_node
        self._nodes = nodes
        self._publish = publish
        self._interests = interests
        self._listen = listen
        self._queue: asyncio.Queue[hints.Hint | None] = asyncio.Queue()
        self._told: dict[str, int] = {}  # the newest version that was published of what is watched

    async def run(self) -> None:
        """Until it is canceled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._consume(), name="narrows-news")
            tasks.create_task(self._keep_listening(), name="narrows-listen")
            tasks.create_task(self._poll(), name="narrows-poll")

    def heard(self, connection: Any, pid: int, channel: str, text: str) -> None:
        """A notification came."""
        try:
            hint = hints.read(text)
        except ValueError:
            log.warning("a notification on the channel %s is no hint of ours", CHANNEL)
            return
        if hint.node != self._own_node:
            self._queue.put_nowait(hint)

    def look(self) -> None:
        """Something may have been missed."""
        self._queue.put_nowait(None)

    async def _keep_listening(self) -> None:
        while self._listen is not None:
            await self._listen_until_lost()
            await asyncio.sleep(POLL_SECS)

    async def _poll(self) -> None:
        """It stands in for the hints where nobody listens, also while a connection for that is sought."""
        while True:
            if not self.is_listening:
                self.look()
            await asyncio.sleep(POLL_SECS)

    async def _listen_until_lost(self) -> None:
        assert self._listen is not None
        connection, closed = None, asyncio.Event()
        try:
            connection = await self._listen(self.heard)
            connection.add_termination_listener(lambda _: closed.set())
            self._listens(True)
            self.look()  # what was committed before it listened
            while not await _is_set_within(closed, SIGN_OF_LIFE_SECS):
                async with asyncio.timeout(SIGN_OF_LIFE_SECS):
                    await connection.execute("select 1")
            raise ConnectionResetError("the server closed it")
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is of no use any more
            if self.is_listening:
                log.warning("the connection that listens was lost and is opened again: %s", error)
        finally:
            self._listens(False)
            if connection is not None:
                connection.terminate()
                await asyncio.sleep(0)  # the transport closes in a turn of the loop

    def _listens(self, is_so: bool) -> None:
        self.is_listening = self._nodes.is_heard = is_so

    async def _consume(self) -> None:
        while True:
            waiting = [await self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            try:
                heard = [hint for hint in waiting if hint is not None and not hint.lost]
                if len(heard) < len(waiting):
                    await self._catch_up()
                else:
                    await self._tell(heard)
            except Exception as error:  # noqa: BLE001 - whatever it is: the tables are looked at again
                log.info("news of other nodes could not be read: %s", error)
                await asyncio.sleep(POLL_SECS)
                self.look()

    async def _tell(self, heard: list[hints.Hint]) -> None:
        interests = self._interests()
        subjects = {key for hint in heard for key in hint.ids() if key[1] in interests.subjects}
        if any(hint.many for hint in heard):
            subjects = {(project_id, each) for each, project_id in interests.subjects.items()}
        if len(self._told) > 2 * len(interests.subjects) + SPARE:
            self._forget(interests)
        jobs = {key for hint in heard for key in hint.jobs}
        api_keys = {key for hint in heard for key in hint.api_keys}
        queued: dict[tuple[str, str], int] = {}
        due: dict[str, int] = {}
        for hint in heard:
            for project_id, job_id, runs in hint.queued:
                queued[project_id, job_id] = queued.get((project_id, job_id), 0) + runs
            for what, at in hint.due.items():
                due[what] = min(at, due.get(what, at))
        changed = await self._read(subjects, jobs, api_keys)
        self._publish_changed(changed, Elsewhere(queued, due))

    async def _catch_up(self) -> None:
        """Read all that is watched here, and let everybody else look for themselves."""
        interests = self._interests()
        self._forget(interests)
        subjects = {(project_id, each) for each, project_id in interests.subjects.items()}
        changed = await self._read(subjects, (), interests.api_keys)
        self._publish_changed(changed, Elsewhere(missed=True))

    def _forget(self, interests: Interests) -> None:
        """What nobody watches any more."""
        self._told = {each: version for each, version in self._told.items() if each in interests.subjects}

    async def _read(
        self, subjects: Iterable[tuple[str, str]], jobs: Iterable[tuple[str, str]], api_keys: Iterable[str]
    ) -> list[tuple[list[Trigger], list[Run], list[Job], list[ApiKey]]]:
        keys = sorted(subjects)
        pages = [Changed(tuple(keys[start : start + PAGE])) for start in range(0, len(keys), PAGE)]
        others = Changed((), tuple(jobs), tuple(api_keys))
        if others.jobs or others.api_keys:
            pages.append(others)
        return [await self._store.read(page) for page in pages]

    def _publish_changed(
        self, pages: list[tuple[list[Trigger], list[Run], list[Job], list[ApiKey]]], elsewhere: Elsewhere
    ) -> None:
        triggers = [each for page in pages for each in page[0] if self._is_news(each)]
        runs = [each for page in pages for each in page[1] if self._is_news(each)]
        self._publish(
            Committed(
                facts=(),
                triggers=tuple(triggers),
                api_keys=tuple(each for page in pages for each in page[3]),
                held_events=(),
                operations=0,
                now=0,
                commit_secs=0.0,
                jobs=tuple(each for page in pages for each in page[2]),
                runs=tuple(runs),
                elsewhere=elsewhere,
            )
        )

    def _is_news(self, record: Trigger | Run) -> bool:
        if self._told.get(record.id, 0) >= record.version:
            return False
        self._told[record.id] = record.version
        return True


async def _is_set_within(event: asyncio.Event, secs: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), secs)
    return event.is_set()
