"""Conditions of steps and vetoes of waits: expressions in CEL over `payload`, `outputs` and `statuses`.

They are looked at when a definition is saved, and evaluated beside the writer, on threads, like JSON Schemas.
What could be abused is limited by the syntax tree (`cel_limits.py`); the library itself stops after 10,000
rounds of macros in all, and refuses what is nested deeper than 32.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from cel_expr_python import cel

from narrows.core.workflow_fields import Checked
from narrows.operations.cel_limits import (
    OUTPUTS,
    PAYLOAD,
    STATUSES,
    Reach,
    fault_of,
    named_of,
    reach_of,
    steps_of,
    too_large,
)
from narrows.operations.cel_trees import tree

_CACHE_SIZE: Final = 4_096
_INT64: Final = range(-(1 << 63), 1 << 63)
_FAULT: Final = re.compile(r"ERROR: <input>:\d+:(?P<place>\d+): (?P<what>[^\n]*)")
_IN_CONTAINER: Final = " (in container '')"


class Program(NamedTuple):
    """A compiled expression, what is wrong with it, which steps it names (None: it could be any), and what it
    looks at."""

    expression: Any
    fault: str | None
    steps: frozenset[str] | None
    reach: Reach


class Conditions:
    """Compiled expressions by their text; the most recently used are kept. Used from several threads, of which one
    compiles at a time: the library holds Python's lock meanwhile, and with several the event loop would have its
    turn after all of them. A lost race compiles twice, no more."""

    def __init__(self) -> None:
        self._compiled = lru_cache(maxsize=_CACHE_SIZE)(self._compile)
        self._compiling = threading.Lock()

    def _compile(self, text: str) -> Program:
        with self._compiling:
            return compile_condition(text)

    def check(self, text: str) -> Checked:
        """What is wrong with an expression, if anything, and which steps it names (None: it could be any)."""
        program = self._compiled(text)
        return Checked(program.fault, program.steps)

    def answer(
        self,
        text: str,
        payload: str | None,
        outputs: Mapping[str, str | None],
        statuses: Mapping[str, str],
    ) -> bool | str:
        """Whether it holds, or a sentence without a subject that says why that cannot be told. Payload and outputs are JSON
        texts; an absent one is null."""
        program = self._compiled(text)
        if program.fault is not None:
            return program.fault
        variables = {
            PAYLOAD: _decode(payload),
            OUTPUTS: {ref: _decode(output) for ref, output in outputs.items()},
            STATUSES: dict(statuses),
        }
        variables = named_of(program.reach, variables)
        fault = too_large(program.reach, variables)
        return _evaluate(program, variables) if fault is None else fault


def compile_condition(text: str) -> Program:
    """The program of an expression, with its fault if it has one."""
    try:
        expression = _environment().compile(text)
    except (RuntimeError, ValueError) as error:
        return _faulty(_reason(str(error)))
    root = tree(expression.serialize())
    result = expression.return_type().name()
    fault = fault_of(root)
    if result not in ("BOOL", "DYN"):
        fault = f"gives a value of type {result.lower()}; it must be true or false"
    return Program(expression, fault, steps_of(root), reach_of(root))


@cache
def _environment() -> Any:
    by_step = {OUTPUTS: cel.Type.DYN, STATUSES: cel.Type.STRING}
    maps = {name: cel.Type.Map(cel.Type.STRING, each) for name, each in by_step.items()}
    return cel.NewEnv(variables={PAYLOAD: cel.Type.DYN, **maps})


def _faulty(fault: str) -> Program:
    return Program(None, fault, frozenset(), Reach(frozenset(), frozenset(), frozenset()))


def _reason(error: str) -> str:
    """The library's error as a sentence without a subject."""
    match = _FAULT.search(error)
    if match is not None and "recursion" not in error:
        return f"is no CEL at character {match['place']}: {match['what'].removesuffix(_IN_CONTAINER)}"
    return "is nested too deep" if "recursion" in error else "is no CEL"


def _decode(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_int=_number)


def _number(text: str) -> int | float:
    """CEL's whole numbers have 64 bits; a larger one counts as a floating one, like everywhere in JSON."""
    number = int(text)
    return number if number in _INT64 else float(text)


def _evaluate(program: Program, variables: Mapping[str, Any]) -> bool | str:
    try:
        result = program.expression.eval(data=variables)
    except RuntimeError as error:
        return "looks at too much" if "budget" in str(error) else f"cannot be told: {error}"
    value, kind = result.plain_value(), result.type().name()
    if isinstance(value, bool):
        return value
    if kind == "ERROR":
        return f"cannot be told: {str(value).partition(': ')[2] or value}"
    return f"gives a value of type {kind.lower()}; it must be true or false"
