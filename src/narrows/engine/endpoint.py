"""One call of a job's endpoint: what is sent, and what its answer means for the run.

A 2xx completes the run with the body as its result. What may be better next time (429, 5xx, the
network, a time-out, a redirect that somebody forgot) is tried again, with the pause that the
endpoint asks for; any other answer is final. Not here: which runs are dispatched and when
(`dispatch.py`), what addresses may be called (`outgoing/`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from narrows.core.run_records import Job, Run
from narrows.errors import NarrowsError
from narrows.operations.dispatch import DispatchResult
from narrows.operations.reads.luggage import Luggage

if TYPE_CHECKING:
    from narrows.clock import Clock
    from narrows.keyring import Keyring
    from narrows.outgoing.answers import Answer
    from narrows.outgoing.caller import Caller

#: More of an answer is not read.
MOST_ANSWER_BYTES: Final = 1 << 20
#: So much of an answer that is a failure stands in the run's error.
QUOTED_CHARACTERS: Final = 200

#: (kept secrets, message id, now in microseconds, body) -> the headers that sign it.
Sign = Callable[[str, str, int, bytes], Mapping[str, str]]
#: The compacted text of a JSON value, or a refusal.
Compact = Callable[[bytes], str]


class Endpoints:
    """Calls jobs' endpoints. All that it needs of the world is handed in."""

    def __init__(self, clock: Clock, caller: Caller, keyring: Keyring, sign: Sign, compact: Compact) -> None:
        self._clock = clock
        self._caller = caller
        self._keyring = keyring
        self._sign = sign
        self._compact = compact

    async def call(self, run: Run, job: Job, luggage: Luggage) -> DispatchResult:
        """Hand the run to its endpoint and wait for the answer. Never raises for a fault of the endpoint."""
        body = (luggage.payload or "null").encode()
        try:
            headers = self._headers(run, job, luggage, body)
        except NarrowsError as error:
            return _failed(error.message)
        answer = await self._caller.post(
            job.endpoint_url or "",
            body,
            headers,
            timeout_secs=run.timeout_secs,
            max_answer_bytes=MOST_ANSWER_BYTES,
        )
        return result_of(answer, self._compact)

    def _headers(self, run: Run, job: Job, luggage: Luggage, body: bytes) -> dict[str, str]:
        trace = self._clock.random_bytes(24).hex()
        headers = {
            "Content-Type": "application/json",
            "X-Run-ID": run.id,
            "X-Job-ID": job.id,
            "X-Attempt": str(run.attempt),
            "X-Run-Token": self._keyring.run_token(run.project_id, run.id, run.dispatch),
            "Traceparent": f"00-{trace[:32]}-{trace[32:]}-01",
        }
        if luggage.resumed_by is not None:
            headers["X-Resume-Trigger"] = luggage.resumed_by
        signed = self._sign(job.signing_secrets, f"{run.id}.{run.dispatch}", self._clock.now(), body)
        return headers | dict(signed)


def result_of(answer: Answer, compact: Compact) -> DispatchResult:
    """What an endpoint's answer means."""
    status = answer.status
    if status is None:
        return _failed(answer.error or "the endpoint did not answer")
    if 200 <= status < 300:
        return _completed(answer.body, compact)
    said = f"the endpoint answered {status}{_quoted(answer.body)}"
    if 300 <= status < 400:
        return _failed(f"{said}: redirects are not followed, set endpoint_url to where it leads")
    return _failed(said, retry=status == 429 or status >= 500, retry_after_secs=answer.retry_after_secs)


def host_of(job: Job) -> str:
    """The host that may be slow for all its jobs; of a malformed URL the whole."""
    url = job.endpoint_url or ""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def _completed(body: bytes, compact: Compact) -> DispatchResult:
    """The body is the result: JSON as it is, other text as a string, nothing as nothing."""
    if not body.strip():
        return DispatchResult(True, None, None, False, None)
    try:
        return DispatchResult(True, compact(body), None, False, None)
    except NarrowsError:
        pass
    try:
        text = compact(json.dumps(body.decode(), ensure_ascii=False).encode())
    except (UnicodeDecodeError, NarrowsError):
        return _failed("the endpoint's answer is neither JSON nor UTF-8 text", retry=False)
    return DispatchResult(True, text, None, False, None)


def _failed(error: str | None, *, retry: bool = True, retry_after_secs: int | None = None) -> DispatchResult:
    return DispatchResult(False, None, error, retry, retry_after_secs)


def _quoted(body: bytes) -> str:
    """The beginning of a failure's body on one line, for whoever looks for the reason."""
    text = " ".join(body[: 4 * QUOTED_CHARACTERS].decode(errors="replace").split()).replace("\0", "")
    if not text:
        return ""
    return f" ({text[:QUOTED_CHARACTERS]}{'…' if len(text) > QUOTED_CHARACTERS else ''})"
