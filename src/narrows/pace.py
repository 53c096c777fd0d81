"""How much of one turn of the event loop goes to requests while a database's answer is awaited by the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

log = logging.getLogger("narrows.pace")

#: So many requests begin, or hear their outcome, in one turn of the loop.
AT_ONCE = 8


class Pace:
    """Calls that are due at once: all of them, or while something is awaited a few in each turn of the loop.

    A writer asks its database several times a batch, and the loop hears an answer between two turns only. A turn
    in which all senders of the last batch are answered and all new ones read takes longer than what was asked;
    the database would stand idle meanwhile, each time.
    """

    def __init__(self) -> None:
        self._awaited = 0
        self._due: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """While an answer is awaited."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call it now, or behind those before it in one of the next turns."""
        if self._awaited or self._due:
            if not self._due:
                asyncio.get_running_loop().call_soon(self._go_on)
            self._due.append((function, arguments))
        else:
            function(*arguments)

    def _go_on(self) -> None:
        many = AT_ONCE if self._awaited else len(self._due)
        for _ in range(min(many, len(self._due))):
            function, arguments = self._due[0]
            try:
                function(*arguments)
            except Exception:
                # A fault of one is not the others'.
                log.exception("what was due could not be called")
            self._due.popleft()  # behind the call: what that one calls in turn comes behind those that are due
        if self._due:
            asyncio.get_running_loop().call_soon(self._go_on)
