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
from narrows.storage import locks, together
from narrows.storage.at_hand import CLAIMED, WITH_LOCKS, AtHand, asked
from narrows.storage.backend import BackendFailure, Row, Touch, Write
from narrows.storage.connecting import SET_LOCAL
from narrows.storage.line import Line
from narrows.storage.looked import LOOKS, SETTLE_LOOKED, Looked, belongs_to_a_run
from narrows.storage.postgres_errors import failure_of, is_lost, is_taken
from narrows.storage.statements import encoded

#: How long it may take to find out whether a commit took place that was never answered.
RESOLVE_SECS: Final = 25.0
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
        #: What the batch was found to touch, too: kept until it is committed, however often it begins again.
        self._also: set[Touch] = set()
        self._at_hand = AtHand()
        self._looked = Looked()
        self._expects_runs = False
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
        """Begin, and take the locks in their order (`locks.py`)."""
        needed = locks.needed([*touches, *self._also])
        self._wrote = None
        try:
            names = needed.names
            if needed.held_ids:
                names = await self._with_keys_of_held(needed)
            self._has_begun = True
            settings = SET_LOCAL if self.line.is_pooled() else ""
            await self.line.run(
                f"begin isolation level read committed; {settings}{together.take_names(names)}"
            )
            self.line.in_transaction = True
            self._names = dict(names)
            await self._lock_rows(needed, touches)
            self._told(self._now)
        except Exception as error:
            raise self._failure(error) from error

    async def _with_keys_of_held(self, needed: locks.Locks) -> list[tuple[int, bool]]:
        rows = await self.line.load("keys_of_held_events", needed.held_ids)
        found = {locks.key_name(project_id, key): True for project_id, key, _ in rows}
        delivered = {(project_id, trigger_id): None for project_id, _, trigger_id in rows if trigger_id}
        needed.trigger_ids.extend(key for key in delivered if key not in needed.trigger_ids)
        return sorted({**dict(needed.names), **found}.items())

    async def _lock_rows(self, needed: locks.Locks, touches: Sequence[Touch]) -> None:
        """What is good to read with the locks is read with the first of them, what is claimed with the last."""
        self._locked.clear()
        self._at_hand = AtHand()
        self._looked = Looked()
        self._claiming = {(project_id, job_id) for project_id, job_id in needed.claimed_jobs}
        if needed.are_triggers_alone and not self._expects_runs and await self._look(touches):
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

    async def _look(self, touches: Sequence[Touch]) -> bool:
        """Read triggers without locking them; answers whether that will do. Batches are alike: after one that
        names runs the next most likely does."""
        wanted = asked(touches, _WITH_TRIGGERS)
        looks = tuple(LOOKS.get(name, name) for name in wanted)
        ((self._now, *found),) = await self.line.fetch(
            together.beside("time_now", looks), *map(encoded, wanted.values())
        )
        rows = dict(zip(wanted, found, strict=True))
        triggers = [row for name in LOOKS for row in rows.get(name, ())]
        self._expects_runs = any(map(belongs_to_a_run, triggers))
        if self._expects_runs:
            return False
        self._looked = Looked(triggers)
        self._at_hand.keep(wanted, [_without_places(name, rows[name]) for name in wanted])
        return True

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
            self._also.clear()
            return
        try:
            # A commit that waits for a standby must not be cut short: it would count as made.
            await self.line.run("set local statement_timeout = 0; commit")
        except Exception as error:
            failure = self._failure(error)
            if not is_lost(error):
                raise failure from error
            self._ended()
            await self._resolve(self._wrote, failure)
        self._ended()
        self._also.clear()

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

    async def _resolve(self, batch: str, lost: BackendFailure) -> None:
        """Find out whether a commit took place whose answer never came. To insert the same id waits for
        the end of that transaction, if it goes on; where the id is there already, it was committed, else it
        never can be any more. The answer to this may be lost as well, so that what is inserted here says
        so, by a time below zero; and it is a commit in any case, behind the one in question on a standby too.
        """
        statement = self.line.statements["resolve_batch"].sql
        clock = asyncio.get_running_loop().time
        until = clock() + RESOLVE_SECS
        pause_secs = 0.05
        while (left_secs := until - clock()) > 0:
            try:
                async with asyncio.timeout(left_secs):
                    ((at,),) = await self.line.fetch(statement, batch, -self.now)
            except Exception:  # noqa: BLE001 - whatever it is: ask again, until the time is over
                self.line.drop()
                await asyncio.sleep(min(pause_secs, left_secs))
                pause_secs = min(2 * pause_secs, 1.0)
            else:
                if at > 0:
                    return
                raise BackendFailure(str(lost), retry=True) from lost
        raise BackendFailure("the answer to a commit never came", unknown=True) from lost

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
            raise self._changed_meanwhile(also)
        self._wrote = self._random_bytes(16).hex()
        rows = self._looked.by_places({each.statement: each.rows for each in writes})
        rows["insert_batches"] = [(self._wrote, self.now)]
        counts: list[int] = []
        try:
            for group in together.apart(tuple(rows)):
                given = [encoded(rows[name]) for name in group]
                (found,) = await self.line.fetch(together.writes(group), *given)
                self._check_settled(rows, dict(zip(group, found, strict=True)))
                counts += found
        except Exception as error:
            raise self._failure(error) from error
        return counts[:-1]

    def _check_settled(self, rows: Mapping[str, list[Row]], counts: Mapping[str, int]) -> None:
        if SETTLE_LOOKED in counts and counts[SETTLE_LOOKED] != len(rows[SETTLE_LOOKED]):
            raise self._changed_meanwhile(self._looked.touches(rows[SETTLE_LOOKED]))

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
            raise self._changed_meanwhile(also)

    def _changed_meanwhile(self, also: set[Touch]) -> BackendFailure:
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


def _without_places(lookup: str, rows: list[Row]) -> list[Row]:
    return [row[:-1] for row in rows] if lookup in LOOKS else rows
