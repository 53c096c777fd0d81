"""The sequential specification of one event key, after sections 3 and 4 of the HTTP contract: what a
server that did one thing at a time would do and answer. Pure. `step(state, operation)` gives the states
that are possible after the operation came next and was answered as it was; none: that answer is wrong.

Time-outs are no calls. A wait may be timed out from its `expires_at` on, by whoever comes next; a call that
changes something never finds it waiting later, while a get may (timers have their lateness, which the
contract hides from senders alone). So an operation has two readings where a time is near, and the
checker tries both.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.linearizability.history import NEVER, Asked, Call, Operation
from tests.linearizability.matching import matched
from tests.linearizability.state import (
    CANCELED,
    CLOCK_SLACK_US,
    RECEIVED,
    TIMED_OUT,
    WAITING,
    Answer,
    Delivered,
    Due,
    Held,
    State,
    Wait,
    without_hidden,
)

NOT_DONE = 503
#: How long an event_id is kept where the send gave no `hold_secs`.
EVENT_ID_SECS = 86_400

Effects = Iterator[tuple[State, Answer]]


def step(state: State, operation: Operation) -> list[State]:
    """All states that are possible if `operation` takes effect now; none if it cannot."""
    if operation.ended_at < state.floor - CLOCK_SLACK_US:
        return []
    outcome = operation.outcome
    if outcome is not None and outcome.status == NOT_DONE:
        return [state]
    found: list[State] = []
    for after, answer in _effects(state, operation):
        fitting = after if outcome is None else matched(after, answer, operation, outcome)
        if fitting is not None and (plain := without_hidden(fitting)) not in found:
            found.append(plain)
    return found


# ---- the rules ---------------------------------------------------------------------------------


def _effects(state: State, operation: Operation) -> Effects:
    asked = operation.asked
    if asked.call == Call.OPEN:
        yield from _open(state, operation)
    elif asked.call == Call.START:
        # Where something waits already the workflow has failed; the answer does not say which it was.
        for after, _ in _open(state, operation):
            yield after, Answer(201)
    elif asked.call == Call.SEND:
        yield from _send(state, operation)
    elif asked.call == Call.SEND_PREFIX:
        yield from _send_prefix(state, operation)
    else:
        place = _place(state, asked)
        if place is None:
            yield state, Answer(404)
            return
        for now in _in_time(state, place, operation):
            yield _on_wait(now, place, operation)


def _on_wait(state: State, place: int, operation: Operation) -> tuple[State, Answer]:
    """The calls about one wait that exists, by key or by id."""
    asked, wait = operation.asked, state.waits[place]
    if asked.call in (Call.GET, Call.GET_BY_ID):
        return state, Answer(200, wait=place)
    if asked.call == Call.SEND_BY_ID:
        return _deliver(state, place, asked.payload)
    if wait.status != WAITING:
        return state, Answer(409, named=wait.status)
    if asked.call == Call.EXTEND:
        changed = wait._replace(expires=_due(operation, asked.timeout_secs))
    else:
        changed = wait._replace(status=CANCELED)
    return _with(state, place, changed), Answer(200, wait=place)


def _open(state: State, operation: Operation) -> Effects:
    last = len(state.waits) - 1
    for now in _in_time(state, last, operation):
        if last >= 0 and now.waits[last].status == WAITING:
            yield now, Answer(200, wait=last) if operation.asked.join else Answer(409)
            continue
        wait = Wait(None, WAITING, None, _due(operation, operation.asked.timeout_secs))
        for free, event in _first_held(now, operation):
            opened = wait if event is None else wait._replace(status=RECEIVED, payload=event.payload)
            made = free._replace(waits=(*free.waits, opened))
            if event is not None and event.event_id is not None:
                delivered = Delivered(event.event_id, last + 1, event.until)
                made = made._replace(delivered=(*made.delivered, delivered))
            yield made, Answer(201, wait=last + 1)


def _first_held(state: State, operation: Operation) -> Iterator[tuple[State, Held | None]]:
    """The held event that a new wait gets: the first whose time is not over."""
    if not state.held:
        yield state, None
        return
    first, rest = state.held[0], state._replace(held=state.held[1:])
    if first.until.may_be_ahead(operation):
        yield rest, first
    if first.until.may_be_over(operation):
        yield from _first_held(_passed(rest, first.until), operation)


def _send(state: State, operation: Operation) -> Effects:
    asked, last = operation.asked, len(state.waits) - 1
    for timed in _in_time(state, last, operation):
        for now, repeat in _earlier(timed, operation):
            if repeat is not None:
                yield now, repeat
            elif asked.hold_secs is not None and not (last >= 0 and now.waits[last].status == WAITING):
                event = Held(None, asked.payload, asked.event_id, _due(operation, asked.hold_secs))
                yield now._replace(held=(*now.held, event)), Answer(202, held=len(now.held))
            elif last < 0:
                yield now, Answer(404)
            else:
                after, answer = _deliver(now, last, asked.payload)
                if answer.status == 200 and asked.event_id is not None:
                    until = _due(operation, asked.hold_secs or EVENT_ID_SECS)
                    delivered = Delivered(asked.event_id, last, until)
                    after = after._replace(delivered=(*after.delivered, delivered))
                yield after, answer


def _earlier(state: State, operation: Operation) -> Iterator[tuple[State, Answer | None]]:
    """Whether an event of this event_id is known already, and then how its repeat is answered."""
    event_id = operation.asked.event_id
    held = [n for n, each in enumerate(state.held) if event_id is not None and each.event_id == event_id]
    delivered = [n for n, each in enumerate(state.delivered) if each.event_id == event_id]
    if not held and not delivered:
        yield state, None
        return
    if held:
        until, repeat = state.held[held[0]].until, Answer(202, held=held[0])
        kept = state.held[: held[0]] + state.held[held[0] + 1 :]
        forgotten = state._replace(held=kept)
    else:
        known = state.delivered[delivered[0]]
        until, repeat = known.until, Answer(200, wait=known.wait)
        forgotten = state._replace(delivered=tuple(each for each in state.delivered if each != known))
    if until.may_be_ahead(operation):
        yield state, repeat
    if until.may_be_over(operation):
        yield _passed(forgotten, until), None


def _send_prefix(state: State, operation: Operation) -> Effects:
    """It first looks for what waits, and passes by what is overdue, without timing it out."""
    last = len(state.waits) - 1
    for now in _in_time(state, last, operation):
        if last >= 0 and now.waits[last].status == WAITING:
            after, _ = _deliver(now, last, operation.asked.payload)
            yield after, Answer(200, settled=(last,))
        else:
            yield now, Answer(200)
    if last >= 0 and state.waits[last].status == WAITING and state.waits[last].expires.may_be_over(operation):
        yield state, Answer(200)


def _deliver(state: State, place: int, payload: str | None) -> tuple[State, Answer]:
    """An event meets a wait: it settles it, is a resend, or comes too late."""
    wait = state.waits[place]
    if wait.status == WAITING:
        received = wait._replace(status=RECEIVED, payload=payload)
        return _with(state, place, received), Answer(200, wait=place)
    if wait.status == RECEIVED and wait.payload == payload:
        return state, Answer(200, wait=place)
    return state, Answer(409, named=wait.status)


# ---- time and places ---------------------------------------------------------------------------


def _in_time(state: State, place: int, operation: Operation) -> Iterator[State]:
    """The state as an operation on this wait may find it: the wait timed out or not yet."""
    wait = state.waits[place] if place >= 0 else None
    if wait is None or wait.status != WAITING:
        yield state
        return
    is_read = operation.asked.call in (Call.GET, Call.GET_BY_ID)
    if is_read or wait.expires.may_be_ahead(operation):
        yield state
    if wait.expires.at < NEVER and wait.expires.may_be_over(operation):
        yield _passed(_with(state, place, wait._replace(status=TIMED_OUT)), wait.expires)


def _passed(state: State, due: Due) -> State:
    return state._replace(floor=max(state.floor, due.at))


def _due(operation: Operation, secs: int) -> Due:
    """Counted from when the server looked, which was not before it was asked."""
    return Due(operation.invoked_at + secs * 1_000_000, False) if secs else Due(NEVER, True)


def _place(state: State, asked: Asked) -> int | None:
    """Which wait is meant: by id that one, by key the last."""
    if asked.trigger_id is None:
        return len(state.waits) - 1 if state.waits else None
    return next((n for n, wait in enumerate(state.waits) if wait.id == asked.trigger_id), None)


def _with(state: State, place: int, wait: Wait) -> State:
    return state._replace(waits=(*state.waits[:place], wait, *state.waits[place + 1 :]))
