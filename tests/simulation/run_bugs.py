"""The planted bugs of runs: as `bugs.py`, whose table they join."""

from __future__ import annotations

from typing import Any

from narrows.core import runs as rules
from narrows.core.run_records import Run, RunCounters
from narrows.core.states import RunStatus
from narrows.engine.in_flight import InFlight
from narrows.operations import dispatch
from narrows.operations.delivery import receive
from narrows.operations.dispatch import FinishDispatch
from narrows.operations.prefix import SendPrefixChunk
from narrows.operations.reads import checkpoints
from narrows.operations.reads.bodies import with_bodies
from narrows.operations.run_plane import Heartbeat, RunOperation
from narrows.operations.service import Service
from narrows.operations.waits import find_run
from narrows.storage import following
from narrows.storage.transaction import Transaction
from tests.simulation.bugs import BUGS, Planting, bug

__all__ = ["BUGS", "OF_RUNS"]

_OF_WAITS = frozenset(BUGS)


@bug
def run_resumed_in_another_commit(planting: Planting) -> None:
    """5. An event is taken in one commit, and the run that waits for it resumed in the next."""
    left: list[Any] = []
    strict, perform_strictly = following.follow, Service.perform

    class GoOn:
        """The second commit."""

        background, size_bytes, trigger = True, 0, None

        def touches(self) -> list[Any]:
            return [("triggers_by_id", *left[0][:2])]

        def apply(self, tx: Transaction) -> None:
            project_id, trigger_id, actor, entropy = left.pop(0)
            settled = tx.trigger(project_id, trigger_id)
            if settled is not None:
                strict(tx, settled, actor, entropy)

    def follow(tx: Transaction, settled: Any, actor: str, entropy: int) -> None:
        left.append((settled.project_id, settled.id, actor, entropy))

    async def perform(self: Service, operation: Any) -> Any:
        outcome = await perform_strictly(self, operation)
        while left:
            await perform_strictly(self, GoOn())
        return outcome

    planting.replace(following, "follow", follow)
    planting.replace(Service, "perform", perform)


@bug
def loser_left_waiting(planting: Planting) -> None:
    """10. A waiter goes on or ends another way, and its other triggers stay waiting."""
    planting.replace(following, "close", lambda tx, triggers, reason, actor, entropy: None)


@bug
def payload_lost_on_resume(planting: Planting) -> None:
    """11. The resumed run never sees the payload of the event that resumed it."""
    strict = with_bodies

    async def without_bodies(reader: Any, triggers: Any) -> Any:
        return tuple(each._replace(response_payload=None) for each in await strict(reader, triggers))

    planting.replace(checkpoints, "with_bodies", without_bodies)


@bug
def waiting_dispatch_completes(planting: Planting) -> None:
    """12. The 2xx of the dispatch that asked to wait completes the run that was resumed meanwhile."""
    strict = FinishDispatch.apply

    def apply(self: FinishDispatch, tx: Transaction) -> Run | None:
        run = tx.run(self.project_id, self.run_id)
        if run is None or run.status != RunStatus.QUEUED or not self.result.completed:
            return strict(self, tx)
        executing = run._replace(status=RunStatus.EXECUTING)
        return dispatch.complete(tx, executing, self.result.result, "engine", self.entropy)

    planting.replace(FinishDispatch, "apply", apply)
    # The role would not even ask: it has heard that the dispatch is over.
    planting.replace(InFlight, "hear", lambda self, run: None)


@bug
def fence_dropped(planting: Planting) -> None:
    """An older dispatch of a run may end it, as long as somebody executes it."""

    def current(self: RunOperation, tx: Transaction) -> Run:
        run = find_run(tx, self.project_id, self.run_id)
        return run if rules.is_executing(run) else strict(self, tx)

    strict = planting.replace(RunOperation, "current", current)


@bug
def lease_renewed_by_an_old_dispatch(planting: Planting) -> None:
    """The heartbeat of an older dispatch renews the lease of the newer one."""
    strict = Heartbeat.apply

    def apply(self: Heartbeat, tx: Transaction) -> Run:
        run = tx.run(self.project_id, self.run_id)
        if run is None or not rules.is_executing(run):
            return strict(self, tx)
        renewed = rules.renew(run, self.lease_us, tx.now)
        tx.save(renewed)
        return renewed

    planting.replace(Heartbeat, "apply", apply)


@bug
def concurrency_counted_outside(planting: Planting) -> None:
    """`max_concurrency` is held against a count from before the transaction."""

    def has_room(tx: Transaction, job: Any) -> bool:
        stored = tx._get(RunCounters, job.project_id, job.id)
        return job.max_concurrency is None or stored is None or stored.executing < job.max_concurrency

    planting.replace(dispatch, "_has_room", has_room)


@bug
def attempts_count_on_after_a_wait(planting: Planting) -> None:
    """A resumed run goes on with the attempts of before its wait."""
    strict = rules.resume
    planting.replace(rules, "resume", lambda run: strict(run)._replace(attempt=run.attempt))


@bug
def giving_back_counts(planting: Planting) -> None:
    """A run that is given back, or taken back after a restart, has an attempt counted."""
    strict = rules.release
    planting.replace(rules, "release", lambda run: strict(run)._replace(attempt=run.attempt + 1))


@bug
def priority_forgotten(planting: Planting) -> None:
    """The oldest run goes first, whatever its priority."""
    strict = Transaction.queued_runs

    def queued_runs(self: Transaction, project_id: str, job_id: str) -> list[Run]:
        return sorted(strict(self, project_id, job_id), key=lambda run: run.id)

    planting.replace(Transaction, "queued_runs", queued_runs)


@bug
def first_answer_forgotten(planting: Planting) -> None:
    """The repeat of a call whose answer was lost is refused as that of an older dispatch."""
    planting.replace(Transaction, "run_answer", lambda self, project_id, run_id, number: None)


@bug
def claim_sees_the_head_alone(planting: Planting) -> None:
    """A claim that shares its commit with a cancel of the queue's head finds nothing behind it."""
    planting.replace(Transaction, "_behind_the_heads", lambda self: iter(()))


@bug
def prefix_settles_the_losers(planting: Planting) -> None:
    """A prefix send settles a wait that its own event to another one of the group has just canceled."""

    def settle(self: SendPrefixChunk, tx: Transaction, fitting: list[Any]) -> Any:
        label = self.actor.label
        return tuple(
            receive(tx, each, self.payload, label, self.entropy + n) for n, each in enumerate(fitting)
        )

    planting.replace(SendPrefixChunk, "_settle", settle)


#: Those that no seed without runs can find.
OF_RUNS = frozenset(BUGS) - _OF_WAITS
