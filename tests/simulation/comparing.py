"""After every commit the database has to hold exactly what the model does: triggers, held events,
statistics; and no wait may sleep beside an event that is held for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.simulation.model import WaitModel
from tests.simulation.values import Violation, fits

#: In both dialects.
DUMP_TRIGGERS = """
    select project_id, id, event_key, ordinal, version, status, case when response_payload_id is null
      then response_payload else (select body from payloads as p
        where p.project_id = t.project_id and p.id = t.response_payload_id) end,
      timeout_secs, requested_at, expires_at, settled_at, sent_by
    from triggers as t"""
DUMP_HELD = """
    select project_id, id, event_key, event_id, status, case when payload_id is null
      then payload else (select body from payloads as p
        where p.project_id = h.project_id and p.id = h.payload_id) end,
      held_until, trigger_id
    from held_events as h"""
DUMP_COUNTERS = """
    select project_id, sum(waiting), sum(received), sum(timed_out), sum(canceled), sum(wait_us), sum(held)
    from counters group by project_id"""

#: The columns of the statistics.
COUNTED = ("waiting", "received", "timed_out", "canceled")
WAIT_US, HELD = 4, 5


def compare(model: WaitModel, triggers: Iterable[Any], held: Iterable[Any], counters: Iterable[Any]) -> None:
    """Raise a Violation unless the database holds exactly what the model does."""
    found = {row[1]: tuple(row) for row in triggers}
    for wait in model.waits.values():
        row = found.pop(wait.id, None)
        if row is None:
            raise Violation(f"{wait} is gone from the database")
        if row[5] != "waiting":
            model.in_time(wait)  # whoever times it out: once its time has passed, it may be
        if row != wait.row():
            raise Violation(f"the database has {row}, and it had to be {wait.row()}")
    if found:
        raise Violation(f"the database has triggers that nobody opened: {found}")
    _compare_held(model, {row[1]: tuple(row) for row in held})
    _compare_counters(model, {row[0]: tuple(row[1:]) for row in counters})
    _nobody_misses_an_event(model)


def _compare_held(model: WaitModel, found: dict[str, Any]) -> None:
    adopt_ids(model, found.values())
    for held in model.held.values():
        row = found.pop(held.id, None)
        if row != held.row():
            raise Violation(f"the database has {row}, and it had to be {held.row()}")
    if found:
        raise Violation(f"the database has held events that should not be: {found}")


def adopt_ids(model: WaitModel, found: Iterable[Any]) -> None:
    """What is kept of a delivered event is in no answer: its id is learned from the database."""
    temporary = {
        (held.project_id, held.event_key, held.event_id): held
        for held in model.held.values()
        if held.id.startswith("delivered:")
    }
    for row in found if temporary else ():
        held = temporary.get((row[0], row[2], row[3]))
        if held is not None and row[1] != held.id:
            model.held.pop(held.id, None)
            held.id = row[1]
            model.held[held.id] = held


def _compare_counters(model: WaitModel, found: dict[str, Any]) -> None:
    there_are = {project_id: [0] * 6 for project_id in found}
    for wait in model.waits.values():
        counts = there_are.setdefault(wait.project_id, [0] * 6)
        counts[COUNTED.index(wait.status)] += 1
        if wait.status == "received":
            counts[WAIT_US] += (wait.settled_at or 0) - wait.requested_at
    for held in model.held.values():
        there_are.setdefault(held.project_id, [0] * 6)[HELD] += held.status == "held"
    for project_id, counts in there_are.items():
        if list(found.get(project_id, (0,) * 6)) != counts:
            raise Violation(f"statistics say {found.get(project_id)} and the list {counts} ({project_id})")


def _nobody_misses_an_event(model: WaitModel) -> None:
    """No wait is open beside an event that is held for it."""
    for wait in model.waits.values():
        if wait.status == "waiting" and wait.expires_at > model.wall:
            for held in model.deliverable(wait.project_id, wait.event_key):
                if fits(wait.schema, held.payload):
                    raise Violation(f"{wait} sleeps beside the event {held}")
