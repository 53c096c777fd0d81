"""Histories written down by hand, a line per operation, times in milliseconds:

    1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
    2 [2 4] send 7 hold_secs=600 -> 200 t1 received 7 expires=1000 settled=3
    1 [3 -] cancel -> unknown
    3 [5 6] prefix 8 -> 200

A client, when it asked and when it was answered, what, and the answer. A wait without `expires` has no
time-out; a 202 without `until` is held as long as was asked for.
"""

from __future__ import annotations

import re

from tests.linearizability.history import NEVER, Asked, Call, History, Operation, Outcome, Seen, SeenHeld

#: Where the time of written histories begins.
START_US = 1_800_000_000_000_000
LINE = re.compile(r"(\d+) \[([\d.]+) ([\d.]+|-)\] (.+?) -> (.+)")
CALLS = {
    "open": Call.OPEN,
    "start": Call.START,
    "send": Call.SEND,
    "send-by-id": Call.SEND_BY_ID,
    "prefix": Call.SEND_PREFIX,
    "cancel": Call.CANCEL,
    "cancel-by-id": Call.CANCEL_BY_ID,
    "extend": Call.EXTEND,
    "get": Call.GET,
    "get-by-id": Call.GET_BY_ID,
}
BY_ID = (Call.SEND_BY_ID, Call.CANCEL_BY_ID, Call.EXTEND, Call.GET_BY_ID)


def read(key: str, text: str) -> History:
    """The history that is written."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return History(key, tuple(_operation(line) for line in lines if line))


def _operation(line: str) -> Operation:
    found = LINE.fullmatch(line)
    if found is None:
        raise ValueError(line)
    client, start, end, call, answer = found.groups()
    asked, invoked_at = _asked(call.split()), _time(start)
    outcome = None if answer == "unknown" else _outcome(answer.split(), asked, invoked_at)
    return Operation(int(client), asked, invoked_at, None if end == "-" else _time(end), outcome)


def _time(milliseconds: str) -> int:
    return START_US + round(float(milliseconds) * 1000)


def _split(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The plain words, and those that say `name=value`."""
    named = dict(word.split("=") for word in words if "=" in word)
    return [word for word in words if "=" not in word], named


def _asked(words: list[str]) -> Asked:
    (name, *plain), named = _split(words)
    call = CALLS[name]
    trigger_id = plain.pop(0) if call in BY_ID else None
    join = "join" in plain
    payload = next((word for word in plain if word != "join"), None)
    return Asked(
        call,
        trigger_id=trigger_id,
        payload=payload,
        hold_secs=int(named["hold_secs"]) if "hold_secs" in named else None,
        event_id=named.get("event_id"),
        timeout_secs=int(named.get("timeout_secs", 0)),
        join=join,
    )


def _outcome(words: list[str], asked: Asked, invoked_at: int) -> Outcome:
    (code, *plain), named = _split(words)
    status = int(code)
    if status == 202:
        until = invoked_at + (asked.hold_secs or 0) * 1_000_000
        return Outcome(status, held=SeenHeld(plain[0], _time(named["until"]) if "until" in named else until))
    if status >= 400:
        return Outcome(status, named=plain[0] if plain else None)
    seen = _seen(plain, named) if plain else None
    if asked.call == Call.SEND_PREFIX:
        return Outcome(status, settled=() if seen is None else (seen,))
    return Outcome(status, trigger=seen)


def _seen(plain: list[str], named: dict[str, str]) -> Seen:
    trigger_id, status, *payload = plain
    return Seen(
        trigger_id,
        status,
        payload[0] if payload else None,
        _time(named["expires"]) if "expires" in named else NEVER,
        _time(named["settled"]) if "settled" in named else None,
    )
