"""What follows for a step that waits: for the events of its triggers, or for the decisions of people.

Pure, and told anew each time from all triggers or all votes there are: which came first makes no difference,
and nothing is counted. What comes out says how the wait has ended, or is None where it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from narrows.core.json_texts import Document, dumps, object_of, quote
from narrows.core.states import FactKind, TriggerStatus
from narrows.core.workflow_steps import Approval, EventWait
from narrows.errors import Conflict, Forbidden


class Part(NamedTuple):
    """One trigger of a step's wait. `payload` is what it received, None if nothing. `vetoed` is the veto's
    answer to it (None: not asked; a sentence: it cannot be told, which is no veto)."""

    event_key: str
    status: TriggerStatus
    payload: str | None = None
    error: str | None = None
    vetoed: bool | str | None = None


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


def unasked(wait: EventWait, parts: Sequence[Part]) -> list[int]:
    """The places of the parts to which the veto has to be asked."""
    if wait.veto is None:
        return []
    return [
        place
        for place, part in enumerate(parts)
        if part.status == TriggerStatus.RECEIVED and part.vetoed is None
    ]


def judge(needed: int, distinct_by: Sequence[str] | None, parts: Sequence[Part]) -> Standing | None:
    """How a wait for `needed` events stands: reached, lost, or (None) still open. With `distinct_by` as many
    different voters count, named by what lies under that path of a payload. A veto is stronger than enough
    events; that somebody canceled is told before a time-out only where nothing timed out."""
    vetoed = [part for part in parts if part.vetoed is True]
    if vetoed:
        return Standing(FactKind.STEP_FAILED, f"{_event(vetoed[0])} is a veto", final=True)
    received = [part for part in parts if part.status == TriggerStatus.RECEIVED]
    count = len(received) if distinct_by is None else len(_voters(distinct_by, received))
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


def _voters(path: Sequence[str], received: Sequence[Part]) -> set[str | Decimal]:
    """The different texts and numbers under the path, 1 and 1.0 being one; an event that has none there is
    nobody's vote."""
    found = (Document(part.payload).find(path) for part in received if part.payload is not None)
    values = [
        json.loads(each.text, parse_float=Decimal, parse_int=Decimal) for each in found if each is not None
    ]
    return {value for value in values if isinstance(value, str | Decimal)}


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
