"""The states of all steps of a workflow run: one letter a step, kept as a text in its row, worked on as bytes
and asked as bit masks (`graphs.py`). A thousand states are a thousand bytes, and to ask which of them are in
some state takes a few microseconds, so that nothing has to be counted beside them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from narrows.core.states import STEP_LETTERS, StepStatus

_CODES: Final = {status: ord(letter) for status, letter in STEP_LETTERS.items()}
_STATUSES: Final = {code: status for status, code in _CODES.items()}


def fresh(count: int) -> str:
    """The letters of a workflow run that begins."""
    return STEP_LETTERS[StepStatus.PENDING] * count


def kept(letters: str) -> str:
    """The letters of a new run that keeps what an earlier one completed: all else has its turn again."""
    done, pending = STEP_LETTERS[StepStatus.COMPLETED], STEP_LETTERS[StepStatus.PENDING]
    return "".join(letter if letter == done else pending for letter in letters)


def statuses(letters: str) -> list[StepStatus]:
    """The states of all steps, in the order of the definition."""
    return [_STATUSES[code] for code in letters.encode()]


class StepStates:
    """The letters while they change."""

    def __init__(self, letters: str) -> None:
        self._codes = bytearray(letters.encode())

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def letters(self) -> str:
        return self._codes.decode()

    def at(self, step: int) -> StepStatus:
        return _STATUSES[self._codes[step]]

    def put(self, step: int, status: StepStatus) -> None:
        self._codes[step] = _CODES[status]

    def count(self, status: StepStatus) -> int:
        return self._codes.count(_CODES[status])

    def those(self, statuses: frozenset[StepStatus]) -> int:
        """The steps in one of these states, as a mask."""
        if not any(_CODES[status] in self._codes for status in statuses):
            return 0
        return int(self._codes[::-1].translate(_marks(statuses)), 2)

    def replace(self, before: Iterable[StepStatus], after: StepStatus) -> None:
        """Put all that are in one of the states `before` into another."""
        for status in before:
            self._codes = self._codes.replace(bytes((_CODES[status],)), bytes((_CODES[after],)))


@cache
def _marks(statuses: frozenset[StepStatus]) -> bytes:
    """A table that makes a 1 of the letters of these states and a 0 of all others."""
    codes = {_CODES[status] for status in statuses}
    return bytes(ord("1") if code in codes else ord("0") for code in range(256))
