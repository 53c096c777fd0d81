"""Does an answer of the specification fit what a client was told? If so, the state learns from it: ids and
times that the specification cannot know are taken from the first reply that shows them, and every later
reply must show the same.
"""

from __future__ import annotations

from tests.linearizability.history import NEVER, Call, Operation, Outcome, Seen, SeenHeld
from tests.linearizability.state import CLOCK_SLACK_US, TIMED_OUT, WAITING, Answer, Due, State, Wait


def matched(state: State, answer: Answer, operation: Operation, outcome: Outcome) -> State | None:
    """The state with what the reply tells, or None where the reply is another."""
    if outcome.status != answer.status or not _is_named(answer, operation, outcome):
        return None
    if (answer.wait is None) != (outcome.trigger is None) or (answer.held is None) != (outcome.held is None):
        return None
    if len(answer.settled) != len(outcome.settled):
        return None
    learnt: State | None = state
    if answer.held is not None and outcome.held is not None:
        learnt = _with_held(state, answer.held, outcome.held)
    if answer.wait is not None and outcome.trigger is not None:
        learnt = _with_seen(state, answer.wait, outcome.trigger, operation)
    for place, seen in zip(answer.settled, outcome.settled, strict=True):
        learnt = None if learnt is None else _with_seen(learnt, place, seen, operation)
    return learnt


def _is_named(answer: Answer, operation: Operation, outcome: Outcome) -> bool:
    """A refused send names the status; other refusals need not, but must not name a wrong one."""
    must = operation.asked.call in (Call.SEND, Call.SEND_BY_ID)
    return outcome.named == answer.named or (outcome.named is None and not must)


def _with_seen(state: State, place: int, seen: Seen, operation: Operation) -> State | None:
    wait = state.waits[place]
    if wait.id is None and any(other.id == seen.id for other in state.waits):
        return None
    if wait.id not in (None, seen.id) or (wait.status, wait.payload) != (seen.status, seen.payload):
        return None
    if not _is_due(wait, seen, operation) or not _is_settled(wait, seen):
        return None
    settled_at = wait.settled_at if seen.settled_at is None else seen.settled_at
    known = wait._replace(id=seen.id, expires=Due(seen.expires_at, True), settled_at=settled_at)
    if known == wait:
        return state
    return state._replace(waits=(*state.waits[:place], known, *state.waits[place + 1 :]))


def _is_due(wait: Wait, seen: Seen, operation: Operation) -> bool:
    """Whether it expires when it must: counted from a moment within the call that said so."""
    if wait.expires.is_known:
        return seen.expires_at == wait.expires.at
    if seen.expires_at >= NEVER or seen.expires_at < wait.expires.at - CLOCK_SLACK_US:
        return False
    asked, status = operation.asked, operation.outcome.status if operation.outcome else 0
    if asked.call != Call.EXTEND and status != 201:
        return True
    return seen.expires_at <= operation.ended_at + asked.timeout_secs * 1_000_000 + CLOCK_SLACK_US


def _is_settled(wait: Wait, seen: Seen) -> bool:
    """Whether `settled_at` is there when it may be, always the same, and of a time-out not too early."""
    if seen.settled_at is None:
        return True
    if wait.status == WAITING or wait.settled_at not in (None, seen.settled_at):
        return False
    return wait.status != TIMED_OUT or seen.settled_at >= seen.expires_at


def _with_held(state: State, place: int, seen: SeenHeld) -> State | None:
    event = state.held[place]
    if event.id is None and any(other.id == seen.id for other in state.held):
        return None
    if event.id not in (None, seen.id):
        return None
    if event.until.is_known and seen.held_until != event.until.at:
        return None
    if seen.held_until < event.until.at - CLOCK_SLACK_US:
        return None
    known = event._replace(id=seen.id, until=Due(seen.held_until, True))
    return state._replace(held=(*state.held[:place], known, *state.held[place + 1 :]))
