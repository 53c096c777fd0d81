"""What is seen of each request: counts and durations for the metrics, one structured line for the
log. Never a payload, a secret or a token: of a path only what the route table calls harmless, of a
query nothing. Not here: the text of the metrics (`metrics.py`).
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from narrows.api.keys import looks_like_a_secret

if TYPE_CHECKING:
    from narrows.api.call import Call

#: Upper bounds of the duration buckets, in seconds; beyond the last is one more.
DURATION_BOUNDS_SECS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: The label of requests that no route took.
UNMATCHED: Final = "unmatched"

access_logger = logging.getLogger("narrows.access")

#: Signing secrets are plain base64, slashes and all: from their beginning on nothing is shown.
_LIKE_A_SECRET = re.compile(r"whsec(?:_|%5[Ff]).*|(?:[A-Za-z0-9_-]|%[0-9A-Fa-f]{2}){32,}", re.ASCII)
_PLAIN = re.compile(r"[!#-~]+", re.ASCII)


class Durations:
    """A histogram: `counts[i]` requests took at most `DURATION_BOUNDS_SECS[i]`, not cumulative."""

    __slots__ = ("count", "counts", "sum_secs")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS_SECS) + 1)
        self.count = 0
        self.sum_secs = 0.0

    def add(self, secs: float) -> None:
        self.counts[bisect_left(DURATION_BOUNDS_SECS, secs)] += 1
        self.count += 1
        self.sum_secs += secs


class RequestStats:
    """Counted in process since the start. `requests` is by (method, route pattern, status),
    `durations` by (method, route pattern)."""

    __slots__ = ("durations", "in_flight", "requests")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Durations] = {}
        self.in_flight = 0

    def add(self, method: str, pattern: str, status: int, secs: float) -> None:
        """One finished request. A stream's duration is how long it was open: counted, not timed."""
        counted = (method, pattern, status)
        self.requests[counted] = self.requests.get(counted, 0) + 1
        timed = self.durations.get((method, pattern))
        if timed is None:
            timed = self.durations[method, pattern] = Durations()
        timed.add(secs)


def log_access(call: Call, pattern: str, secs: float) -> None:
    """One logfmt line. The record is made by hand: finding the caller would cost more than the rest."""
    credential = getattr(call, "credential", None)
    line = (
        f"method={call.method} route={pattern} path={_shown_path(call, pattern)} status={call.status}"
        f" duration_ms={secs * 1000:.2f} bytes={call.sent_bytes}"
        f" project={_quoted(call.project_id or '-')}"
        f" actor={credential.actor.label if credential is not None else '-'}"
        f" request_id={call.request_id}"
    )
    access_logger.handle(_record(line, call.service.clock.now() / 1_000_000))


#: What all access records of this process have in common: a record that works out its file, process
#: and thread anew costs as much as the line.
_COMMON: Final = vars(logging.LogRecord("narrows.access", logging.INFO, "", 0, "", None, None))


def _record(line: str, now: float) -> logging.LogRecord:
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__.update(_COMMON, msg=line, created=now, msecs=now % 1 * 1000)
    return record


def _shown_path(call: Call, pattern: str) -> str:
    if pattern != UNMATCHED and call.route.secret_path:
        return "***"
    path = call.scope["raw_path"].decode("latin-1")
    if pattern == UNMATCHED:
        # Nobody knows what stands in it: a mistyped callback URL is still a secret.
        return _quoted(_LIKE_A_SECRET.sub("***", path)[:200])
    if looks_like_a_secret(path) or ("%" in path and looks_like_a_secret(unquote(path))):
        return "***"
    return _quoted(path)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', r"\"") + '"'
