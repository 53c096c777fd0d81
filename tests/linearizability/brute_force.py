"""The checker's own checker, for short histories: tries every order, remembers nothing, skips nothing."""

from __future__ import annotations

from tests.linearizability.history import History, Operation
from tests.linearizability.model import step
from tests.linearizability.state import EMPTY, State


def is_linearizable(history: History) -> bool:
    return _some_order(EMPTY, history.operations)


def _some_order(state: State, missing: tuple[Operation, ...]) -> bool:
    """Whether what is missing can come in some order; what has no outcome may be left out."""
    if all(each.outcome is None for each in missing):
        return True
    for place, operation in enumerate(missing):
        others = missing[:place] + missing[place + 1 :]
        if any(other.ended_at < operation.invoked_at for other in others):
            continue
        if any(_some_order(after, others) for after in step(state, operation)):
            return True
    return False


def beginning(history: History, operations: int) -> History:
    """The history as it was when so many calls had been answered: others that were under way are unknown.
    If the whole is linearizable, so is this."""
    answered = sorted(each.ended_at for each in history.operations if each.outcome is not None)
    until = answered[min(operations, len(answered)) - 1]
    begun = (each for each in history.operations if each.invoked_at <= until)
    return History(
        history.key,
        tuple(
            each if each.ended_at <= until else each._replace(outcome=None, returned_at=None)
            for each in begun
        ),
    )
