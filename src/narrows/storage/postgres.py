"""PostgreSQL by asyncpg: a connection as writers see it (readers: `postgres_reader.py`). No session state is relied
on, so that a pooler that lends a server connection for one transaction may stand in between.

The connection itself is a `Line` (`line.py`). Who opens them, and how many, is in `postgres_store.py`; which
locks a batch needs in `locks.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from narrows.core.records import Trigger
from narrows.core.states import TriggerStatus
from narrows.storage import locks, looked, together
from narrows.storage.at_hand import CLAIMED, WITH_LOCKS, AtHand, asked
from narrows.storage.backend import BackendFailure, Row, Touch, Write
from narrows.storage.connecting import SET_LOCAL
from narrows.storage.line import Line
from narrows.storage.looked import LOOKS, SETTLE_LOOKED, Looked, belongs_to_a_run
from narrows.storage.lost_commits import find_out
from narrows.storage.postgres_errors import failure_of, is_lost, is_taken, may_be_done
from narrows.storage.single import Single, may_be_single, single
from narrows.storage.statements import encoded

_STATUS: Final = Trigger._fields.index("status")
_WITH_TRIGGERS: Final = WITH_LOCKS | LOOKS.keys()


class PostgresConnection:
    """A writer's connection."""

    def __init__(
        self,
        line: Line,
        writer_name: Callable[[], str],
        random_bytes: Callable[[int], bytes],
        *,
        told: Callable[[int], None] = lambda now: None,
        clock: Callable[[], int] | None = None,
        finds_a_pooler: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        """`told` hears the database's time; `clock` takes its place (tests). `finds_a_pooler` is asked about
        each failure."""
        self.line = line
        self._writer_name = writer_name
        self._random_bytes = random_bytes
        self._told = told
        self._clock = clock
        self._finds_a_pooler = finds_a_pooler
        self._now = 0
        self._has_begun = False
        #: The id of the batch, once it has written anything.
        self._wrote: str | None = None
        self._locked: set[str] = set()
        self._names: dict[int, bool] = {}
        #: What the batch was found to touch, too: kept however often it begins again.
        self._also: set[Touch] = set()
        self._at_hand = AtHand()
        self._looked = Looked()
        self._looked_at = 0.0
        self._expects_runs = False
        self._expects_steps = False
        #: What the batch needs that is one statement: nothing has begun for it.
        self._single: Single | None = None
        self._claiming: set[tuple[str, str]] = set()
        self._limited: set[str] = set()

    @property
    def now(self) -> int:
        return self._now if self._clock is None else self._clock()

    @property
    def writer_name(self) -> str:
        return self._writer_name()

    # ---- the transaction -----------------------------------------------------------------------

    async def begin(self, touches: Sequence[Touch]) -> None:
        """Look, where that will do (`single.py`), or begin, and take the locks in their order (`locks.py`)."""
        needed = locks.needed([*touches, *self._also])
        self._clear()
        try:
            if not await self._is_single(needed, touches):
                await self._begin(needed)
                await self._lock_rows(needed, touches)
            self._told(self._now)
        except Exception as error:
            raise self._failure(error) from error

    def forget(self) -> None:
        self._also.clear()

    def _clear(self) -> None:
        self._wrote = self._single = None
        self._locked.clear()
        self._names = {}
        self._at_hand = AtHand()
        self._looked = Looked()
        self._claiming.clear()

    async def _is_single(self, needed: locks.Locks, touches: Sequence[Touch]) -> bool:
        """Behind a pooler each statement would be a transaction of three trips."""
        expects_more = self._expects_runs or self._expects_steps
        if self.line.is_pooled() or self._also or expects_more or not may_be_single(touches, needed):
            return False
        keys = await self._look(touches)
        if keys is None:
            return False
        self._single = single(touches, needed, keys, self.now)
        return True

    async def _begin(self, needed: locks.Locks) -> None:
        names = await self._with_keys_of_held(needed) if needed.held_ids else needed.names
        self._has_begun = True
        settings = SET_LOCAL if self.line.is_pooled() else ""
        await self.line.run(f"begin isolation level read committed; {settings}{together.take_names(names)}")
        self.line.in_transaction = True
        self._names = dict(names)

    async def _with_keys_of_held(self, needed: locks.Locks) -> list[tuple[int, bool]]:
        rows = await self.line.load("keys_of_held_events", needed.held_ids)
        found = {locks.key_name(project_id, key): True for project_id, key, _ in rows}
        delivered = {(project_id, trigger_id): None for project_id, _, trigger_id in rows if trigger_id}
        needed.trigger_ids.extend(key for key in delivered if key not in needed.trigger_ids)
        return sorted({**dict(needed.names), **found}.items())

    async def _lock_rows(self, needed: locks.Locks, touches: Sequence[Touch]) -> None:
        """What is good to read with the locks is read with the first of them, what is claimed with the last."""
        self._claiming.update((project_id, job_id) for project_id, job_id in needed.claimed_jobs)
        may_look = needed.are_triggers_alone and not self._expects_runs
        if may_look and await self._look(touches) is not None:
            return
        wanted = asked(touches, WITH_LOCKS)
        if needed.has_roots:
            await self._lock_roots(needed, wanted)
            self._at_hand.forget_counts(touches)
            wanted = {}
        for statement, keys in (("lock_deliveries", needed.deliveries), ("lock_messages", needed.messages)):
            if keys:
                await self.line.load(statement, keys)
        if not needed.has_roots or needed.claimed_jobs or needed.deliveries or needed.messages:
            await self._lock_limited_jobs(needed, {**wanted, **asked(touches, CLAIMED)})

    async def _look(self, touches: Sequence[Touch]) -> list[Row] | None:
        """Read triggers without locking them; answers the API keys that were read with them, None where that will not
        do. Batches are alike: after one that names runs the next most likely does."""
        wanted = asked(touches, _WITH_TRIGGERS)
        looks = tuple(LOOKS.get(name, name) for name in wanted)
        self._looked_at = asyncio.get_running_loop().time()
        ((self._now, is_read_only, *found),) = await self.line.fetch(
            together.beside("look_time", looks), *map(encoded, wanted.values())
        )
        if is_read_only:
            self.line.drop()
            raise BackendFailure("the server takes no changes", retry=True)
        rows = dict(zip(wanted, found, strict=True))
        triggers = [row for name in LOOKS for row in rows.get(name, ())]
        self._expects_runs = any(map(belongs_to_a_run, triggers))
        if self._expects_runs:
            return None
        self._looked = Looked(triggers)
        self._at_hand.keep(wanted, [looked.without_places(name, rows[name]) for name in wanted])
        keys: list[Row] = rows.get("api_keys_by_id", [])
        return keys

    async def _lock_roots(self, needed: locks.Locks, wanted: Mapping[str, list[Row]]) -> None:
        (
            (workflow_runs, runs, triggers, roots, groups, newest, names, self._now, *found),
        ) = await self.line.fetch(
            together.beside("lock_roots", tuple(wanted)),
            encoded(needed.trigger_keys),
            encoded([*needed.trigger_ids, *needed.triggers_to_change]),
            encoded(needed.token_hashes),
            encoded(needed.event_ids),
            encoded(needed.run_ids),
            encoded([(number,) for number in needed.job_names]),
            *map(encoded, wanted.values()),
        )
        self._locked.update(row[1] for rows in (workflow_runs, runs, triggers) for row in rows)
        self._expects_runs = bool(workflow_runs or runs) or any(map(belongs_to_a_run, triggers))
        self._names = dict.fromkeys(names, False) | self._names
        self._at_hand.keep(wanted, found)
        self._at_hand.keep_roots(workflow_runs, runs, roots)
        self._at_hand.keep_rows("wait_groups_by_id", groups)
        self._at_hand.keep_triggers(triggers, newest, needed)

    async def _lock_limited_jobs(self, needed: locks.Locks, wanted: Mapping[str, list[Row]]) -> None:
        ((limited, self._now, *found),) = await self.line.fetch(
            together.beside("lock_limited_jobs", tuple(wanted)),
            encoded(needed.claimed_jobs),
            *map(encoded, wanted.values()),
        )
        self._limited = set(limited)
        self._at_hand.keep(wanted, found)

    async def lock(self, touches: Sequence[Touch]) -> None:
        """Tried, never waited for: whoever has one of these may wait for what is held here. Then the batch begins
        again, and takes them in their order."""
        if self._single is not None:
            raise self._with_locks(touches)
        if stale := self._looked.under(touches):
            raise self._with_locks({*touches, *stale})
        needed = locks.needed(touches)
        names = [(number, excludes) for number, excludes in needed.names if not self._has(number, excludes)]
        runs = [key[1:] for key in touches if key[0] == "runs_by_id" and key[2] not in self._locked]
        try:
            if names and not (await self.line.fetch(together.try_names(names)))[0][0]:
                raise BackendFailure("a name that follows is locked by somebody else", retry=True)
            self._names.update(names)
            if runs:
                found = await self.line.load("try_runs", sorted(set(runs)))
                self._locked.update(row[0] for row in found)
        except Exception as error:
            if isinstance(error, BackendFailure) or is_taken(error):
                learned = self._lock_also(touches)
                raise BackendFailure(
                    "what follows is locked by somebody else", retry=True, learned=learned
                ) from error
            raise self._failure(error) from error

    def _lock_also(self, touches: Iterable[Touch]) -> bool:
        """Take these from the start when the batch begins again; answers whether that is more than before."""
        before = len(self._also)
        self._also.update(touches)
        return len(self._also) > before

    def _has(self, number: int, excludes: bool) -> bool:
        held = self._names.get(number)
        return held is not None and (held or not excludes)

    async def commit(self) -> None:
        if not self._has_begun:
            return
        if not self._wrote:
            await self.rollback()
            return
        try:
            # A commit that waits for a standby must not be cut short: it would count as made.
            await self.line.run("set local statement_timeout = 0; commit")
        except Exception as error:
            if not may_be_done(error):
                raise self._failure(error) from error
            await self._find_out(self._wrote, error)
        self._ended()

    def _ended(self) -> None:
        self._has_begun = self.line.in_transaction = False

    async def rollback(self) -> None:
        if not self._has_begun:
            return
        self._ended()
        if self.line.raw is None or self.line.raw.is_closed():
            self.line.drop()
            return
        try:
            await self.line.run("rollback")
        except Exception:  # noqa: BLE001 - the server ends the transaction of a connection that is gone
            self.line.drop()

    async def _find_out(self, batch: str, error: Exception) -> None:
        """Return if the commit took place whose answer was lost. Raises BackendFailure where it did not, or nobody knows."""
        failure = self._failure(error)
        self._ended()
        await find_out(self.line, batch, self.now, failure)

    # ---- what is read and written in it --------------------------------------------------------------

    async def rows(self, statement: str, **parameters: Any) -> list[Row]:
        try:
            return await self.line.rows(statement, parameters)
        except Exception as error:
            raise self._failure(error) from error

    async def load(self, statement: str, rows: list[Row]) -> list[Row]:
        return (await self.load_all({statement: rows}))[statement]

    async def load_all(self, wanted: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        found, left = self._at_hand.take(wanted)
        # What is claimed comes last and never waits, so that nobody waits for who claims.
        claimed = {name: left.pop(name) for name in CLAIMED if name in left}
        try:
            if left:
                (row,) = await self.line.fetch(together.loads(tuple(left)), *map(encoded, left.values()))
                for name, rows in zip(left, row, strict=True):
                    found[name] = [*found[name], *rows]
            for name, rows in claimed.items():
                found[name] = [*found[name], *await self.line.load(name, rows)]
        except Exception as error:
            raise self._failure(error) from error
        self._check_locked(found)
        return found

    async def write(self, writes: Sequence[Write]) -> list[int]:
        """In as few trips as may be: what goes to different tables goes together."""
        if not writes:
            return []
        if also := self._looked.to_lock(writes):
            raise self._with_locks(also)
        batch = self._random_bytes(16).hex()
        rows = self._looked.by_places({each.statement: each.rows for each in writes})
        rows["insert_batches"] = [(batch, self.now)]
        groups = together.apart(tuple(rows))
        self._expects_steps = len(groups) > 1
        if self._single is None:
            self._wrote = batch
            counts = await self._write_each(groups, rows)
        elif self._expects_steps:
            raise self._with_locks(self._single.touches)
        else:
            counts = await self._write_single(self._single, batch, rows)
        changed = dict(zip(rows, counts, strict=True))
        return [changed[each.statement if each.statement in changed else SETTLE_LOOKED] for each in writes]

    async def _write_single(self, single: Single, batch: str, rows: Mapping[str, list[Row]]) -> list[int]:
        """All that changes is written and committed, or nothing is."""
        counts = list(map(len, rows.values()))
        sql = together.single(tuple(rows))
        try:
            credentials = (single.names, single.api_keys, self.now)
            age = (self._now, int(looked.LATE_SECS * 1e6))
            await self.line.fetch(sql, *map(encoded, rows.values()), counts, *credentials, *age)
        except Exception as error:
            if may_be_done(error):
                await self._find_out(batch, error)
                return counts
            failure = self._failure(error)
            if failure.retry and not failure.alone:
                seen = self._looked.touches(rows.get(SETTLE_LOOKED, ()))
                raise self._with_locks(single.touches | seen) from error
            raise failure from error
        return counts

    async def _write_each(
        self, groups: Iterable[tuple[str, ...]], rows: Mapping[str, list[Row]]
    ) -> list[int]:
        counts: list[int] = []
        try:
            for group in groups:
                given = [encoded(rows[name]) for name in group]
                (found,) = await self.line.fetch(together.writes(group), *given)
                self._check_settled(rows, dict(zip(group, found, strict=True)))
                counts += found
        except Exception as error:
            raise self._failure(error) from error
        return counts

    def _check_settled(self, rows: Mapping[str, list[Row]], counts: Mapping[str, int]) -> None:
        if SETTLE_LOOKED not in counts:
            return
        is_late = asyncio.get_running_loop().time() > self._looked_at + looked.LATE_SECS
        if counts[SETTLE_LOOKED] != len(rows[SETTLE_LOOKED]) or is_late:
            raise self._with_locks(self._looked.touches(rows[SETTLE_LOOKED]))

    def _check_locked(self, found: Mapping[str, list[Row]]) -> None:
        """What was resolved before its lock may have changed meanwhile (a key waits anew): then the batch
        begins again, and locks that too."""
        also: set[Touch] = set()
        for name, rows in found.items():
            if name in LOOKS:
                unlocked = [row for row in rows if not self._holds(row)]
                also.update(("triggers_to_change", row[0], row[1]) for row in unlocked)
            elif name in ("runs_by_id", "workflow_runs_by_id"):
                also.update((name, row[0], row[1]) for row in rows if row[1] not in self._locked)
            elif name in CLAIMED:
                self._locked.update(row[1] for row in rows)
            elif name == "jobs_by_id" and self._claiming:
                # It got its limit after the locks were taken.
                for row in rows:
                    if (
                        row[8] is not None
                        and row[1] not in self._limited
                        and (row[0], row[1]) in self._claiming
                    ):
                        raise BackendFailure("a job has got a limit meanwhile", retry=True)
        if also:
            raise self._with_locks(also)

    def _with_locks(self, also: Iterable[Touch]) -> BackendFailure:
        """What makes the batch begin again and lock these."""
        learned = self._lock_also(also)
        return BackendFailure("what the batch names has changed meanwhile", retry=True, learned=learned)

    def _holds(self, trigger: Row) -> bool:
        """Whether nobody else changes this trigger: it is locked, by itself or by its root, or the writes see to it;
        or it is settled, and never changes again, and as its key's name is locked none comes after it."""
        if trigger[1] in self._locked or trigger[8] in self._locked or trigger in self._looked:
            return True
        is_settled = trigger[_STATUS] != TriggerStatus.WAITING
        return is_settled and self._names.get(locks.key_name(trigger[0], trigger[2]), False)

    def _failure(self, error: Exception) -> BackendFailure:
        failure = failure_of(error)
        if is_lost(error) or self._finds_a_pooler(error):
            self.line.drop()
        return failure
