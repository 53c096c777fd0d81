"""When a wait of several events is reached or lost, and when an approval is decided: in any order."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core import step_waits
from narrows.core.retries import step_pause_us
from narrows.core.states import Backoff, FactKind, TriggerStatus
from narrows.core.step_waits import MAX_VOTER, Ballot, Part, Vote, decide, judge, vote, voter_of
from narrows.core.workflow_steps import Approval, EventWait
from narrows.errors import Conflict, Forbidden

W, R, T, C = TriggerStatus.WAITING, TriggerStatus.RECEIVED, TriggerStatus.TIMED_OUT, TriggerStatus.CANCELED


def _wait(needed: int, **fields: Any) -> EventWait:
    empty: dict[str, Any] = dict.fromkeys(EventWait._fields)
    return EventWait(**{**empty, "keys": (), "needed": needed, "timeout_secs": 60, **fields})


def _kind(wait: EventWait, *parts: Part | TriggerStatus) -> FactKind | None:
    told = [each if isinstance(each, Part) else Part(f"k{place}", each) for place, each in enumerate(parts)]
    standing = judge(wait.needed, wait.distinct_by, told)
    if standing is None:
        return None
    assert (standing.error is None) == (standing.kind == FactKind.STEP_COMPLETED)
    return standing.kind


@pytest.mark.parametrize(
    ("needed", "statuses", "kind"),
    [
        (1, [W], None),
        (1, [R], FactKind.STEP_COMPLETED),
        (1, [T], FactKind.STEP_TIMED_OUT),
        (1, [C], FactKind.STEP_CANCELED),
        (1, [C, W], None),
        (1, [R, W, W], FactKind.STEP_COMPLETED),
        (2, [R, W, C], None),
        (2, [R, R, T], FactKind.STEP_COMPLETED),
        (2, [R, C, T], FactKind.STEP_TIMED_OUT),
        (3, [R, R, C], FactKind.STEP_CANCELED),
        (3, [W, W, T], FactKind.STEP_TIMED_OUT),
    ],
)
def test_how_a_wait_stands_whatever_came_first(
    needed: int, statuses: list[TriggerStatus], kind: FactKind | None
) -> None:
    for order in itertools.permutations(statuses):
        assert _kind(_wait(needed), *order) == kind


@given(st.lists(st.sampled_from([W, R, T, C]), min_size=1, max_size=8), st.integers(1, 8))
def test_a_wait_is_open_exactly_as_long_as_it_can_still_be_reached(
    statuses: list[TriggerStatus], needed: int
) -> None:
    needed = min(needed, len(statuses))
    kind = _kind(_wait(needed), *statuses)
    received, waiting = statuses.count(R), statuses.count(W)
    assert (kind == FactKind.STEP_COMPLETED) == (received >= needed)
    assert (kind is None) == (received < needed <= received + waiting)


def _ballot(payload: str | None, vetoed: bool = False) -> Part:
    """An event as it is kept: what counts of it, told anew from a text."""
    ballot = Ballot(voter_of(("user", "id"), payload), vetoed)
    return Part("k", R, ballot=step_waits.ballot_from_text(step_waits.ballot_to_text(ballot)))


def _from(voter: str, vetoed: bool = False) -> Part:
    return _ballot(f'{{"user":{{"id":{voter}}}}}', vetoed)


def test_the_same_voter_counts_once() -> None:
    wait = _wait(2, distinct_by=("user", "id"))
    assert _kind(wait, _from("7"), _from("7.0"), W) is None
    assert _kind(wait, _from("7"), _from("8"), W) == FactKind.STEP_COMPLETED
    assert _kind(wait, _from("7"), _from('"7"'), W) == FactKind.STEP_COMPLETED
    large = "x" * 2_000
    assert _kind(wait, _from(f'"{large}"'), _from(f'"{large}"'), W) is None
    assert _kind(wait, _from(f'"{large}"'), _from(f'"{large}y"'), W) == FactKind.STEP_COMPLETED
    assert len(_from(f'"{large}"').ballot.voter or "") <= MAX_VOTER


@pytest.mark.parametrize(
    "spellings",
    [
        ["0", "-0", "0.0", "-0.000e5", "0E-999999999"],
        ["1", "1.0", "1e0", "10e-1", "0.1E+1", "100.00e-2"],
        ["-1500", "-1.5e3", "-15E2", "-1500.0"],
        ["0.0015", "1.5e-3", "15e-4"],
        ["1e999999999999", "10e999999999998"],
        [f"1{'0' * 4_000}", "1e4000"],
        [f"1e{'9' * 5_000}"],
        ['"\\ud800"'],
        ['"a\\u0062"', '"ab"'],
    ],
)
def test_a_voter_is_the_same_however_it_is_spelled(spellings: list[str]) -> None:
    voters = {_from(spelled).ballot.voter for spelled in spellings}
    assert len(voters) == 1
    assert voters.isdisjoint(_from(other).ballot.voter for other in ("7", "-1", "15", "1.5e4", '"1"', '"0"'))


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_two_numbers_are_one_voter_exactly_where_they_are_equal(one: Decimal, other: Decimal) -> None:
    same = _from(str(one)).ballot.voter == _from(str(other)).ballot.voter
    assert same == (one == other)
    assert _from(f"{one:e}").ballot.voter == _from(str(one)).ballot.voter


def test_who_cannot_be_told_apart_is_no_voter() -> None:
    wait = _wait(2, distinct_by=("user", "id"))
    for nobody in ("null", "{}", "true", "[1]"):
        assert _kind(wait, _from("1"), _from(nobody), W) is None
    assert _kind(wait, _from("1"), _ballot('{"other":1}'), _ballot(None), W) is None


def test_a_wait_for_different_voters_is_lost_when_there_are_no_more_keys() -> None:
    wait = _wait(2, distinct_by=("user", "id"))
    assert _kind(wait, _from("7"), _from("7")) == FactKind.STEP_FAILED
    assert _kind(wait, _from("7"), T) == FactKind.STEP_TIMED_OUT


def test_a_veto_fails_the_wait_at_once_and_is_stronger_than_enough_events() -> None:
    wait = _wait(1, veto="payload.no")
    vetoed = judge(wait.needed, wait.distinct_by, [_from("1"), _from("2", vetoed=True)])
    assert vetoed is not None
    assert (vetoed.kind, vetoed.final) == (FactKind.STEP_FAILED, True)
    assert _kind(wait, _from("1", vetoed=False)) == FactKind.STEP_COMPLETED


def test_what_later_steps_see_of_a_wait() -> None:
    parts = [Part("a", R, '{"n":1.50}'), Part("b", W), Part("c", R, None)]
    assert step_waits.output(parts[:1], several=False) == '{"n":1.50}'
    assert step_waits.output(parts[2:], several=False) is None
    assert step_waits.output(parts, several=True) == (
        '{"events":[{"event_key":"a","payload":{"n":1.50}},{"event_key":"c","payload":null}]}'
    )


# ---- approvals ---------------------------------------------------------------------------------


def _approval(*approvers: str, least: int = 1) -> Approval:
    return Approval(approvers, least, 0, None, None)


def _votes(approval: Approval, *new: Vote) -> tuple[Vote, ...]:
    votes: tuple[Vote, ...] = ()
    for each in new:
        votes = vote(approval, votes, each)
    return votes


YES = Vote("ann", True, None, 1)
NO = Vote("bob", False, "too early", 2)


def test_enough_approvals_complete_it() -> None:
    approval = _approval("ann", "bob", "cid", least=2)
    assert decide(approval, _votes(approval, YES)) is None
    done = decide(approval, _votes(approval, YES, Vote("cid", True, None, 3)))
    assert done is not None
    assert done.kind == FactKind.STEP_COMPLETED


def test_one_rejection_rejects_it_for_good() -> None:
    approval = _approval(least=2)
    rejected = decide(approval, _votes(approval, YES, NO))
    assert rejected is not None
    assert (rejected.kind, rejected.error, rejected.final) == (
        FactKind.STEP_FAILED,
        "rejected by bob: too early",
        True,
    )


def test_nobody_votes_twice_or_unasked() -> None:
    approval = _approval("ann", least=1)
    votes = _votes(approval, YES)
    assert vote(approval, votes, YES._replace(at=9)) == votes
    with pytest.raises(Conflict, match="approved"):
        vote(approval, votes, YES._replace(approves=False))
    with pytest.raises(Forbidden, match="bob"):
        vote(approval, votes, NO)


def test_votes_are_kept_as_a_text() -> None:
    assert step_waits.votes_from_text(step_waits.votes_to_text((YES, NO))) == (YES, NO)
    assert step_waits.votes_from_text(None) == ()
    assert step_waits.approval_output((YES, YES._replace(approver="cid", comment="ok"))) == (
        '{"approved_by":["ann","cid"],"comments":[{"approver":"cid","comment":"ok"}]}'
    )


# ---- pauses between attempts -------------------------------------------------------------------


@given(st.sampled_from(Backoff), st.integers(1, 86_400), st.integers(1, 100), st.integers(0, 1 << 64))
def test_the_pause_before_another_attempt(backoff: Backoff, first: int, attempt: int, entropy: int) -> None:
    pause = step_pause_us(backoff, first, attempt, entropy) / 1_000_000
    grown = {
        Backoff.FIXED: first,
        Backoff.LINEAR: first * attempt,
        Backoff.EXPONENTIAL: first * 2 ** (attempt - 1),
    }
    whole = max(first, min(grown[backoff], 300))
    assert (whole == pause) if backoff == Backoff.FIXED else (whole / 2 - 1 <= pause <= whole)
