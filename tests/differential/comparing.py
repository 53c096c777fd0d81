"""Where two values differ, in words; and what all sides must have in common after a step: the answers, the
commits with what was written, the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from narrows.errors import NarrowsError
from narrows.storage.backend import Write
from narrows.storage.operation import Undecided
from tests.differential.sides import Commit, Rows, Side

#: So many differences of one comparison are told.
MOST_TOLD = 8
#: Statements whose rows name the process that counts, and in which column.
_WRITERS = {"add_counters": 1, "add_run_counters": 2, "add_workflow_run_counters": 2}


class Difference(AssertionError):
    """Two sides, or a side and the model, are not the same."""


def differences(one: Any, other: Any, where: str) -> Iterator[str]:
    """In what `other` differs from `one`. A number is no truth value and no fraction, but an enumeration's
    word is a text."""
    if one is other:
        return
    if isinstance(one, BaseException) or isinstance(other, BaseException):
        yield from differences(_parts(one), _parts(other), where)
    elif isinstance(one, str) and isinstance(other, str):
        if str(one) != str(other):
            yield f"{where}: {_short(one)}, and {_short(other)}"
    elif type(one) is not type(other):
        yield f"{where}: {_short(one)}, and {_short(other)}"
    elif isinstance(one, tuple | list):
        yield from _of_sequences(one, other, where)
    elif isinstance(one, dict):
        if one.keys() != other.keys():
            yield f"{where}: {_short(list(one))}, and {_short(list(other))}"
        for key in one.keys() & other.keys():
            yield from differences(one[key], other[key], f"{where}[{key!r}]")
    elif one != other:
        yield f"{where}: {_short(one)}, and {_short(other)}"


def _of_sequences(one: Any, other: Any, where: str) -> Iterator[str]:
    if len(one) != len(other):
        surplus = [each for each in (*one, *other) if (each in one) != (each in other)]
        yield f"{where}: {len(one)}, and {len(other)} of them; one side alone has {_short(surplus)}"
        return
    names = getattr(one, "_fields", None)
    for number, (each, its_other) in enumerate(zip(one, other, strict=True)):
        place = f"{where}.{names[number]}" if names else f"{where}[{number}]"
        yield from differences(each, its_other, place)


def _parts(value: Any) -> Any:
    """What counts of an error: its class, its text, when to try again, what it asks."""
    if isinstance(value, NarrowsError):
        return type(value).__name__, str(value), value.retry_after_secs
    if isinstance(value, Undecided):
        return type(value).__name__, value.questions
    return repr(value) if isinstance(value, BaseException) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:450]} ... {text[-120:]}"


def check(one: Any, other: Any, where: str) -> None:
    """Raise a Difference unless they are the same."""
    if repr(one) == repr(other) and not _holds_errors(one):
        return
    found = list(differences(one, other, where))
    if found:
        more = f"\n... and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
        raise Difference("\n".join(found[:MOST_TOLD]) + more)


def _holds_errors(value: Any) -> bool:
    """Of an error `repr` does not say all."""
    if isinstance(value, tuple | list):
        return any(map(_holds_errors, value))
    return isinstance(value, BaseException)


def check_answers(sides: Sequence[Side], answers: Sequence[Any]) -> None:
    first = sides[0]
    for side, answer in zip(sides[1:], answers[1:], strict=True):
        check(answers[0], answer, f"the answer of {first.name}, and of {side.name}")
        check(
            first.bench.sink.events, side.bench.sink.events, f"unmatched by {first.name}, and by {side.name}"
        )


def check_commits(sides: Sequence[Side]) -> None:
    """The same operations shared commits, at the same stamps, with the same outcomes and writes."""
    first = sides[0]
    for side in sides[1:]:
        between = f"{first.name}, and {side.name}"
        check(len(first.commits), len(side.commits), f"commits of {between}")
        for one, other in zip(first.commits, side.commits, strict=True):
            check(one.committed.now, other.committed.now, f"stamp of {between}")
            check(one.outcomes, other.outcomes, f"outcomes of {between}")
            _check_writes(one, other, between)


def _check_writes(one: Commit, other: Commit, between: str) -> None:
    """Statement by statement the rows, whatever the order in which they were loaded."""
    statements, others = sorted(one.writes, key=_statement), sorted(other.writes, key=_statement)
    check(
        [each.statement for each in statements], [each.statement for each in others], f"written by {between}"
    )
    for write, its_other in zip(statements, others, strict=True):
        rows, other_rows = _without_writer(write), _without_writer(its_other)
        if rows != other_rows:
            where = f"{write.statement} by {between}"
            check(sorted(rows, key=repr), sorted(other_rows, key=repr), where)


def _statement(write: Write) -> str:
    return write.statement


def _without_writer(write: Write) -> list[tuple[Any, ...]]:
    column = _WRITERS.get(write.statement)
    if column is None:
        return write.rows
    return [(*row[:column], *row[column + 1 :]) for row in write.rows]


def check_rows(sides: Sequence[Side], rows: Sequence[Rows]) -> None:
    for side, found in zip(sides[1:], rows[1:], strict=True):
        check(rows[0], found, f"rows of {sides[0].name}, and of {side.name}")
