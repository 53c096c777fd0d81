"""What is taken out of a JSON text is spelled as it was put in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.json_texts import Document, dumps, loads, object_of

TEXT = (
    '{"user":{"id":12345678901234567890123,"rate":1.50,"e":1e3},"tags":["a","\\u00e9",{"x":-0}],"none":null}'
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("user.id", "12345678901234567890123"),
        ("user.rate", "1.50"),
        ("user.e", "1e3"),
        ("tags.1", '"\\u00e9"'),
        ("tags.2.x", "-0"),
        ("tags.2", '{"x":-0}'),
        ("none", "null"),
    ],
)
def test_a_part_keeps_its_spelling(path: str, text: str) -> None:
    found = Document(TEXT).find(path.split("."))
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize("path", ["nobody", "user.nobody", "none.x", "tags.3", "tags.x", "user.rate.x"])
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert Document(TEXT).find(path.split(".")) is None


def test_a_document_that_is_no_object_has_no_members() -> None:
    assert Document("12").members == {}
    assert Document("[]").members == {}
    assert not Document("[]").is_object


def test_numbers_survive_decoding_and_encoding() -> None:
    numbers = "[1.50,1e3,-0,-0.0,1E400,12345678901234567890,3.0]"
    assert dumps(loads(numbers)) == numbers
    assert loads(numbers)[0] > 1


@given(JSON_VALUES, st.sampled_from([None, 2]))
def test_every_member_is_found_whatever_the_white_space(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    for name, member in Document(text).members.items():
        inner = value[int(name)] if isinstance(value, list) else value[name]  # type: ignore[index]
        assert json.loads(member.text) == inner
    if isinstance(value, dict | list):
        assert len(Document(text).members) == len(value)


@given(JSON_VALUES)
def test_what_is_encoded_is_decoded_again(value: object) -> None:
    assert json.loads(dumps(value)) == json.loads(dumps(loads(dumps(value)))) == json.loads(json.dumps(value))


def test_an_object_is_put_together_from_texts() -> None:
    assert object_of([('a"', "1.50"), ("b", "[]")]) == '{"a\\"":1.50,"b":[]}'
