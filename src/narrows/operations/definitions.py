"""The definitions of a process: looked at before they are saved, and kept parsed for the runs that go by them.

The libraries that look into expressions are an extra of the installation; they are imported here, when the
first definition comes by, so that a server without workflows does without them. Not here: what a definition
may say (`core/workflow_definitions.py`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from narrows.core.json_texts import loads
from narrows.core.workflow_definitions import Definition, Parsed, parse
from narrows.core.workflow_fields import TRUSTED, Checked, Checks
from narrows.core.workflow_records import WorkflowVersion
from narrows.errors import InvariantViolated, Unavailable

if TYPE_CHECKING:
    from narrows.operations.conditions import Conditions
    from narrows.operations.json_paths import JsonPaths

#: So many steps of all definitions together are kept parsed: some 80 MB.
MAX_STEPS_KEPT: Final = 50_000
NOT_INSTALLED: Final = "Workflows need libraries that this server does not have: pip install 'narrows[workflows]', then start it again."
#: (project id, workflow id, version)
_Key = tuple[str, str, int]


class _Kept(NamedTuple):
    text: str
    definition: Definition


class Expressions(NamedTuple):
    """What knows the languages within a definition; what it compiled it keeps."""

    conditions: Conditions
    json_paths: JsonPaths
    checks: Checks


class Definitions:
    """One a process, used from its event loop and from the writers' threads."""

    def __init__(self, max_steps: int = MAX_STEPS_KEPT) -> None:
        self._max_steps = max_steps
        self._steps = 0
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def expressions(self) -> Expressions:
        """Raises Unavailable where the libraries are not installed."""
        try:
            from narrows.operations.conditions import Conditions  # noqa: PLC0415 - an extra
            from narrows.operations.definition_checks import definition_checks  # noqa: PLC0415 - imports both
            from narrows.operations.json_paths import JsonPaths  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise Unavailable(NOT_INSTALLED, retry_after_secs=60) from error
        conditions, json_paths = Conditions(), JsonPaths()
        return Expressions(conditions, json_paths, definition_checks(conditions, json_paths))

    def check(self, text: str) -> Parsed:
        """A definition that somebody sends, with every fault. Takes up to a second: on a thread."""
        return parse(loads(text), self.expressions.checks)

    @property
    def is_ready(self) -> bool:
        """Whether the libraries have been imported, which takes a while."""
        return "expressions" in vars(self)

    def known(
        self, project_id: str, workflow_id: str, version: int, text: str | None = None
    ) -> Definition | None:
        """The definition, if it is at hand; with a `text` only if it is the one of that."""
        with self._lock:
            return self._find((project_id, workflow_id, version), text)

    def parsed(self, version: WorkflowVersion, *, keep: bool = True) -> Definition:
        """The definition of a version that was saved, and so was checked. `keep` is for what is committed: of
        a version that may yet be given up, another could come to be under the same number."""
        key = (version.project_id, version.workflow_id, version.version)
        found = self.known(*key, version.definition)
        if found is not None:
            return found
        read = parse(loads(version.definition), self._trusting())
        if read.definition is None:
            raise InvariantViolated(f"the saved definition {key} cannot be read: {read.faults[0]}")
        if keep:
            with self._lock:
                self._put(key, _Kept(version.definition, read.definition))
        return read.definition

    def _trusting(self) -> Checks:
        """Which steps an expression names is asked, since only their outputs are loaded for it; whether it is
        right is not asked again."""
        try:
            conditions = self.expressions.conditions
        except Unavailable:
            return TRUSTED  # runs that need no expressions go on
        return TRUSTED._replace(condition=lambda text: Checked(steps=conditions.check(text).steps))

    def _find(self, key: _Key, text: str | None) -> Definition | None:
        kept = self._kept.get(key)
        if kept is None or text not in (None, kept.text):
            return None
        self._kept.move_to_end(key)
        return kept.definition

    def _put(self, key: _Key, kept: _Kept) -> None:
        """Keep it; whatever was not asked for the longest time goes."""
        self._drop(key)
        self._kept[key] = kept
        self._steps += len(kept.definition.steps)
        while self._steps > self._max_steps and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._steps -= len(dropped.definition.steps)
