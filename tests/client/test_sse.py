"""The stream parser against the WHATWG rules: the same events, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.scripted import parse


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [("message", "a", "")]),
        (b"data:a\r\n\r\n", [("message", "a", "")]),
        (b"data:a\r\r", [("message", "a", "")]),
        (b"data: a\r\ndata: b\r\n\r\n", [("message", "a\nb", "")]),
        (b"data: a\ndata: b\ndata\n\n", [("message", "a\nb\n", "")]),
        (b"data:  a\n\n", [("message", " a", "")]),
        (b": a comment\n\n", []),
        (b":\ndata: a\n\n", [("message", "a", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")]),
        (b"data: \xef\xbb\xbfa\n\n", [("message", "\ufeffa", "")]),
        (b"event: status\nid: 7\ndata: a\n\ndata: b\n\n", [("status", "a", "7"), ("message", "b", "7")]),
        (b"id: 7\ndata: a\n\nid\ndata: b\n\n", [("message", "a", "7"), ("message", "b", "")]),
        (b"id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n", [("message", "a", "7"), ("message", "b", "7")]),
        (b"event: status\n\ndata: a\n\n", [("message", "a", "")]),
        (b"unknown: x\n data: y\ndata: a\n\n", [("message", "a", "")]),
        (b"data: unfinished\n", []),
        (b"data: \xff\n\n", [("message", "\ufffd", "")]),
        (b"data\n\n", [("message", "", "")]),
    ],
)
def test_rules(text: bytes, events: list[tuple[str, str, str]]) -> None:
    assert parse(text) == events
    assert parse(*(text[i : i + 1] for i in range(len(text)))) == events


def test_retry_is_read() -> None:
    from narrows.client.sse import EventParser

    parser = EventParser()
    assert list(parser.feed(b"retry: 250\nretry: soon\n\n")) == []
    assert parser.retry_ms == 250


PIECES = st.sampled_from(
    [
        b"data: a",
        b"data:",
        b"id: 1",
        b"event: status",
        b": c",
        b"\n",
        b"\r",
        b"\r\n",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"",
    ]
)


@given(st.lists(PIECES, max_size=40), st.lists(st.integers(min_value=0, max_value=200), max_size=12))
def test_any_cut_gives_the_same_events(pieces: list[bytes], cuts: list[int]) -> None:
    text = b"".join(pieces)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    chunks = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert parse(*chunks) == parse(text)
    for cut in range(len(text)):
        assert parse(text[:cut], text[cut:]) == parse(text)


@given(st.lists(PIECES, max_size=40))
def test_the_kind_of_line_end_does_not_matter(pieces: list[bytes]) -> None:
    text = b"".join(b"\n" if piece.strip(b"\r\n") == b"" else piece for piece in pieces)
    assert parse(text.replace(b"\n", b"\r\n")) == parse(text) == parse(text.replace(b"\n", b"\r"))
