"""What is iterated: the stream of one trigger's changes, which reconnects by itself, and all pages of
a list. Pure logic over `steps.py`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from narrows.client import calls
from narrows.client.attempts import Failure, Trouble, judge
from narrows.client.call import Call, Repeat, path_of
from narrows.client.sse import EventParser
from narrows.client.steps import Conditions, Emit, Lost, Open, Pause, Read, Reply, Request, Step
from narrows.wire.messages import Trigger, TriggerPage
from narrows.wire.run_messages import Run, RunPage
from narrows.wire.workflow_messages import WorkflowRun, WorkflowRunPage

T_co = TypeVar("T_co", covariant=True)

#: A comment comes every 15 s; three missing ones mean that the connection is dead.
SILENCE_SECS = 45.0

_decode_trigger = msgspec.json.Decoder(Trigger).decode


@dataclass(frozen=True, slots=True)
class Stream:
    """The source of `stream`: by key until the first frame says which trigger it is, then by id."""

    path: str

    def emitted(self, value: Any) -> Trigger:
        trigger: Trigger = value
        return trigger

    def emissions(self, conditions: Conditions) -> Generator[Step, Any, None]:
        trouble = Trouble(conditions, conditions.retry_secs)
        place = _Place(self.path)
        while True:
            call: Call[Any] = Call(method="GET", path=place.path, reply=bytes, repeat=Repeat.SAFE)
            answer: Reply | Lost | None = yield Open(_request(call, place.last_id))
            if isinstance(answer, Reply) and answer.status == 204:
                return
            if isinstance(answer, Reply) and answer.status == 200:
                answer = yield from place.follow(trouble, conditions)
            if answer is None:
                return
            outcome = judge(call, answer, conditions)
            assert isinstance(outcome, Failure)
            pause_secs = trouble.pause_secs(outcome.error)
            if not outcome.worth_repeating or pause_secs is None:
                raise outcome.error
            yield Pause(pause_secs)


def _request(call: Call[Any], last_id: str | None) -> Request:
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    return Request(call.method, call.target, headers, None, SILENCE_SECS)


class _Place:
    """How far a stream has come, over all its connections."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.last_id: str | None = None

    def follow(self, trouble: Trouble, conditions: Conditions) -> Generator[Step, Any, Lost | None]:
        """Read one connection to its end, emitting every new state of the trigger. None: it is settled."""
        parser = EventParser()
        while True:
            chunk: bytes | Lost = yield Read()
            if isinstance(chunk, Lost):
                return chunk
            if not chunk:
                return Lost("the stream ended before the trigger was settled", sent=True)
            trouble.is_over(conditions.reconnect_secs)
            for event in parser.feed(chunk):
                if event.name != "status" or event.last_id == self.last_id:
                    continue
                trigger = _decode_trigger(event.data)
                self.last_id = event.last_id or None
                self.path = path_of(trigger, None, "/stream")
                yield Emit(trigger)
                if trigger.status != "waiting":
                    return None


class Page(Protocol[T_co]):
    """One page of a list."""

    @property
    def data(self) -> Sequence[T_co]: ...
    @property
    def has_more(self) -> bool: ...
    @property
    def next_cursor(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Pages(Generic[T_co]):
    """The source of `iterate`, `iterate_runs` and `iterate_workflow_runs`."""

    page: Callable[[str | None], Call[Any]]

    def emitted(self, value: Any) -> T_co:
        item: T_co = value
        return item

    def emissions(self, conditions: Conditions) -> Generator[Step, Any, None]:
        cursor: str | None = None
        while True:
            page: Page[T_co] = yield from self.page(cursor).steps(conditions)
            for item in page.data:
                yield Emit(item)
            cursor = page.next_cursor
            if not page.has_more or cursor is None:
                return


def stream(event_key: str | Trigger | None = None, *, trigger_id: str | None = None) -> Stream:
    """Iterate over the states of one trigger: how it is now, then every change, until it is settled.

    Reconnects by itself, also over a restart of the server, and misses and repeats no state that the
    server still knows. A stream by key stays with the trigger that it found first.
    Raises NotFound, and ConnectionFailed where the server could not be reached for the client's
    `reconnect_secs`. Close an async stream that you leave early: `async with contextlib.aclosing(...)`.

    Example::

        for trigger in client.stream("approval:order_1"):
            print(trigger.status)
    """
    return Stream(path_of(event_key, trigger_id, "/stream"))


def iterate(
    *,
    status: str | None = None,
    source_type: str | None = None,
    event_key: str | None = None,
    key_prefix: str | None = None,
    tag: str | None = None,
    workflow_run_id: str | None = None,
    job_run_id: str | None = None,
    page_size: int = 100,
) -> Pages[Trigger]:
    """Iterate over all triggers that `list` would give, newest first, fetching pages as needed.

    Example::

        for trigger in client.iterate(status="waiting", key_prefix="deploy:"):
            print(trigger.event_key, trigger.expires_at)
    """

    def page(cursor: str | None) -> Call[TriggerPage]:
        return calls.list(
            status=status,
            source_type=source_type,
            event_key=event_key,
            key_prefix=key_prefix,
            tag=tag,
            workflow_run_id=workflow_run_id,
            job_run_id=job_run_id,
            limit=page_size,
            cursor=cursor,
        )

    return Pages(page)


def iterate_runs(
    *, status: str | None = None, job: str | None = None, tag: str | None = None, page_size: int = 100
) -> Pages[Run]:
    """Iterate over all runs that `list_runs` would give, newest first, fetching pages as needed.

    Example::

        for run in client.iterate_runs(status="failed", job="resize-image"):
            print(run.id, run.error)
    """

    def page(cursor: str | None) -> Call[RunPage]:
        return calls.list_runs(status=status, job=job, tag=tag, limit=page_size, cursor=cursor)

    return Pages(page)


def iterate_workflow_runs(
    *,
    status: str | None = None,
    workflow: str | None = None,
    tag: str | None = None,
    parent_workflow_run_id: str | None = None,
    page_size: int = 100,
) -> Pages[WorkflowRun]:
    """Iterate over all workflow runs that `list_workflow_runs` would give, newest first, fetching pages as
    needed.

    Example::

        for run in client.iterate_workflow_runs(workflow="deploy-gate", status="failed"):
            print(run.id, run.error)
    """

    def page(cursor: str | None) -> Call[WorkflowRunPage]:
        return calls.list_workflow_runs(
            status=status,
            workflow=workflow,
            tag=tag,
            parent_workflow_run_id=parent_workflow_run_id,
            limit=page_size,
            cursor=cursor,
        )

    return Pages(page)
