"""Faults of a database, planted into one side: the comparison has to find each. They wrap what is public of a
store, or the connection of its writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from narrows.errors import Conflict
from narrows.operations.base import TriggerOutcome
from narrows.operations.reads import ListTriggers, Page
from narrows.storage.backend import Write
from tests.differential.sequence import Plant
from tests.differential.sides import Side

Rows = list[tuple[Any, ...]]
#: What happens at first is right, so that there is something that can go wrong.
SPARED = 3


def changes_writes(statement: str, change: Callable[[Side, Rows], Rows]) -> Plant:
    """After the first few times other rows are written by a statement than were asked for."""

    def plant(sides: Sequence[Side]) -> None:
        connection = sides[-1].bench.store.connection
        write, times = connection.write, 0

        async def wrongly(writes: Sequence[Write]) -> list[int]:
            nonlocal times
            times += any(each.statement == statement for each in writes)
            if times <= SPARED:
                return list(await write(writes))
            changed = [
                each._replace(rows=change(sides[-1], each.rows)) if each.statement == statement else each
                for each in writes
            ]
            await write(changed)
            return [len(each.rows) for each in writes]

        connection.write = wrongly

    return plant


def changes_answers(of: str, change: Callable[[Any, Any], Any]) -> Plant:
    """After the first few times what `perform` or `read` answers is changed; `change` gets what was asked."""

    def plant(sides: Sequence[Side]) -> None:
        store, times = sides[-1].bench.store, 0
        ask = getattr(store, of)

        async def wrongly(asked: Any) -> Any:
            nonlocal times
            try:
                answer = await ask(asked)
            except Exception as error:
                answer = error
            changed = change(asked, answer)
            times += changed is not answer
            answer = changed if times > SPARED else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        setattr(store, of, wrongly)

    return plant


def _one_less(side: Side, rows: Rows) -> Rows:
    return rows[:-1]


def _another_row_too(side: Side, rows: Rows) -> Rows:
    side.bench.store.connection.raw.execute(
        "update triggers set name = 'X' where id = (select min(id) from triggers)"
    )
    return rows


def _counted_twice(side: Side, rows: Rows) -> Rows:
    return [*rows[:-1], (*rows[-1][:-1], rows[-1][-1] + 1)]


def _cut_short(side: Side, rows: Rows) -> Rows:
    return [(*row[:2], row[2][:1_000], row[3]) for row in rows]


def _later(side: Side, rows: Rows) -> Rows:
    return [(*row[:4], row[4] + 1, *row[5:]) for row in rows]


def _made_where_it_was_met(asked: Any, answer: Any) -> Any:
    return (
        answer._replace(status=201) if isinstance(answer, TriggerOutcome) and answer.status == 200 else answer
    )


def _in_other_words(asked: Any, answer: Any) -> Any:
    return Conflict("No.") if isinstance(answer, Conflict) else answer


def _the_other_way_round(asked: Any, answer: Any) -> Any:
    several = isinstance(asked, ListTriggers) and isinstance(answer, Page) and len(answer.items) > 1
    return answer._replace(items=answer.items[::-1]) if several else answer


def _a_clock_that_is_ahead(sides: Sequence[Side]) -> None:
    sides[-1].clock.advance(us=1)


#: What two databases do not do alike: name -> plant.
FAULTS: dict[str, Plant] = {
    "a settling is lost": changes_writes("settle_triggers", _one_less),
    "a fact is lost": changes_writes("insert_facts", _one_less),
    "a tag is not deleted": changes_writes("delete_trigger_tags", _one_less),
    "a payload is cut short": changes_writes("insert_payloads", _cut_short),
    "a settling changes another row": changes_writes("settle_triggers", _another_row_too),
    "an extension is written wrongly": changes_writes("extend_triggers", _later),
    "runs are counted wrongly": changes_writes("add_run_counters", _counted_twice),
    "a new step is lost": changes_writes("insert_steps", _one_less),
    "a workflow run's change is lost": changes_writes("update_workflow_runs", _one_less),
    "workflow runs are counted wrongly": changes_writes("add_workflow_run_counters", _counted_twice),
    "an answer says made for met": changes_answers("perform", _made_where_it_was_met),
    "a refusal has other words": changes_answers("perform", _in_other_words),
    "a list is the wrong way round": changes_answers("read", _the_other_way_round),
    "a clock is ahead": _a_clock_that_is_ahead,
}
#: Those that the model sees where there is one database alone.
SEEN_BY_THE_MODEL = (
    "a settling is lost",
    "a payload is cut short",
    "an extension is written wrongly",
    "runs are counted wrongly",
    "a new step is lost",
    "a workflow run's change is lost",
    "workflow runs are counted wrongly",
)
