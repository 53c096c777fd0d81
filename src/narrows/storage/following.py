"""What follows in the same commit when a trigger or a run changes: the waiter of a settled trigger goes on
or ends, its other triggers are closed, webhooks are due, a root ends with its run.

It asks the pure rules (`core.waits`) and saves what they answer. It is here, and not in the operations,
because it must happen in whatever way a trigger is settled: by an event, by the clock, by a cancel.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from narrows.core import step_waits, waits
from narrows.core import triggers as rules
from narrows.core.records import Root, Trigger
from narrows.core.run_records import Delivery, Run, WaitGroup
from narrows.core.states import ENDED, DeliveryKind, DeliveryStatus, FactKind, TriggerStatus
from narrows.storage.links import trigger_ids
from narrows.storage.noted import Noted, step_ref_of

if TYPE_CHECKING:
    from narrows.storage.transaction import Transaction

_NOTIFIED = {
    FactKind.TRIGGER_OPENED: DeliveryKind.TRIGGER_OPENED,
    FactKind.TRIGGER_RECEIVED: DeliveryKind.TRIGGER_SETTLED,
    FactKind.TRIGGER_TIMED_OUT: DeliveryKind.TRIGGER_SETTLED,
    FactKind.TRIGGER_CANCELED: DeliveryKind.TRIGGER_SETTLED,
}

#: What a trigger of a step's wait has become, as that step is told of it.
_KIND_OF = {
    TriggerStatus.RECEIVED: FactKind.STEP_COMPLETED,
    TriggerStatus.TIMED_OUT: FactKind.STEP_TIMED_OUT,
    TriggerStatus.CANCELED: FactKind.STEP_CANCELED,
}


def notify(tx: Transaction, trigger: Trigger, happened: FactKind, entropy: int) -> Trigger:
    """Make the delivery that tells the trigger's `notify_url` of it, due at once."""
    kind = _NOTIFIED.get(happened)
    if trigger.notify_url is None or kind is None:
        return trigger
    tx.save(
        Delivery(
            project_id=trigger.project_id,
            id=tx.new_id(entropy),
            trigger_id=trigger.id,
            kind=kind,
            url=trigger.notify_url,
            status=DeliveryStatus.PENDING,
            attempts=0,
            last_status=None,
            error=None,
            created_at=tx.now,
            due_at=tx.now,
            finished_at=None,
        )
    )
    return trigger._replace(notify_status=DeliveryStatus.PENDING)


def group_triggers(tx: Transaction, group: WaitGroup) -> list[Trigger]:
    """The triggers of a loaded group, in the order in which they were asked for."""
    found = (tx.trigger(group.project_id, each) for each in trigger_ids(group))
    return [trigger for trigger in found if trigger is not None]


def follow(tx: Transaction, settled: Trigger, actor: str, entropy: int) -> None:
    """The waiter of a trigger that has just been settled: it goes on, ends, or waits on."""
    if settled.wait_group_id is None:
        return
    group = tx.wait_group(settled.project_id, settled.wait_group_id)
    if group is not None and group.workflow_run_id is not None:
        _follow_step(tx, group, settled, actor, entropy)
        return
    run = None if group is None else tx.run(group.project_id, group.run_id)
    if group is None or run is None:
        return
    advance = waits.advance(run, group, group_triggers(tx, group), settled, tx.now)
    if advance is not None:
        detail = json.dumps({"trigger_id": settled.id}, separators=(",", ":"))
        tx.advance_run(advance.run, advance.kind, actor, entropy, detail)
        close(tx, advance.losers, waits.WAIT_IS_OVER, actor, entropy)


def _follow_step(tx: Transaction, group: WaitGroup, settled: Trigger, actor: str, entropy: int) -> None:
    """The same for a step of a workflow run: how its wait has ended is noted, and its other triggers are closed.
    Where a veto has to be asked, or a payload to be loaded first (of an event that was held), the turn judges
    (`operations/turns.py`). Of the event itself only what counts is kept: those that came before are not read again."""
    if group.id in tx.notes.decided:
        return
    key = (group.project_id, group.workflow_run_id or "")
    noted = Noted(
        _KIND_OF[settled.status],
        step_ref_of(settled.workflow_step_run_id or ""),
        group.id,
        actor=actor,
        entropy=entropy,
    )
    path = distinct_path(group)
    if path is not None and not group.has_veto and is_uncast(settled) and not _is_away(settled):
        cast(tx, settled, step_waits.Ballot(step_waits.voter_of(path, settled.response_payload)))
    triggers = group_triggers(tx, group)
    if group.has_veto or (path is not None and any(map(is_uncast, triggers))):
        tx.notes.add(key, noted._replace(is_open=True))
        return
    standing = step_waits.judge(group.needed, path, list(map(part_of, triggers)))
    if standing is not None:
        tx.notes.add(key, noted._replace(kind=standing.kind, error=standing.error, final=standing.final))
        decide(tx, group, waits.WAIT_IS_OVER, actor, entropy)


def decide(tx: Transaction, group: WaitGroup, reason: str, actor: str, entropy: int) -> None:
    """The wait of a step is over: whatever of it is open is closed, and says nothing new."""
    tx.notes.decided.add(group.id)
    waiting = [trigger for trigger in group_triggers(tx, group) if rules.is_waiting(trigger)]
    close(tx, waiting, reason, actor, entropy)


def distinct_path(group: WaitGroup) -> list[str] | None:
    """Where in a payload the voter stands, if the events of a step must be of different ones."""
    return None if group.distinct_by is None else list(json.loads(group.distinct_by))


def part_of(trigger: Trigger) -> step_waits.Part:
    """A trigger as the rules of a step's wait see it."""
    ballot = step_waits.ballot_from_text(trigger.ballot)
    return step_waits.Part(trigger.event_key, TriggerStatus(trigger.status), None, trigger.error, ballot)


def is_uncast(trigger: Trigger) -> bool:
    """Whether nobody has looked yet at what its event counts for."""
    return trigger.status == TriggerStatus.RECEIVED and trigger.ballot is None


def cast(tx: Transaction, trigger: Trigger, ballot: step_waits.Ballot) -> None:
    """Keep what its event counts for, in the commit that settles it."""
    tx.save(trigger._replace(ballot=step_waits.ballot_to_text(ballot)))


def _is_away(trigger: Trigger) -> bool:
    """Whether what it has received stands in a row that nobody has loaded."""
    return trigger.response_payload is None and trigger.response_payload_id is not None


def close(
    tx: Transaction, triggers: list[Trigger] | tuple[Trigger, ...], reason: str, actor: str, entropy: int
) -> None:
    """Cancel triggers that nobody waits for any more."""
    for trigger in triggers:
        tx.advance(rules.cancel(trigger, reason, tx.now), FactKind.TRIGGER_CANCELED, actor, entropy)


def end_root(tx: Transaction, run: Run) -> None:
    """With its run a root ends: from now on retention may take its triggers."""
    if run.status not in ENDED or run.root_id != run.id:
        return
    root = tx.root(run.project_id, run.id)
    if root is not None:
        tx.save(root._replace(ended_at=tx.now))


def begin_root(tx: Transaction, run: Run) -> None:
    """A run gets a root row with its first wait: one that never waits has nothing to keep."""
    if tx.root(run.project_id, run.root_id) is None:
        tx.save(Root(run.project_id, run.root_id, "run", run.created_at, None, 0))
