"""One call of an endpoint: what is sent, and what each kind of answer means for the run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from narrows.core.signing_secrets import first_secret
from narrows.engine.endpoint import Endpoints, result_of
from narrows.errors import StorageError
from narrows.keyring import KEY_BYTES, Keyring, signing_secrets
from narrows.operations.dispatch import DispatchResult
from narrows.operations.reads.luggage import Luggage
from narrows.outgoing.answers import Answer
from narrows.testing import ManualClock
from narrows.wire import signatures
from narrows.wire.payloads import compact
from tests.operations.runs_kit import make_job, make_run

KEYRING = Keyring.of(b"k" * KEY_BYTES)
SECRET = signatures.make_secret(b"s" * 24)


class FakeCaller:
    def __init__(self) -> None:
        self.url, self.body, self.headers, self.limits = "", b"", dict[str, str](), dict[str, Any]()

    async def post(self, url: str, body: bytes, headers: dict[str, str], **limits: Any) -> Answer:
        self.url, self.body, self.headers, self.limits = url, body, headers, limits
        return Answer(200, b'{"ok": 1}', None, None)


def an_endpoint(caller: FakeCaller, sign: Any = None) -> Endpoints:
    def signed(kept: str, message_id: str, now: int, body: bytes) -> dict[str, str]:
        return signatures.headers(signing_secrets(KEYRING, kept, now), message_id, now // 1_000_000, body)

    return Endpoints(ManualClock(), caller, KEYRING, sign or signed, compact)  # type: ignore[arg-type]


RUN = make_run("r1", "j1", dispatch=3, attempt=2, timeout_secs=70)
JOB = make_job(
    "j1", "j", endpoint_url="http://example.com/x", signing_secrets=first_secret(KEYRING.encrypt(SECRET))
)


async def test_a_call_says_whose_it_is_and_is_signed() -> None:
    caller = FakeCaller()
    result = await an_endpoint(caller).call(RUN, JOB, Luggage('{"n":1}', "t1"))
    assert result == DispatchResult(True, '{"ok":1}', None, False, None)
    headers = caller.headers
    assert (caller.url, caller.body) == ("http://example.com/x", b'{"n":1}')
    assert caller.limits["timeout_secs"] == 70
    assert (headers["X-Run-ID"], headers["X-Job-ID"], headers["X-Attempt"]) == ("r1", "j1", "2")
    assert headers["X-Resume-Trigger"] == "t1"
    ticket = KEYRING.open_run_token(headers["X-Run-Token"], "r1")
    assert ticket is not None
    assert ticket.dispatch == 3
    assert headers["webhook-id"] == "r1.3"
    version, trace, span, flags = headers["Traceparent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    named = {name.lower(): value for name, value in headers.items()}
    signatures.verify(SECRET, named, caller.body, now_secs=ManualClock().now() // 1_000_000)


async def test_a_run_without_payload_sends_null_and_no_trigger() -> None:
    caller = FakeCaller()
    await an_endpoint(caller).call(RUN, JOB, Luggage(None, None))
    assert caller.body == b"null"
    assert "X-Resume-Trigger" not in caller.headers


async def test_a_secret_that_cannot_be_read_fails_the_attempt_with_the_reason() -> None:
    def sign(*given: Any) -> dict[str, str]:
        raise StorageError("Bring back the key.")

    result = await an_endpoint(FakeCaller(), sign).call(RUN, JOB, Luggage(None, None))
    assert (result.completed, result.error, result.retry) == (False, "Bring back the key.", True)


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b"", None),
        (b" \n", None),
        (b'{"a": [1, 2.50]}', '{"a":[1,2.50]}'),
        (b"null", "null"),
        (b"done", '"done"'),
        ("<p>fertig: ä</p>".encode(), '"<p>fertig: ä</p>"'),
        (b"NaN", '"NaN"'),
    ],
)
def test_a_success_completes_the_run_with_its_body(body: bytes, result: str | None) -> None:
    found = result_of(Answer(201, body, None, None), compact)
    assert (found.completed, found.result) == (True, result)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\0b", b'"\\u0000"' + b"\0"])
def test_a_success_that_is_no_text_fails_for_good(body: bytes) -> None:
    found = result_of(Answer(200, body, None, None), compact)
    assert (found.completed, found.retry) == (False, False)
    assert "neither JSON nor UTF-8" in (found.error or "")


def test_json_that_is_refused_as_a_payload_is_kept_as_a_text() -> None:
    deep = b"[" * 100 + b"]" * 100
    assert json.loads(result_of(Answer(200, deep, None, None), compact).result or "") == deep.decode()


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (301, True),
        (307, True),
        (400, False),
        (404, False),
        (410, False),
        (429, True),
        (500, True),
        (503, True),
    ],
)
def test_what_may_be_better_next_time_is_tried_again(status: int, retry: bool) -> None:
    found = result_of(Answer(status, b"no \n way", "x", 7), compact)
    assert (found.completed, found.retry) == (False, retry)
    assert f"answered {status} (no way)" in (found.error or "")


def test_retry_after_is_kept_and_no_answer_is_tried_again() -> None:
    assert result_of(Answer(503, b"", "x", 7), compact).retry_after_secs == 7
    found = result_of(Answer(None, b"", "The target did not answer within 5 s.", None), compact)
    assert (found.retry, found.error) == (True, "The target did not answer within 5 s.")


def test_a_long_answer_is_quoted_in_part() -> None:
    assert len(result_of(Answer(500, b"x" * 100_000, "x", None), compact).error or "") < 300
