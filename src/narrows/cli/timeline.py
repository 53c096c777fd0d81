"""A run's timeline, read and followed: oldest first, as people read it, though the server gives the
newest first. Lives through restarts of the server. Not here: the commands (`runs.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from rich.text import Text

from narrows.cli import output
from narrows.cli.session import Session
from narrows.client import calls
from narrows.client.attempts import attempt
from narrows.client.call import Call
from narrows.client.run_waiting import LIVE
from narrows.client.steps import Conditions, Pause, Step
from narrows.wire.run_messages import RunEvent

R = TypeVar("R")

LOGGED = "run.logged"
#: The timeline is no stream: it is looked at this often, and at once when the run ends.
LOOK_SECS = 1
_PAGE_LIMIT = 100
_LEVELS = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}


class _Page(msgspec.Struct):
    """Its lines left as the text that they came as."""

    data: list[msgspec.Raw]
    has_more: bool = False
    next_cursor: str | None = None


class _Line(msgspec.Struct):
    id: str
    kind: str


class _Logged(msgspec.Struct):
    level: str = "info"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Patient(Generic[R]):
    """A call by somebody who follows: a server that is away for long is lived through. `pause_secs` go by
    before it."""

    call: Call[R]
    pause_secs: float = 0

    def steps(self, conditions: Conditions) -> Generator[Step, Any, R]:
        if self.pause_secs:
            yield Pause(self.pause_secs)
        return (yield from attempt(self.call, conditions, retry_secs=conditions.reconnect_secs))


class Timeline:
    """The lines of one run, and how far they were read. `call` reads a page of them."""

    def __init__(
        self,
        session: Session,
        run_id: str,
        wanted: Callable[[str], bool] = bool,
        call: Callable[..., Call[Any]] = calls.run_events,
    ) -> None:
        self._session = session
        self._run_id = run_id
        self._wanted = wanted
        self._call = call
        self._last_id: str | None = None

    async def new_lines(self) -> list[bytes]:
        """Lines that were not read yet and whose kind is wanted, oldest first."""
        found: list[bytes] = []
        newest: str | None = None
        cursor: str | None = None
        while True:
            page = await self._page(cursor)
            for raw in page.data:
                line = msgspec.json.decode(raw, type=_Line)
                if line.id == self._last_id:
                    page.has_more = False
                    break
                newest = newest or line.id
                if self._wanted(line.kind):
                    found.append(bytes(raw))
            cursor = page.next_cursor
            if not page.has_more or cursor is None:
                break
        self._last_id = newest or self._last_id
        return found[::-1]

    async def follow(self) -> AsyncIterator[bytes]:
        """All lines, and the new ones as they come, until the run has ended."""
        run = await self._session.client.get_run(self._run_id)
        while True:
            for line in await self.new_lines():
                yield line
            if run.status not in LIVE:
                return
            poll = calls.wait_for_run_once(self._run_id, timeout_secs=LOOK_SECS)
            run = await self._session.client.perform(Patient(poll))

    async def _page(self, cursor: str | None) -> _Page:
        call = self._call(self._run_id, limit=_PAGE_LIMIT, cursor=cursor)
        return await self._session.client.perform(Patient(_unread(call)))


def _unread(call: Call[Any]) -> Call[_Page]:
    """The call with its items left as they came: what is decoded and written again loses digits."""
    return Call(method=call.method, path=call.path, query=call.query, reply=_Page)


def as_text(raw: bytes) -> Text:
    """A line for a person: `12:00:01  run.dispatched  server:host  {"dispatch": 1}`."""
    line = msgspec.json.decode(raw, type=RunEvent)
    text = Text(f"{line.at:%H:%M:%S}  ", style="dim")
    text.append(f"{line.kind:<17}", style="bold" if line.kind != LOGGED else "")
    if line.kind == LOGGED:
        return text.append("  ").append(as_log_text(line))
    if line.actor:
        text.append(f"  {output.shown(line.actor)}", style="")
    if line.detail is not msgspec.UNSET and line.detail is not None:
        text.append(f"  {output.shown(plain(line.detail))}", style="")
    return text


def as_log_text(line: RunEvent) -> Text:
    """A line that the run logged itself."""
    said = msgspec.convert(line.detail, _Logged) if isinstance(line.detail, dict) else _Logged()
    return Text(f"{said.level:<7}  {output.shown(said.message)}", style=_LEVELS.get(said.level, ""))


def plain(detail: Any) -> str:
    """What a line says beside its kind, for a person."""
    if isinstance(detail, dict):
        return ", ".join(f"{name}: {plain(value)}" for name, value in detail.items())
    if isinstance(detail, list):
        return " ".join(map(plain, detail))
    return detail if isinstance(detail, str) else msgspec.json.encode(detail).decode()
