"""What the specification (`model.py`) knows of one event key: its waits, held events and delivered
event_ids. What a call with an unknown outcome has made (an id, a due time) stays open here until the first
reply that shows it.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.linearizability.history import Operation

WAITING, RECEIVED, TIMED_OUT, CANCELED = "waiting", "received", "timed_out", "canceled"
#: How far the clocks of the recorder and of the database may be apart.
CLOCK_SLACK_US = 1_000


class Due(NamedTuple):
    """A time in the state: known from a reply, or else not before `at`."""

    at: int
    is_known: bool

    def may_be_ahead(self, operation: Operation) -> bool:
        """Whether the operation can have looked before it."""
        return not self.is_known or operation.invoked_at < self.at + CLOCK_SLACK_US

    def may_be_over(self, operation: Operation) -> bool:
        return operation.ended_at >= self.at - CLOCK_SLACK_US


class Wait(NamedTuple):
    """One trigger. `id` and `settled_at` are None until a reply has told them."""

    id: str | None
    status: str
    payload: str | None
    expires: Due
    settled_at: int | None = None


class Held(NamedTuple):
    """An event that nothing has waited for yet."""

    id: str | None
    payload: str | None
    event_id: str | None
    until: Due


class Delivered(NamedTuple):
    """An event_id whose event has met its wait (by position): a repeat is answered by that wait."""

    event_id: str
    wait: int
    until: Due


class State(NamedTuple):
    """Of one key: its waits, oldest first, of which only the last may be waiting; what is held, first come
    first; delivered event_ids; and a time that has passed, since what it brings has been seen."""

    waits: tuple[Wait, ...] = ()
    held: tuple[Held, ...] = ()
    delivered: tuple[Delivered, ...] = ()
    floor: int = 0


EMPTY = State()


def without_hidden(state: State) -> State:
    """The state without waits that no reply can ever show: their ids nobody has learnt, and by key one means
    a newer one. So it does not matter how many there were, and a search has less to tell apart."""
    shown = {each.wait for each in state.delivered} | {len(state.waits) - 1}
    hidden = [n for n, wait in enumerate(state.waits) if wait.id is None and n not in shown]
    if not hidden:
        return state
    delivered = tuple(
        each._replace(wait=each.wait - sum(n < each.wait for n in hidden)) for each in state.delivered
    )
    waits = tuple(wait for n, wait in enumerate(state.waits) if n not in hidden)
    return state._replace(waits=waits, delivered=delivered)


class Answer(NamedTuple):
    """What is answered, with places in the new state in the stead of triggers."""

    status: int
    wait: int | None = None
    held: int | None = None
    named: str | None = None
    settled: tuple[int, ...] = ()
