"""Which of a node's writers takes what waits, where there are several. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

#: Beside a batch of more operations no other one begins, unless it takes long.
HANDFUL: Final = 8


class AtWork:
    """The batches that writers are at work at."""

    def __init__(self) -> None:
        #: How many operations they have, those that take long left out.
        self._timely: list[int] = []

    def is_one_more_worth_it(self, waiting: int) -> bool:
        """Whether an idle writer takes what waits. Beside a handful that is under way as many or more are worth
        their trips to the database; beside a larger batch, which comes where senders are many, nothing is: all that
        waits shares the next one's."""
        largest = max(self._timely, default=0)
        return largest <= HANDFUL and waiting >= largest

    @contextlib.contextmanager
    def batch(self, operations: int) -> Iterator[Callable[[], None]]:
        """While one of so many is under way. It yields what is to be called when that takes long: then nobody waits
        for it."""
        is_timely = True
        self._timely.append(operations)

        def is_late() -> None:
            nonlocal is_timely
            if is_timely:
                self._timely.remove(operations)
            is_timely = False

        try:
            yield is_late
        finally:
            is_late()
