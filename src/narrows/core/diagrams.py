"""The tables of `states.py` as Mermaid state diagrams, for the reference."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from narrows.core import states
from narrows.core.states import FactKind

S = TypeVar("S", bound=StrEnum)


def trigger_diagram() -> str:
    return _diagram(["waiting: trigger.opened"], states.TRANSITIONS, states.SETTLED)


def run_diagram() -> str:
    return _diagram(["queued: run.created", "delayed: run.created"], states.RUN_TRANSITIONS, states.ENDED)


def workflow_run_diagram() -> str:
    begins = ["running: workflow_run.created"]
    return _diagram(begins, states.WORKFLOW_RUN_TRANSITIONS, states.WORKFLOW_RUN_ENDED)


def step_diagram() -> str:
    return _diagram(["pending: workflow_run.created"], states.STEP_TRANSITIONS, states.STEP_ENDED)


def _diagram(beginnings: list[str], table: Mapping[tuple[S, FactKind], S], ended: frozenset[S]) -> str:
    lines = ["stateDiagram-v2", *(f"    [*] --> {beginning}" for beginning in beginnings)]
    lines += [f"    {before} --> {after}: {kind}" for (before, kind), after in table.items()]
    lines += [f"    {status} --> [*]" for status in dict.fromkeys(table.values()) if status in ended]
    return "\n".join(lines) + "\n"
