"""What the dispatching role knows of jobs: which have an endpoint, and which of those may have queued runs.

It is fed by every commit and, for what commits do not tell, by reads. It may be wrong in one direction
only: a job may stand here that has nothing to claim, which a claim finds out. Pure data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from narrows.core.run_records import Job
from narrows.core.states import RunStatus
from narrows.engine.due import Key
from narrows.engine.endpoint import host_of
from narrows.engine.queues import JobQueues

if TYPE_CHECKING:
    from narrows.storage.committed import Committed

#: Of so many jobs it is remembered what they are.
REMEMBERED: Final = 10_000


class PushJobs:
    """The jobs with an endpoint, and the queues of their runs."""

    def __init__(self) -> None:
        self.queues = JobQueues()
        self._pushed: dict[Key, Job] = {}
        # Those that are not ours to dispatch: as which version they are known.
        self._others: dict[Key, int] = {}
        self._unknown: set[Key] = set()
        self._news: set[Key] = set()

    def job(self, key: Key) -> Job | None:
        """The job as it is now; None if it has no endpoint any more."""
        return self._pushed.get(key)

    def hear(self, committed: Committed) -> bool:
        """Take in a commit. Whether there may be something to dispatch now. Cheap: it runs for every one."""
        is_news = False
        for key in () if committed.elsewhere is None else committed.elsewhere.queued:
            is_news = self._queue(key) or is_news
        for job in committed.jobs:
            self._learn(job)
            is_news = self._queue((job.project_id, job.id)) or is_news
        for run in committed.runs:
            if run.status == RunStatus.EXECUTING:
                continue
            key = (run.project_id, run.job_id)
            if run.status == RunStatus.QUEUED:
                is_news = self._queue(key) or is_news
            elif (pushed := self._pushed.get(key)) is not None and pushed.max_concurrency is not None:
                # It may have made room for one that is queued.
                is_news = self._queue(key) or is_news
        return is_news

    @property
    def may_have_work(self) -> bool:
        """Whether a round may find something for a free place, also of a job that has to be read first. Of any thread."""
        return bool(self._unknown or self.queues)

    def unknown(self) -> tuple[Key, ...]:
        """Jobs with queued runs of which nothing is known yet."""
        return tuple(self._unknown)

    def learn(self, asked: Iterable[Key], found: Mapping[Key, Job]) -> None:
        """What was read of unknown jobs. What a commit told meanwhile is newer."""
        for key in asked:
            if key in self._unknown:
                self._unknown.discard(key)
                if (job := found.get(key)) is not None:
                    self._learn(job)
                else:
                    self._others[key] = 0
                self._queue(key)

    def learn_queued(self, jobs: Iterable[Job]) -> None:
        """Jobs that had queued runs a moment ago. What they were changed to is learned from it too, should
        the news of that have been lost."""
        for job in jobs:
            self._learn(job)
            self._queue((job.project_id, job.id))

    def begin_claim(self) -> None:
        self._news.clear()

    def found_empty(self, key: Key) -> None:
        """A claim since `begin_claim` got less than it asked for: nothing is left, but for later news."""
        if key not in self._news:
            self.queues.discard(key)

    def _learn(self, job: Job) -> None:
        key = (job.project_id, job.id)
        if job.version < self._known_version(key):
            return  # it was read before a commit that has been heard
        self._unknown.discard(key)
        if job.endpoint_url is None or job.deleted_at is not None:
            self._pushed.pop(key, None)
            self.queues.discard(key)
            self._others[key] = job.version
        else:
            self._others.pop(key, None)
            self._pushed[key] = job
        self._forget_some()

    def _known_version(self, key: Key) -> int:
        job = self._pushed.get(key)
        return self._others.get(key, 0) if job is None else job.version

    def _queue(self, key: Key) -> bool:
        """Note that a job may have queued runs. Whether that is our affair, as far as is known."""
        job = self._pushed.get(key)
        if job is not None:
            self._news.add(key)
            self.queues.put(key, host_of(job))
            return True
        if key in self._others:
            return False
        self._unknown.add(key)
        return True

    def _forget_some(self) -> None:
        if len(self._others) > REMEMBERED:
            self._others.clear()
        if len(self._pushed) > 2 * REMEMBERED:
            self._pushed = {key: job for key, job in self._pushed.items() if key in self.queues}
