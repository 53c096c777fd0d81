"""What follows for a step that waits: for the events of its triggers, or for the decisions of people.

Pure, and told anew each time from all triggers or all votes there are: which came first makes no difference,
and nothing is counted. But what an event says is looked into once, when it comes: what of it counts (`Ballot`) is
kept with its trigger. What comes out says how the wait has ended, or is None where it goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from narrows.core.json_texts import Document, dumps, object_of, quote
from narrows.core.states import FactKind, TriggerStatus
from narrows.core.workflow_steps import Approval
from narrows.errors import Conflict, Forbidden

#: A voter's name that is longer, or that no column may hold, is told by its hash.
MAX_VOTER: Final = 100
_NUMBER: Final = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,18}))?", re.ASCII)


class Ballot(NamedTuple):
    """What of an event counts for a wait: who votes by it (None: nobody), and whether it is a veto."""

    voter: str | None = None
    vetoed: bool = False


class Part(NamedTuple):
    """One trigger of a step's wait. `payload` is what it received, None if nothing, and not asked for to judge."""

    event_key: str
    status: TriggerStatus
    payload: str | None = None
    error: str | None = None
    ballot: Ballot = Ballot()


class Standing(NamedTuple):
    """How a wait has ended, as its step is told of it. `final`: it is not tried again."""

    kind: FactKind
    error: str | None = None
    final: bool = False


class Vote(NamedTuple):
    """One decision about an approval. `at` is in microseconds."""

    approver: str
    approves: bool
    comment: str | None
    at: int


def voter_of(path: Sequence[str] | None, payload: str | None) -> str | None:
    """Who votes by an event: the text or number under the path, 1 and 1.0 being one; None where there is none."""
    found = None if path is None or payload is None else Document(payload).find(path)
    if found is None or found.text[:1] not in '"-0123456789':
        return None
    voter = f"text {found.plain}" if found.text[0] == '"' else f"number {_same_number(found.text)}"
    return voter if len(voter) <= MAX_VOTER and voter.isprintable() else f"hash {_hash(voter)}"


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _same_number(text: str) -> str:
    """One spelling for all of a number, however large it is: its digits, and where the point stands."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text  # its exponent is beyond all measure: it is only equal to itself
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", int(match[4] or 0)
    digits = (whole + fraction).lstrip("0")
    short = digits.rstrip("0")
    if not short:
        return "0"
    return f"{sign}{short}e{exponent - len(fraction) + len(digits) - len(short)}"


def ballot_to_text(ballot: Ballot) -> str:
    return dumps(list(ballot))


def ballot_from_text(text: str | None) -> Ballot:
    return Ballot() if text is None else Ballot(*json.loads(text))


def judge(needed: int, distinct_by: Sequence[str] | None, parts: Sequence[Part]) -> Standing | None:
    """How a wait for `needed` events stands: reached, lost, or (None) still open. With `distinct_by` as many
    different voters count, named by what lies under that path of a payload (`voter_of`). A veto is stronger than enough
    events; that somebody canceled is told before a time-out only where nothing timed out."""
    vetoed = [part for part in parts if part.ballot.vetoed]
    if vetoed:
        return Standing(FactKind.STEP_FAILED, f"{_event(vetoed[0])} is a veto", final=True)
    received = [part for part in parts if part.status == TriggerStatus.RECEIVED]
    voters = {part.ballot.voter for part in received} - {None}
    count = len(received) if distinct_by is None else len(voters)
    if count >= needed:
        return Standing(FactKind.STEP_COMPLETED)
    if count + sum(part.status == TriggerStatus.WAITING for part in parts) >= needed:
        return None
    for kind, status, words in (
        (FactKind.STEP_TIMED_OUT, TriggerStatus.TIMED_OUT, "timed out"),
        (FactKind.STEP_CANCELED, TriggerStatus.CANCELED, "was canceled"),
    ):
        lost = next((part for part in parts if part.status == status), None)
        if lost is not None:
            return Standing(kind, f"its wait for {lost.event_key} {words}")
    path = ".".join(distinct_by or ())
    return Standing(FactKind.STEP_FAILED, f"only {count} of {needed} events differ in {path}")


def _event(part: Part) -> str:
    return f"the event for {part.event_key}"


def output(parts: Sequence[Part], several: bool) -> str | None:
    """What later steps see: the payload of the one event, or of `several` what came under which key, in the
    order of the keys."""
    received = [part for part in parts if part.status == TriggerStatus.RECEIVED]
    if not several:
        return received[0].payload if received else None
    events = (
        object_of([("event_key", quote(part.event_key)), ("payload", part.payload or "null")])
        for part in received
    )
    return f'{{"events":[{",".join(events)}]}}'


def vote(approval: Approval, votes: Sequence[Vote], new: Vote) -> tuple[Vote, ...]:
    """All votes with a new one. The same vote again changes nothing. Raises Forbidden for somebody who is not
    asked, Conflict for a second thought."""
    if approval.approvers and new.approver not in approval.approvers:
        raise Forbidden(f"{new.approver!r} is not among the approvers of this step.")
    earlier = next((each for each in votes if each.approver == new.approver), None)
    if earlier is None:
        return (*votes, new)
    if earlier.approves != new.approves:
        word = "approved" if earlier.approves else "rejected"
        raise Conflict(f"{new.approver!r} has {word} this step already.")
    return tuple(votes)


def decide(approval: Approval, votes: Sequence[Vote]) -> Standing | None:
    """How an approval stands: one rejection rejects it, enough approvals complete it."""
    rejected = next((each for each in votes if not each.approves), None)
    if rejected is not None:
        reason = f": {rejected.comment}" if rejected.comment else ""
        return Standing(FactKind.STEP_FAILED, f"rejected by {rejected.approver}{reason}", final=True)
    if len(votes) >= approval.min_approvals:
        return Standing(FactKind.STEP_COMPLETED)
    return None


def approval_output(votes: Sequence[Vote]) -> str:
    """What later steps see of an approval: who approved it, and what they said."""
    comments = [{"approver": each.approver, "comment": each.comment} for each in votes if each.comment]
    return dumps({"approved_by": [each.approver for each in votes], "comments": comments})


def votes_to_text(votes: Sequence[Vote]) -> str:
    return dumps([list(each) for each in votes])


def votes_from_text(text: str | None) -> tuple[Vote, ...]:
    return () if text is None else tuple(Vote(*row) for row in json.loads(text))
