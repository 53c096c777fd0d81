"""The id that every reply carries: the caller's own where it is sane, else one of ours."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from narrows.api.keys import looks_like_a_secret

if TYPE_CHECKING:
    from narrows.clock import Clock

_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestIds:
    """Ours are random once per process and counted from there: unique, and free to make."""

    __slots__ = ("_next", "_prefix")

    def __init__(self, clock: Clock) -> None:
        self._prefix = clock.random_bytes(6).hex()
        self._next = count(1)

    def of(self, inbound: bytes | None) -> str:
        if inbound is not None and _SANE.fullmatch(inbound):
            request_id = inbound.decode()
            if not looks_like_a_secret(request_id):  # it goes to the log
                return request_id
        return f"{self._prefix}-{next(self._next):x}"
