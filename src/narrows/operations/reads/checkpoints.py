"""What runs kept, what they wait for, and how their last waits ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from narrows.core.records import Trigger
from narrows.core.run_records import Run, WaitGroup
from narrows.core.states import RunStatus
from narrows.operations.reads.bodies import with_bodies, with_run_bodies
from narrows.operations.reads.runs import find_run
from narrows.storage.backend import Reader


class Checkpoint(NamedTuple):
    """What a run kept, and the triggers of its last wait as they are now, in the order in which they
    were asked for. `mode` is None where it has not waited."""

    state: str | None
    mode: str | None
    triggers: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """What a run kept and how its last wait ended. What purge has taken is left out."""

    project_id: str
    run_id: str

    async def run(self, reader: Reader) -> Checkpoint:
        found = await find_run(reader, self.project_id, self.run_id)
        (checkpoint,) = await _checkpoints(reader, await with_run_bodies(reader, (found,), state=True))
        return checkpoint


@dataclass(frozen=True, slots=True)
class RunCheckpoints:
    """The same for runs that are at hand, in their order; their states are loaded where they are not."""

    runs: tuple[Run, ...]

    async def run(self, reader: Reader) -> tuple[Checkpoint, ...]:
        return await _checkpoints(reader, await with_run_bodies(reader, self.runs, state=True))


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """The ids of the triggers that waiting runs wait for, by run id; runs that do not wait are left out."""

    runs: tuple[Run, ...]

    async def run(self, reader: Reader) -> dict[str, tuple[str, ...]]:
        waiting = [run for run in self.runs if run.status == RunStatus.WAITING]
        groups = await _groups(reader, waiting)
        return {
            run.id: tuple(json.loads(group.trigger_ids))
            for run in waiting
            if (group := groups.get((run.project_id, run.wait_group_id or ""))) is not None
        }


async def _groups(reader: Reader, runs: Sequence[Run]) -> dict[tuple[str, str], WaitGroup]:
    """The wait groups that the runs are in, or were in last, by project and id."""
    keys = sorted({(run.project_id, run.wait_group_id) for run in runs if run.wait_group_id})
    rows = await reader.load("wait_groups_by_id", list(keys)) if keys else []
    return {(group.project_id, group.id): group for group in (WaitGroup(*row) for row in rows)}


async def _checkpoints(reader: Reader, runs: Sequence[Run]) -> tuple[Checkpoint, ...]:
    groups = await _groups(reader, runs)
    keys = [(key[0], each) for key, group in groups.items() for each in json.loads(group.trigger_ids)]
    rows = await reader.load("triggers_by_id", sorted(keys)) if keys else []
    triggers = await with_bodies(reader, [Trigger(*row) for row in rows])
    by_id = {(trigger.project_id, trigger.id): trigger for trigger in triggers}
    return tuple(
        _checkpoint(run, groups.get((run.project_id, run.wait_group_id or "")), by_id) for run in runs
    )


def _checkpoint(run: Run, group: WaitGroup | None, by_id: dict[tuple[str, str], Trigger]) -> Checkpoint:
    if group is None:
        return Checkpoint(run.state, None, ())
    found = (by_id.get((run.project_id, each)) for each in json.loads(group.trigger_ids))
    return Checkpoint(run.state, group.mode, tuple(trigger for trigger in found if trigger is not None))
