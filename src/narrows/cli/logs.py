"""The form of the log lines: short ones for a person, logfmt or JSON for a machine. Fields travel as
`extra=` of the standard logging. Not here: what is logged; payloads and secrets never are."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TextIO

from narrows.config import Config

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
#: The API makes its line a request as logfmt by itself, cheaply; here its fields are found again.
_ACCESS: Final = "narrows.access"
_PAIR: Final = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
#: Request lines are written after so long, or when there are so many.
_GATHER_SECS: Final = 0.1
_LINES: Final = 256
_COLOURS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _one_line(text: str) -> str:
    """A line of log is a line: nothing from outside may begin another or move the cursor."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


class Human(logging.Formatter):
    """`12:00:01 message field=value`, in colour where something is wrong."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        message = _request(record) if record.name == _ACCESS else _one_line(record.getMessage())
        line = f"{_time(record):%H:%M:%S} {message}{fields}"
        tint = _COLOURS.get(record.levelname) if self._colour else None
        line = f"{tint}{line}\x1b[0m" if tint else line
        return line + _trace(self, record)


def _request(record: logging.LogRecord) -> str:
    """`POST /v1/events 201 1.24 ms`."""
    found = dict(_PAIR.findall(record.getMessage()))
    return " ".join((*(found.get(name, "-") for name in ("method", "path", "status", "duration_ms")), "ms"))


class Logfmt(logging.Formatter):
    """`time=... level=info logger=narrows.api message="..." field=value`."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == _ACCESS:
            # On the path of every request, and logfmt already.
            time = f"{_seconds(int(record.created))}.{int(record.msecs * 1000):06d}Z"
            return f"time={time} level=info logger={_ACCESS} {record.msg}"
        return " ".join(f"{name}={_quoted(value)}" for name, value in _all_fields(self, record).items())


@lru_cache(maxsize=4)
def _seconds(whole: int) -> str:
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}"


class Gathering(logging.StreamHandler[TextIO]):
    """Writes request lines some at a time: one system call for each would cost a busy server as much
    as a tenth of a send. Anything graver than info goes out at once, with all that waits."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._due = threading.Event()
        threading.Thread(target=self._write_when_due, name="narrows-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
            if record.levelno > logging.INFO or record.name != _ACCESS or len(self._lines) >= _LINES:
                self.flush()
            elif len(self._lines) == 1:
                self._due.set()
        except Exception:  # noqa: BLE001 - logging's own way: a log line never breaks a request
            self.handleError(record)

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()

    def _write_when_due(self) -> None:
        pause = threading.Event()
        while True:
            self._due.wait()
            pause.wait(_GATHER_SECS)
            self._due.clear()
            self.flush()


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_all_fields(self, record), ensure_ascii=False, default=str)


def _all_fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    is_access = record.name == _ACCESS
    said = dict(_PAIR.findall(record.getMessage())) if is_access else {"message": record.getMessage()}
    fields = {
        "time": f"{_time(record):%Y-%m-%dT%H:%M:%S.%fZ}",
        "level": record.levelname.lower(),
        "logger": record.name,
        **{name: value.strip('"') for name, value in said.items()},
        **_fields(record),
    }
    trace = _trace(formatter, record)
    return fields | {"trace": trace.strip()} if trace else fields


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if text and text.isprintable() and not set(text) & set(' ="'):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def set_up(config: Config) -> None:
    """Send all log lines of this process to stderr in the configured form."""
    terminal = sys.stderr.isatty()
    form = config.log_format if config.log_format != "auto" else ("human" if terminal else "logfmt")
    formatter: logging.Formatter = Human(colour=terminal)
    if form == "logfmt":
        formatter = Logfmt()
    elif form == "json":
        formatter = Json()
    handler = logging.StreamHandler(sys.stderr) if terminal else Gathering(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    # uvicorn's own lines about requests and start-up would say everything twice.
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
