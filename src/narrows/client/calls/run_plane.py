"""The calls of the run plane: what a run that is being executed may ask for itself, by the token of its
dispatch. All are safe to repeat: the server answers a repeated ending call as it did the first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET

from narrows.client.call import Call, encode_body, encode_payload, encode_segment
from narrows.wire import run_messages
from narrows.wire.messages import Message
from narrows.wire.run_messages import EventToWaitFor, GroupMode, OnEnd, RunState, WaitResult


class RunPlane(NamedTuple):
    """The calls of one dispatch of one run.

    A token of an earlier dispatch is refused with Conflict, that of an ended run with Gone.
    """

    run_id: str
    run_token: str

    def payload(self) -> Call[Any]:
        """What the run was triggered with; None where it was nothing."""
        return self._call("GET", "payload", Any)

    def get_checkpoint(self) -> Call[run_messages.Checkpoint]:
        """What the run kept, and how its last wait ended."""
        return self._call("GET", "checkpoint", run_messages.Checkpoint)

    def save_checkpoint(self, state: Any) -> Call[RunState]:
        """Keep any JSON value with the run, for its later dispatches."""
        return self._post("checkpoint", run_messages.CheckpointRequest(state=encode_payload(state)), RunState)

    def log(
        self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info"
    ) -> Call[RunState]:
        """Write a line (up to 4,096 characters) into the run's timeline. After a lost connection it may
        stand there twice."""
        return self._post("log", run_messages.LogRequest(message=message, level=level), RunState)

    def progress(self, percent: float | None = None, message: str | None = None) -> Call[RunState]:
        """Show how far the run is, 0 to 100 percent."""
        return self._post(
            "progress", run_messages.ProgressRequest(percent=percent, message=message), RunState
        )

    def heartbeat(self) -> Call[run_messages.Lease]:
        """Renew the lease. Raises Conflict if the run is no longer this dispatch's, Gone if it has ended."""
        return self._call("POST", "heartbeat", run_messages.Lease)

    def complete(self, result: Any = UNSET) -> Call[RunState]:
        """End the run with its result, any JSON value."""
        return self._post("complete", run_messages.CompleteRequest(result=encode_payload(result)), RunState)

    def fail(self, error: str, *, retry: bool = True) -> Call[RunState]:
        """End this attempt with an error (up to 10,000 characters). With `retry` it is tried again later,
        as often as the job allows."""
        return self._post("fail", run_messages.FailRequest(error=error, retry=retry), RunState)

    def release(self) -> Call[RunState]:
        """Give the run back: it is queued again at once, and this was no attempt."""
        return self._call("POST", "release", RunState)

    def sleep(self, duration_secs: int) -> Call[WaitResult]:
        """Set the run down for `duration_secs` (0 to 31,536,000) seconds. This dispatch is over."""
        return self._post("sleep", run_messages.SleepRequest(duration_secs=duration_secs), WaitResult)

    def wait_for_event(
        self,
        event_key: str,
        *,
        timeout_secs: int = 3600,
        request_payload: Any = UNSET,
        expected_schema: Any = UNSET,
        notify_url: str | None = None,
        callback_url: bool = False,
        on_timeout: OnEnd = "end",
        on_cancel: OnEnd = "end",
    ) -> Call[WaitResult]:
        """Set the run down until the event `event_key` is there. This dispatch is over: the run goes on in
        a new one, whose checkpoint has the event.

        `timeout_secs`: 0 (no time-out) to 31,536,000. `on_timeout` and `on_cancel` say what a wait that ends
        without an event does: "end" the run, or "resume" it to find out by its checkpoint.
        Raises Conflict if the key is waiting already.
        """
        request = run_messages.WaitRequest(
            event_key=event_key,
            timeout_secs=timeout_secs,
            request_payload=encode_payload(request_payload),
            expected_schema=encode_payload(expected_schema),
            notify_url=notify_url,
            callback_url=callback_url,
            on_timeout=on_timeout,
            on_cancel=on_cancel,
        )
        return self._post("wait-for-event", request, WaitResult)

    def wait_for_events(
        self,
        events: Iterable[str | EventToWaitFor],
        *,
        mode: GroupMode = "any",
        count: int | None = None,
        timeout_secs: int = 3600,
        on_timeout: OnEnd = "end",
        on_cancel: OnEnd = "end",
    ) -> Call[WaitResult]:
        """Set the run down until `any` of up to 100 events is there, `all` of them, or `count` of them;
        waits that are then left over are canceled. `timeout_secs` is for events that name none themselves.

        Raises Conflict if one of the keys is waiting already.
        """
        request = run_messages.WaitRequest(
            events=[_wanted(each) for each in events],
            mode=mode,
            count=count,
            timeout_secs=timeout_secs,
            on_timeout=on_timeout,
            on_cancel=on_cancel,
        )
        return self._post("wait-for-event", request, WaitResult)

    def _post(self, name: str, request: Message, reply: Any) -> Call[Any]:
        return self._call("POST", name, reply, encode_body(request))

    def _call(self, method: str, name: str, reply: Any, body: bytes | None = None) -> Call[Any]:
        path = f"/sdk/v1/runs/{encode_segment(self.run_id)}/{name}"
        return Call(method=method, path=path, body=body, reply=reply, run_token=self.run_token)


def _wanted(event: str | EventToWaitFor) -> EventToWaitFor:
    if isinstance(event, str):
        return EventToWaitFor(event_key=event)
    return msgspec.structs.replace(
        event,
        request_payload=encode_payload(event.request_payload),
        expected_schema=encode_payload(event.expected_schema),
    )
