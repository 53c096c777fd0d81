"""Which nodes serve the database, and which of them does what is due.

Whatever is due may be done by any node, and is done once: the rules see to that in the commit. So that
not all of them try at the same moment, each thing that is due is one node's own, by its id; the others
try after a grace, should that node have died. An embedded store has one node, whose own everything is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from zlib import crc32

from narrows.core.records import NEVER

#: What is another node's own is left to it for so long.
GRACE_US: Final = 300_000


class Members(Protocol):
    """The nodes as this one knows them."""

    @property
    def is_alone(self) -> bool:
        """Whether no other node can ever be there: the database is embedded."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def is_heard(self) -> bool:
        """Whether what others commit is heard of at once; where there are no others, nothing is missed."""

    @property
    def is_first(self) -> bool:
        """Whether this node does what one of them has to do now and then (retention)."""

    @property
    def settled_until(self) -> int:
        """No transaction goes on that began before this, in microseconds."""

    def grace_us(self, subject_id: str) -> int:
        """How long to leave what is due to another node: 0 where it is this one's own."""


class Alone:
    """The one node of an embedded store."""

    is_alone = True
    is_first = True
    is_heard = True
    count = 1
    settled_until = NEVER

    def grace_us(self, subject_id: str) -> int:
        return 0


ALONE: Final = Alone()


class Nodes:
    """The living nodes of a shared database, in the order of their slots; `own` is this one's."""

    is_alone = False

    def __init__(self) -> None:
        self.own: int | None = None
        self.is_heard = False
        self.settled_until = 0
        self._slots: tuple[int, ...] = ()

    @property
    def slots(self) -> tuple[int, ...]:
        return self._slots

    def learn(self, own: int | None, slots: Sequence[int]) -> None:
        self.own = own
        self._slots = tuple(sorted(slots))

    @property
    def count(self) -> int:
        return max(1, len(self._slots))

    @property
    def has_others(self) -> bool:
        return len(self._slots) > 1

    @property
    def is_first(self) -> bool:
        return not self._slots or self._slots[0] == self.own

    def grace_us(self, subject_id: str) -> int:
        if len(self._slots) < 2:
            return 0
        # The end of an id is random.
        chosen = self._slots[crc32(subject_id.encode()) % len(self._slots)]
        return 0 if chosen == self.own else GRACE_US
