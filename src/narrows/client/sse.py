"""A parser of `text/event-stream` by the rules of the WHATWG HTML standard: lines may end in CR, LF
or CRLF and be cut anywhere between two chunks; comments, an unknown field and a byte order mark are
skipped; several `data` lines are one text. Pure. Not here: reconnecting (`following.py`)."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple


class ServerEvent(NamedTuple):
    """One event. `last_id` is the newest id so far, which later events without one keep."""

    name: str
    data: str
    last_id: str


class EventParser:
    """Fed with bytes in any cut, gives the same events. What an end of stream leaves unfinished is
    no event."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._partial: list[str] = []
        self._at_start = True
        self._skip_lf = False
        self._name = ""
        self._data: list[str] = []
        self._id = ""
        #: The server's wish for the pause before a reconnect, in milliseconds.
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that this chunk completes."""
        text = self._decode(chunk)
        if not text:
            return
        if self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._skip_lf:
            text = text.removeprefix("\n")
        # A CR at the very end ends its line at once; the LF that may follow is then skipped.
        self._skip_lf = text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            self._partial.append(line)
            event = self._line("".join(self._partial))
            self._partial.clear()
            if event is not None:
                yield event
        if rest:
            self._partial.append(rest)

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return ServerEvent(name, "\n".join(data), self._id) if data else None
