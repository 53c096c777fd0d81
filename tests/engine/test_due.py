"""The heap of due times against the plainest model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from narrows.engine.due import Due, DueTimes

KEYS = [("p", f"id{number}") for number in range(8)]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 20)),
        st.tuples(st.just("discard"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.just("take"), st.just(KEYS[0]), st.integers(0, 20)),
        st.tuples(st.just("keep_first"), st.just(KEYS[0]), st.integers(1, 8)),
    ),
    max_size=60,
)


@given(steps)
def test_it_behaves_like_a_sorted_table(script: list[tuple[str, tuple[str, str], int]]) -> None:
    due, model = DueTimes(), dict[tuple[str, str], int]()
    for what, key, number in script:
        rows = sorted(Due(at, *each) for each, at in model.items())
        if what == "put":
            due.put(Due(number, *key))
            model[key] = number
        elif what == "discard":
            due.discard(key)
            model.pop(key, None)
        elif what == "take":
            expected = [row for row in rows if row.at <= number][:3]
            assert due.take(number, 3) == expected
            for row in expected:
                del model[row.project_id, row.id]
        else:
            last = due.keep_first(number)
            kept = rows[:number]
            assert last == (kept[-1] if kept and len(rows) > number else None)
            model = {(row.project_id, row.id): row.at for row in kept}
        assert len(due) == len(model)
        assert due.next() == min(model.values(), default=None)


def test_stale_entries_do_not_pile_up() -> None:
    due = DueTimes()
    for number in range(100_000):
        due.put(Due(number, "p", "one"))
    assert len(due) == 1
    assert len(due._heap) < 2_000


def test_what_is_put_back_does_not_overwrite_newer_news() -> None:
    due = DueTimes()
    due.put_all([Due(1, "p", "a"), Due(1, "p", "b")])
    taken = due.take(1, 10)
    due.put(Due(5, "p", "a"))
    due.put_back(taken)
    assert due.take(9, 10) == [Due(1, "p", "b"), Due(5, "p", "a")]
