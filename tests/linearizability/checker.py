"""Is there an order of a key's operations that a server doing one thing at a time could have answered, and
that no clock contradicts: what was answered before another was asked comes before it? Wing and Gong's search
with Lowe's memory of what was tried (the operations placed so far and the state after them).

A call whose outcome nobody knows may stand anywhere after it was asked, or nowhere.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from tests.linearizability.history import Call, History, Operation, describe, describe_all, show_time
from tests.linearizability.model import step
from tests.linearizability.state import EMPTY, State

#: A search beyond so many situations is given up, and says so: nothing is shown then.
MOST_EXPLORED = 500_000


class Verdict(NamedTuple):
    """`text` tells of a refusal: how far the history makes sense, and what cannot come next."""

    is_ok: bool
    text: str
    explored: int


class _Path(NamedTuple):
    operation: int
    before: _Path | None


class _Point(NamedTuple):
    """Where the search stands: what is placed (a bit each), the state after it, and in what order."""

    placed: int
    state: State
    path: _Path | None


def check(history: History, most_explored: int = MOST_EXPLORED) -> Verdict:
    """Whether the history is linearizable."""
    search = _Search(history)
    return search.run(most_explored)


class _Search:
    def __init__(self, history: History) -> None:
        self.key = history.key
        self.operations = sorted(history.operations, key=lambda each: each.invoked_at)
        #: Those with an outcome come first, so that unknown ones are only called in where they are needed.
        self.by_need = sorted(range(len(self.operations)), key=lambda n: self.operations[n].outcome is None)
        self.known = sum(1 << n for n, each in enumerate(self.operations) if each.outcome is not None)

    def run(self, most_explored: int) -> Verdict:
        """Look first where the fewest unknown calls took effect, and there where the most is placed."""
        best, tried = _Point(0, EMPTY, None), {(0, EMPTY)}
        heap = [(0, 0, 0, best)]
        while heap:
            point = heapq.heappop(heap)[-1]
            if point.placed & self.known == self.known:
                return Verdict(True, "", len(tried))
            if self._count(point) > self._count(best):
                best = point
            if len(tried) > most_explored:
                return Verdict(False, f"{self.key}: given up after {len(tried)} situations", len(tried))
            for following in self._following(point):
                if following[:2] not in tried:
                    tried.add(following[:2])
                    unknown = (following.placed & ~self.known).bit_count()
                    heapq.heappush(heap, (unknown, -self._count(following), -len(tried), following))
        return Verdict(False, self._refusal(best), len(tried))

    def _count(self, point: _Point) -> int:
        return (point.placed & self.known).bit_count()

    def _candidates(self, placed: int) -> list[int]:
        """What may come next: nothing that is not placed yet was answered before it was asked."""
        missing = [n for n in self.by_need if not placed >> n & 1]
        first_end = min(self.operations[n].ended_at for n in missing)
        return [n for n in missing if self.operations[n].invoked_at <= first_end]

    def _following(self, point: _Point) -> list[_Point]:
        following: list[_Point] = []
        for n in self._candidates(point.placed):
            operation = self.operations[n]
            states = step(point.state, operation)
            placed, path = point.placed | 1 << n, _Path(n, point.path)
            if point.state in states and _only_looks(operation):
                # It fits here and changes nothing: if there is an order at all, there is one with it here.
                return [_Point(placed, point.state, path)]
            # An unknown call without effect is the same as one that never was.
            gained = [state for state in states if operation.outcome is not None or state != point.state]
            following += [_Point(placed, state, path) for state in gained]
        return following

    def _refusal(self, best: _Point) -> str:
        order: list[Operation] = []
        path = best.path
        while path is not None:
            order.append(self.operations[path.operation])
            path = path.before
        since = self.operations[0].invoked_at
        candidates = [self.operations[n] for n in self._candidates(best.placed)]
        stuck = min(candidates, key=lambda each: each.ended_at)
        placed, others = self._count(best), [each for each in candidates if each is not stuck]
        rest = [each for n, each in enumerate(self.operations) if not best.placed >> n & 1]
        rest = [each for each in rest if each not in candidates]
        alternatives = f"\nnor can, before it, any of:\n{describe_all(others, since)}" if others else ""
        later = f"\nlater:\n{describe_all(rest, since)}" if rest else ""
        return (
            f"{self.key}: not linearizable. {placed} of {self.known.bit_count()} answers make sense, in this order:\n"
            f"{describe_all(reversed(order), since)}\n"
            f"after which {_show(best.state, since)}\n"
            f"this must come next, and cannot:\n  {describe(stuck, since)}{alternatives}{later}"
        )


def _only_looks(operation: Operation) -> bool:
    """Whether the operation, answered as it was, has changed nothing but what time would have."""
    if operation.outcome is None:
        return False
    if operation.outcome.status >= 400 or operation.asked.call in (Call.GET, Call.GET_BY_ID):
        return True
    return operation.asked.call == Call.SEND_PREFIX and not operation.outcome.settled


def _show(state: State, since: int) -> str:
    """The state in a line."""
    wait = state.waits[-1] if state.waits else None
    words = "nothing has waited"
    if wait is not None:
        words = f"the newest wait {(wait.id or 'of unknown id')[-6:]} is {wait.status}"
        words += f" {wait.payload or ''} (expires {show_time(wait.expires.at, since)})"
    return f"{words}, of {len(state.waits)}; held: {[event.payload for event in state.held]}"
