"""The payload check: what is kept as it was sent, and what is refused."""

from __future__ import annotations

import json

import pytest

from narrows.errors import InvalidRequest
from narrows.wire.payloads import MAX_DIGITS, MAX_MEMBERS, MAX_NESTING, compact, count_members

KEPT = [
    (b"null", "null"),
    (b' { "b" : 1.00 , "a" : [ 1e5, -0, 1E+2 ] } ', '{"b":1.00,"a":[1e5,-0,1E+2]}'),
    (b'"a  b"', '"a  b"'),
    (b"[]", "[]"),
    (b"1" * MAX_DIGITS, "1" * MAX_DIGITS),
    (b"[1." + b"5" * (MAX_DIGITS - 1) + b"]", "[1." + "5" * (MAX_DIGITS - 1) + "]"),
    (b"1.7e308", "1.7e308"),
    (b"5e-324", "5e-324"),
    (b'"1e-999"', '"1e-999"'),
    (b'"10e999 and ' + b"1" * 5000 + b'"', '"10e999 and ' + "1" * 5000 + '"'),
    (rb'"\ud83d\ude00"', r'"\ud83d\ude00"'),
    (rb'"\\u0000 \\ud800"', r'"\\u0000 \\ud800"'),
    ('"é😀"'.encode(), '"é😀"'),
    (b"[" * MAX_NESTING + b"]" * MAX_NESTING, "[" * MAX_NESTING + "]" * MAX_NESTING),
    (b'"' + b"[" * 100 + b'"', '"' + "[" * 100 + '"'),
    (json.dumps(["a,b{["] * 3_000).encode(), json.dumps(["a,b{["] * 3_000, separators=(",", ":"))),
    (b"[" + b"1," * (MAX_MEMBERS - 1) + b"1]", "[" + "1," * (MAX_MEMBERS - 1) + "1]"),
    (rb'{"a":"\":","b":"\":"}', r'{"a":"\":","b":"\":"}'),
    (rb'{"a\u0022":1,"b\u0022":2}', r'{"a\u0022":1,"b\u0022":2}'),
    (b'{"a":{"x":1},"b":{"x":1}}', '{"a":{"x":1},"b":{"x":1}}'),
    (b"[[],[],{}]", "[[],[],{}]"),
]

REFUSED = [
    b"",
    b"{",
    b"[1,]",
    b"01",
    b"nul",
    b"1 2",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"{'a':1}",
    b'"\xff"',
    b'{"\xc3\x28":1}',
    b'"a\x00b"',
    b'"a\nb"',
    rb'"\u0000"',
    rb'"\\\u0000"',
    rb'{"\u0000":1}',
    rb'"\ud800"',
    rb'"\udc00\ud800"',
    rb'"\uD83Dx"',
    rb'"\x41"',
    b"1e309",
    b"-1e400",
    b"9e308",
    b"1e-325",
    b"[0e999]",
    b"1E-99999999999999999999999999",
    b"1" * (MAX_DIGITS + 1),
    b"0." + b"1" * MAX_DIGITS,
    b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1),
    b"[" * 500_000,
    b"[" + b"1," * MAX_MEMBERS + b"1]",
    b'{"a":1,"a":1}',
    b'[{"x":{"a":1,"b":2,"a":3}}]',
    rb'{"a":1,"\u0061":2}',
    rb'{"a\u0022":1,"a\"":2}',
    b'{"n":' + b"9" * 400 + b',"n":1}',
    b'{"n":' + b"9" * 400 + b'.5,"s":"\xff"}',
    b"\xef\xbb\xbf1",
]


@pytest.mark.parametrize(("raw", "text"), KEPT, ids=range(len(KEPT)))
def test_a_payload_is_kept_as_the_compacted_text_of_what_was_sent(raw: bytes, text: str) -> None:
    assert compact(raw) == text


@pytest.mark.parametrize("raw", REFUSED, ids=range(len(REFUSED)))
def test_a_payload_outside_the_rules_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compact(raw)
    assert caught.value.message.startswith("The payload ")


def test_members_are_counted_exactly_beyond_the_bound() -> None:
    assert count_members(b'[1, {"a,b": []}]', 2) == 3
    assert count_members(b"[{ }, [ ]]", 1) == 2
