"""Which locks a batch needs: who excludes whom, without a database."""

from __future__ import annotations

import pytest

from narrows.storage import locks


def _names(*touches: tuple[str, ...]) -> dict[int, bool]:
    return dict(locks.needed(touches).names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("held_by_key", "p", "a"), ("held_tally_by_key", "p", "a")),
        (("api_keys_to_change", "k"), ("api_keys_by_id", "k")),
        (("jobs_to_change", "p", "j"), ("jobs_by_slug", "p", "other")),
        (("jobs_to_change_by_slug", "p", "j"), ("jobs_by_run", "p", "r")),
        # A purge that counts live replays, and the replay that begins meanwhile (bug 22).
        (("replay_tally_by_group", "p", "g"), ("jobs_by_run", "p", "r")),
        (("idempotency_by_scope", "s"), ("idempotency_by_scope", "s")),
    ],
)
def test_these_wait_for_one_another(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    ((name, excludes),) = _names(one).items()
    assert name in _names(other)
    assert excludes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("held_by_key", "p", "a"), ("held_by_key", "p", "b")),
        (("held_by_key", "p", "a"), ("held_by_key", "q", "a")),
        (("jobs_to_change", "p", "j"), ("jobs_by_id", "q", "j")),
    ],
)
def test_these_do_not(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert not _names(one).keys() & _names(other).keys()


@pytest.mark.parametrize(
    "touch", [("api_keys_by_id", "k"), ("jobs_by_id", "p", "j"), ("jobs_by_run", "p", "r")]
)
def test_those_who_only_look_share(touch: tuple[str, ...]) -> None:
    assert list(_names(touch).values()) == [False]


def test_who_looks_and_changes_in_one_batch_excludes_from_the_start() -> None:
    assert list(_names(("api_keys_by_id", "k"), ("api_keys_to_change", "k")).values()) == [True]


def test_a_plain_send_locks_no_name() -> None:
    assert _names(("triggers_by_key", "p", "a")) == {}
