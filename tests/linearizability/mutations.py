"""One answer of a good history made wrong, in a way that a real bug would make it wrong. Whether the
whole is then wrong too depends on what the others saw: the checker should refuse nearly all of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tests.linearizability.history import Call, History, Operation, Outcome, Seen
from tests.linearizability.state import CANCELED, RECEIVED, TIMED_OUT, WAITING

STATUSES: Final = (WAITING, RECEIVED, TIMED_OUT, CANCELED)
GETS: Final = (Call.GET, Call.GET_BY_ID)

#: Takes an operation with an outcome and all of them; answers another outcome, or None if it has none.
Mutation = Callable[[Operation, tuple[Operation, ...], random.Random], Outcome | None]


def _shown(outcome: Outcome) -> Seen | None:
    return outcome.trigger or (outcome.settled[0] if outcome.settled else None)


def _with(outcome: Outcome, seen: Seen) -> Outcome:
    return outcome._replace(trigger=seen) if outcome.trigger else outcome._replace(settled=(seen,))


def another_status(
    operation: Operation, others: tuple[Operation, ...], dice: random.Random
) -> Outcome | None:
    """The trigger is shown in another state."""
    outcome = operation.outcome
    if outcome is None or (seen := _shown(outcome)) is None:
        return None
    status = dice.choice([each for each in STATUSES if each != seen.status])
    payload = "7" if status == RECEIVED else None
    settled_at = None if status == WAITING else operation.returned_at
    return _with(outcome, seen._replace(status=status, payload=payload, settled_at=settled_at))


def another_payload(
    operation: Operation, others: tuple[Operation, ...], dice: random.Random
) -> Outcome | None:
    """Somebody else's event."""
    outcome = operation.outcome
    if outcome is None or (seen := _shown(outcome)) is None or seen.status != RECEIVED:
        return None
    sent = {each.asked.payload for each in others} - {seen.payload}
    return _with(outcome, seen._replace(payload=dice.choice(sorted(sent, key=str)))) if sent else None


def another_trigger(
    operation: Operation, others: tuple[Operation, ...], dice: random.Random
) -> Outcome | None:
    """The same, of another wait of the key."""
    outcome = operation.outcome
    if outcome is None or (seen := _shown(outcome)) is None:
        return None
    shown = [_shown(each.outcome) for each in others if each.outcome]
    ids = {each.id for each in shown if each is not None} - {seen.id}
    return _with(outcome, seen._replace(id=dice.choice(sorted(ids)))) if ids else None


def done_but_refused(
    operation: Operation, others: tuple[Operation, ...], dice: random.Random
) -> Outcome | None:
    """A change that was made is answered as refused."""
    outcome = operation.outcome
    if outcome is None or operation.asked.call in GETS or outcome.status not in (200, 201, 202):
        return None
    if operation.asked.call == Call.SEND_PREFIX:
        return outcome._replace(settled=()) if outcome.settled else None
    return Outcome(dice.choice((404, 409)), named=dice.choice((RECEIVED, CANCELED)))


def refused_but_done(
    operation: Operation, others: tuple[Operation, ...], dice: random.Random
) -> Outcome | None:
    """What was refused is answered as done, of a trigger that somebody has seen."""
    outcome = operation.outcome
    shown = [_shown(each.outcome) for each in others if each.outcome]
    known = [each for each in shown if each is not None]
    if outcome is None or outcome.status < 400 or not known:
        return None
    return Outcome(200, trigger=dice.choice(known))


def not_found(operation: Operation, others: tuple[Operation, ...], dice: random.Random) -> Outcome | None:
    """Nothing is there."""
    outcome = operation.outcome
    if outcome is None or outcome.status == 404 or operation.asked.call in (Call.OPEN, Call.SEND_PREFIX):
        return None
    return Outcome(404)


def older_get(operation: Operation, others: tuple[Operation, ...], dice: random.Random) -> Outcome | None:
    """A get shows what an earlier one has shown: a stale read, which may still be in time."""
    if operation.asked.call not in GETS:
        return None
    older = {
        each.outcome
        for each in others
        if each.asked.call == operation.asked.call
        and each.asked.trigger_id == operation.asked.trigger_id
        and each.ended_at < operation.invoked_at
        and each.outcome not in (None, operation.outcome)
    }
    return dice.choice(sorted(older, key=str)) if older else None


def another_time(operation: Operation, others: tuple[Operation, ...], dice: random.Random) -> Outcome | None:
    """It expires, or was settled, at another time than others have seen."""
    outcome = operation.outcome
    if outcome is None or (seen := _shown(outcome)) is None:
        return None
    later = dice.choice((1, 1_000, 5_000_000))
    if seen.settled_at is not None and dice.random() < 0.5:
        return _with(outcome, seen._replace(settled_at=seen.settled_at + later))
    return _with(outcome, seen._replace(expires_at=seen.expires_at - later))


MUTATIONS: Final[tuple[Mutation, ...]] = (
    another_status,
    another_payload,
    another_trigger,
    done_but_refused,
    refused_but_done,
    not_found,
    older_get,
    another_time,
)


def mutate(history: History, mutation: Mutation, dice: random.Random) -> History | None:
    """The history with one answer changed; None if it has none that this mutation can change."""
    operations = history.operations
    for place in dice.sample(range(len(operations)), len(operations)):
        changed = mutation(operations[place], operations, dice)
        if changed is not None and changed != operations[place].outcome:
            wrong = operations[place]._replace(outcome=changed)
            return History(history.key, (*operations[:place], wrong, *operations[place + 1 :]))
    return None
