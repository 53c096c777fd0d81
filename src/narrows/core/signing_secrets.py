"""The signing secrets of a job or a project, as they are kept: a JSON array of [encrypted secret, until],
the newest first, `until` null for the one in force. Pure text: encrypting and signing are done elsewhere.
"""

from __future__ import annotations

import json
from typing import Final

#: Whoever rotates without end keeps no more than these.
MOST_KEPT: Final = 10


def first_secret(encrypted: str) -> str:
    """The secrets of what has just been made."""
    return json.dumps([[encrypted, None]], separators=(",", ":"))


def rotate(kept: str | None, encrypted: str, now: int, overlap_secs: int) -> str:
    """A new secret in force. The older ones go on signing for `overlap_secs` at most: 0 ends all of
    them at once, as somebody wants whose secret has leaked."""
    until = now + overlap_secs * 1_000_000
    secrets: list[list[str | int | None]] = [[encrypted, None]]
    for old, old_until in json.loads(kept or "[]"):
        ends = until if old_until is None else min(until, old_until)
        if ends > now:
            secrets.append([old, ends])
    return json.dumps(secrets[:MOST_KEPT], separators=(",", ":"))


def old_until(kept: str) -> int | None:
    """Until when the secret before the one in force goes on signing; None if there is none."""
    secrets = json.loads(kept)
    return int(secrets[1][1]) if len(secrets) > 1 else None
