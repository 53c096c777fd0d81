"""When a failed attempt is tried again: a growing pause with jitter. Pure: the random bits are the
operation's."""

from __future__ import annotations

from typing import Final

from narrows.core.states import Backoff

FIRST_PAUSE_SECS: Final = 1
LONGEST_PAUSE_SECS: Final = 300
#: A `Retry-After` beyond this is cut: a mistaken header must not park a run for a year.
LONGEST_RETRY_AFTER_SECS: Final = 3_600


def pause_us(attempt: int, entropy: int, retry_after_secs: int | None = None) -> int:
    """Microseconds until the attempt after number `attempt` (from 1).

    `min(300 s, 1 s * 2^(attempt-1))`, of which a random half to whole is taken ("equal jitter": AWS
    Architecture Blog, "Exponential Backoff And Jitter"), so that what failed together does not come
    back together. What the endpoint asked for by Retry-After counts where it is longer.
    """
    whole = min(LONGEST_PAUSE_SECS, FIRST_PAUSE_SECS << min(attempt - 1, 30)) * 1_000_000
    asked = min(retry_after_secs or 0, LONGEST_RETRY_AFTER_SECS) * 1_000_000
    return max(_jittered(whole, entropy), asked)


def step_pause_us(backoff: Backoff, first_secs: int, attempt: int, entropy: int) -> int:
    """The same for a step of a workflow, which says how its pauses grow and how long the first is. They
    grow up to five minutes; a longer first pause stays as long as it is. A fixed one has no jitter."""
    first = first_secs * 1_000_000
    if backoff == Backoff.FIXED:
        return first
    times = attempt if backoff == Backoff.LINEAR else 1 << min(attempt - 1, 30)
    return _jittered(max(first, min(first * times, LONGEST_PAUSE_SECS * 1_000_000)), entropy)


def _jittered(whole: int, entropy: int) -> int:
    return whole // 2 + entropy % (whole // 2 + 1)
