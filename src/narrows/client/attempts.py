"""The retry machine: one call, sent until it is answered, refused, or not worth another try. Pure
logic over `steps.py`.

What may be repeated. A request that never left, and a refusal that the server itself has worded
(429, 503: "not done"), may be repeated whatever it was. Where nobody knows whether it was done (a
connection lost in between, 502 and 504, a 503 worded by something in front of the server) only a
call that is safe to repeat is.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from narrows.client.call import Call, Repeat
from narrows.client.pace import jitter
from narrows.client.replies import read_reply
from narrows.client.steps import Conditions, Exchange, Lost, Pause, Reply, Request, Step
from narrows.errors import Conflict, ConnectionFailed, NarrowsError, OutcomeUnknown

R = TypeVar("R")

FIRST_PAUSE_SECS = 0.1
LONGEST_PAUSE_SECS = 5.0


class OutOfTime(Exception):
    """The caller's own time is over before another try could be made; `error` is why it is needed."""

    def __init__(self, error: NarrowsError) -> None:
        super().__init__(str(error))
        self.error = error


class Failure(NamedTuple):
    """An answer that is no result. `not_done`: the server has certainly changed nothing."""

    error: NarrowsError
    worth_repeating: bool
    not_done: bool


class Trouble:
    """How long something has been failing, and the pause before the next try."""

    def __init__(self, conditions: Conditions, budget_secs: float) -> None:
        self._pace = conditions.pace
        self._budget_secs = budget_secs
        self._since: float | None = None
        self._next_secs = FIRST_PAUSE_SECS

    def is_over(self, budget_secs: float) -> None:
        """It works again; from now on `budget_secs` count for the next trouble."""
        self._budget_secs = budget_secs
        self._since = None
        self._next_secs = FIRST_PAUSE_SECS

    def pause_secs(self, error: NarrowsError, at_least_secs: float = 0.0) -> float | None:
        """Seconds to let pass before another try; None where the time to try is used up."""
        now = self._pace.monotonic()
        if self._since is None:
            self._since = now
        secs = max(jitter(self._pace, self._next_secs), error.retry_after_secs or 0)
        if now + secs - self._since > max(self._budget_secs, at_least_secs):
            return None
        self._next_secs = min(self._next_secs * 2, LONGEST_PAUSE_SECS)
        return secs


def request_of(call: Call[Any], conditions: Conditions) -> Request:
    """The request of a call, with the Idempotency-Key that all its repeats share."""
    headers = {}
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    if call.run_token is not None:
        headers["Authorization"] = f"Bearer {call.run_token}"
    key = call.idempotency_key
    if key is None and call.repeat is Repeat.KEYED:
        key = conditions.pace.random_bytes(16).hex()
    if key is not None:
        headers["Idempotency-Key"] = key
    return Request(call.method, call.target, headers, call.body, call.answer_secs)


def attempt(
    call: Call[R], conditions: Conditions, *, retry_secs: float | None = None, until: float = float("inf")
) -> Generator[Step, Any, R]:
    """Send `call` until it is answered. Gives up `retry_secs` after the first failure, and with
    OutOfTime when `conditions.pace.monotonic()` would reach `until`."""
    request = request_of(call, conditions)
    budget_secs = conditions.retry_secs if retry_secs is None else retry_secs
    trouble = Trouble(conditions, budget_secs)
    uncertain = False
    while True:
        remaining_secs = max(until - conditions.pace.monotonic(), 0.05)
        answer = yield Exchange(request._replace(answer_secs=min(request.answer_secs, remaining_secs)))
        outcome = judge(call, answer, conditions)
        if not isinstance(outcome, Failure):
            result: R = outcome
            return result
        if uncertain and isinstance(outcome.error, Conflict) and call.confirm is not None:
            return (yield from _confirm(call.confirm, outcome.error, conditions))
        uncertain = uncertain or not outcome.not_done
        may_repeat = outcome.not_done or call.repeat is not Repeat.NEVER
        # The first sending is still being worked on: its answer may take as long as any.
        in_flight_secs = call.answer_secs if isinstance(outcome.error, Conflict) and budget_secs else 0.0
        pause_secs = trouble.pause_secs(outcome.error, in_flight_secs)
        if not (outcome.worth_repeating and may_repeat) or pause_secs is None:
            raise outcome.error
        if conditions.pace.monotonic() + pause_secs >= until:
            raise OutOfTime(outcome.error)
        yield Pause(pause_secs)


def _confirm(call: Call[R], refusal: NarrowsError, conditions: Conditions) -> Generator[Step, Any, R]:
    """Was it the lost first sending that has made the repeat a conflict?"""
    found: Any = yield from attempt(call, conditions)
    if found.status != "canceled":
        raise refusal
    result: R = found
    return result


def judge(call: Call[Any], answer: Reply | Lost, conditions: Conditions) -> Any:
    """The result of an answer, or the Failure that it is."""
    if isinstance(answer, Lost):
        return Failure(
            connection_failed(answer, conditions, call.repeat), worth_repeating=True, not_done=not answer.sent
        )
    result = read_reply(answer, call.reply_type(answer.status), conditions.url)
    if not isinstance(result, NarrowsError):
        return result
    worded = result.request_id is not None
    worth_repeating = (
        answer.status in {502, 503, 504}
        or isinstance(result, OutcomeUnknown)
        or (answer.status == 429 and result.retry_after_secs is not None)
        # A 409 with Retry-After: the same Idempotency-Key is still being worked on.
        or (answer.status == 409 and result.retry_after_secs is not None and call.repeat is Repeat.KEYED)
    )
    in_doubt = answer.status in {409, 500, 502, 504} or (answer.status == 503 and not worded)
    return Failure(result, worth_repeating, not_done=not in_doubt)


def connection_failed(lost: Lost, conditions: Conditions, repeat: Repeat) -> ConnectionFailed:
    """The error of a request without an answer: what happened and what to do."""
    if not lost.sent:
        return ConnectionFailed(
            f"No connection to {conditions.url} ({lost.reason}). Start the server with `narrows dev`, or set "
            "NARROWS_URL to where it runs."
        )
    advice = (
        "it may or may not have been done, so look before you repeat it."
        if repeat is Repeat.NEVER
        else "check that the server is up and call again."
    )
    return ConnectionFailed(
        f"The connection to {conditions.url} broke before the answer ({lost.reason}); {advice}"
    )
