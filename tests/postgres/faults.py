"""What goes wrong at which message: rules that the test sets and the proxy's connections follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Literal, NamedTuple

from tests.postgres.wire import Message, Side

When = Literal["before", "after"]


class Fate(Enum):
    """What happens to the connection at the message."""

    CUT = "both ends are closed"
    HALF_OPEN = "both ends stay open, and nothing passes any more"
    ORPHAN = (
        "the client's end is closed; the server keeps its session, with its locks, until the proxy closes"
    )
    HOLD = "this message, and what follows it, waits for `release`"
    LATE = "the client's end is closed; the message reaches the server all the same, at `release`"


class Rule(NamedTuple):
    """Strikes once, at the first message that it matches: instead of passing it, or after having passed it."""

    matches: Callable[[Message, bool], bool]
    fate: Fate
    when: When


class Faults:
    """The rules in force, and what has passed so far."""

    def __init__(self) -> None:
        #: Messages of each side since `heal` or the beginning, of all connections.
        self.seen: dict[Side, int] = dict.fromkeys(Side, 0)
        #: How many of the client's made the server commit.
        self.commits = 0
        #: Each message waits this long, in its turn.
        self.delay_secs = 0.0
        self._rules: list[Rule] = []
        self._strikes = asyncio.Semaphore(0)
        self._released = asyncio.Event()

    def on(self, matches: Callable[[Message], bool], when: When = "before", fate: Fate = Fate.CUT) -> None:
        """Strike at the first message that matches."""
        self._rules.append(Rule(lambda message, _: matches(message), fate, when))

    def cut_at(
        self, number: int, side: Side = Side.CLIENT, when: When = "before", fate: Fate = Fate.CUT
    ) -> None:
        """Strike at that message from now on, the next one being 1; each side has a count of its own."""
        left = number

        def counted(message: Message) -> bool:
            nonlocal left
            left -= message.side is side
            return left == 0 and message.side is side

        self.on(counted, when, fate)

    def on_commit(self, when: When = "before", fate: Fate = Fate.CUT) -> None:
        """Strike at the next commit: before the server gets it, or when it has committed and its answer is due."""
        side = Side.CLIENT if when == "before" else Side.SERVER
        self._rules.append(Rule(lambda message, commits: commits and message.side is side, fate, "before"))

    async def struck(self, timeout_secs: float = 10) -> None:
        """Wait until a rule has struck, once for each."""
        await asyncio.wait_for(self._strikes.acquire(), timeout_secs)

    async def held(self) -> None:
        """Wait for `release`."""
        await self._released.wait()

    def release(self) -> None:
        """Let go what is held."""
        self._released.set()
        self._released = asyncio.Event()

    def reset(self) -> None:
        """No rules, no delay, nothing held, nothing counted."""
        self.seen = dict.fromkeys(Side, 0)
        self.commits = 0
        self.delay_secs = 0.0
        self._rules.clear()
        self._strikes = asyncio.Semaphore(0)
        self.release()

    def rule_for(self, message: Message, commits: bool) -> Rule | None:
        """Count the message; the rule that strikes at it, which is then used up."""
        self.seen[message.side] += 1
        self.commits += commits and message.side is Side.CLIENT
        found = [rule for rule in self._rules if rule.matches(message, commits)]
        if not found:
            return None
        self._rules.remove(found[0])
        self._strikes.release()
        return found[0]
