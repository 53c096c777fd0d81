"""Keys: what is legal, and that the range of a prefix holds exactly the keys that begin with it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from narrows.core.keys import MAX_KEY_BYTES, check_key, check_project_id, prefix_end
from narrows.errors import InvalidRequest

LAST = "\U0010ffff"
text = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from(["\ud7ff", "\ue000", LAST, "\x7f", "~"])
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    "key",
    ["a", "healthz", "x/send", "a b", "ü", "\U0001f600", "x" * 512, "é" * 256, " ", "%2F", "\x80", "\ue000"],
)
def test_legal_keys_are_taken_as_they_are(key: str) -> None:
    assert check_key(key) is key


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "is empty"),
        ("x" * 513, "513 bytes"),
        ("é" * 257, "514 bytes"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("\x1f", "control character"),
        ("\x7f", "control character"),
        ("é\x7f", "control character"),
        ("\ud800", "not valid UTF-8"),
        ("a\udfff", "not valid UTF-8"),
    ],
)
def test_others_are_refused_with_the_reason(key: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        check_key(key, "prefix")


@pytest.mark.parametrize("project_id", ["a", "default", "A-1_b.c", "x" * 64, "0"])
def test_legal_project_ids(project_id: str) -> None:
    assert check_project_id(project_id) == project_id


@pytest.mark.parametrize("project_id", ["", "-", ".a", "_a", "x" * 65, "a/b", "ä", "a\n", "a b"])
def test_other_project_ids_are_refused(project_id: str) -> None:
    with pytest.raises(InvalidRequest):
        check_project_id(project_id)


@given(text, text)
@example("\ud7ff", "\ue000")
@example("a" + LAST, "b")
@example(LAST, LAST + LAST)
@example("a\ud7ff", "a\ud7ff" + LAST)
def test_the_range_of_a_prefix_holds_exactly_its_keys_in_byte_order(prefix: str, other: str) -> None:
    low, high = prefix.encode(), prefix_end(prefix).encode()
    for key in (other, prefix, prefix + other, prefix + LAST * 3, other + prefix):
        assert (low <= key.encode() < high) == key.startswith(prefix)


@given(text)
def test_the_end_of_a_prefix_can_be_written_and_lies_behind_it(prefix: str) -> None:
    assert prefix.encode() < prefix_end(prefix).encode()


def test_a_prefix_of_last_code_points_only_ends_behind_every_key() -> None:
    assert prefix_end(LAST * 3) > LAST * (MAX_KEY_BYTES // 4)
    assert prefix_end("") > LAST * (MAX_KEY_BYTES // 4)
