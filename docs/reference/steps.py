"""The page about the fields of a definition. Which there are, what they must be and what they are without being
given is recorded while the code reads a definition; only what they mean is written here. A field without words,
or words without a field, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from unittest import mock

from narrows.core import workflow_definitions, workflow_reading
from narrows.core.states import StepType
from narrows.core.workflow_definitions import EMIT_HOLD_SECS, MAX_DEPTH, MAX_HOPS, MAX_STEPS, parse
from narrows.core.workflow_fields import TRUSTED, E, Fields
from narrows.operations import advancing, cel_limits, json_paths
from narrows.storage.transaction import Limits

LIMITS: Final = Limits()


class Field(NamedTuple):
    names: tuple[str, ...]
    kind: str
    default: str


class Recorder(Fields):
    """Reads like `Fields`, and notes what it was asked for."""

    seen: Mapping[str, dict[str, Field]] = {}

    def _note(self, names: tuple[str, ...], kind: str, default: str = "") -> None:
        self.seen.setdefault(self.where, {}).setdefault(names[0], Field(names, kind, default))  # type: ignore[attr-defined]

    def get(self, *names: str) -> Any:
        self._note(names, "")
        return super().get(*names)

    def text(self, *names: str, longest: int, required: bool = False) -> str | None:
        self._note(names, f"text, 1 to {longest:,} characters", "required" if required else "")
        return super().text(*names, longest=longest, required=required)

    def whole(self, *names: str, least: int, most: int, default: int) -> int:
        self._note(names, f"whole number, {least:,} to {most:,}", f"`{default}`")
        return super().whole(*names, least=least, most=most, default=default)

    def optional_whole(self, *names: str, least: int, most: int) -> int | None:
        self._note(names, f"whole number, {least:,} to {most:,}")
        return super().optional_whole(*names, least=least, most=most)

    def choice(self, *names: str, of: type[E], default: E) -> E:
        words = of.__members__.values()
        self._note(names, "one of " + ", ".join(f"`{word}`" for word in words), f"`{default}`")
        return super().choice(*names, of=of, default=default)

    def texts(self, *names: str, most: int, longest: int) -> tuple[str, ...]:
        self._note(names, f"list of at most {most:,} texts of 1 to {longest:,} characters")
        return super().texts(*names, most=most, longest=longest)

    def text_template(self, *names: str, longest: int, required: bool = False) -> Any:
        self._note(names, f"template of a text, up to {longest:,} characters", "required" if required else "")
        return super().text_template(*names, longest=longest, required=required)

    def json_template(self, *names: str) -> Any:
        self._note(names, "template of a JSON value")
        return super().json_template(*names)


WORKFLOW: Final = "The workflow"
#: A step of each kind that can be read without a fault.
_LEAST: Final[Mapping[StepType, dict[str, Any]]] = {
    StepType.JOB: {"job_slug": "j"},
    StepType.WAIT_FOR_EVENT: {"event_key": "k"},
    StepType.SLEEP: {"sleep_duration_secs": 1},
    StepType.APPROVAL: {},
    StepType.SUB_WORKFLOW: {"workflow_slug": "w"},
    StepType.WAIT_FOR_ANY: {"event_keys": ["k", "l"]},
    StepType.WAIT_FOR_ALL: {"event_keys": ["k", "l"]},
}
_KINDS: Final[Mapping[StepType, str]] = {
    StepType.JOB: "A run of a job. Its payload is the workflow run's payload, over it the members of the step's `payload`, and `parent_outputs`: "
    "the outputs of the steps that it depends on, by their refs. Its output is the run's result. The job's own attempts come first; "
    "the step fails when they are used up.",
    StepType.WAIT_FOR_EVENT: "A wait for one event. Its output is the event's payload. An event that came before and is held settles it at once.",
    StepType.SLEEP: "A pause, of some length or until a time. It has no output, and no event can end it early.",
    StepType.APPROVAL: 'A decision by people. One rejection fails the step for good; enough approvals complete it, with `{"approved_by": [...], "comments": '
    "[...]}`. No event can stand in for it.",
    StepType.SUB_WORKFLOW: "A run of another workflow, in the version that is the newest when it starts. Its output is an object with the outputs of the "
    "completed steps that no other depends on, by their refs. It fails if that run does not complete.",
    StepType.WAIT_FOR_ANY: "A wait for several events, of which one must come, or `count`. What is left over is closed in the same commit. Its output is "
    '`{"events": [{"event_key", "payload"}, ...]}`, in the order of the keys.',
    StepType.WAIT_FOR_ALL: "The same, of which all must come unless `count` says how many.",
}

#: Field -> what it means; with a slash before it, of one kind of step only.
_WORDS: Final[Mapping[str, str]] = {
    "slug": "Names the workflow in commands and URLs: `a-z`, digits, dot, dash, underscore.",
    "project_id": "The project, for whoever may choose; else that of the API key.",
    "name": "What people call it.",
    "description": "What it is for.",
    "tags": "To find its runs by.",
    "/timeout_secs": "How long a run may take in all, waits included; 0 is no limit. Then it is `timed_out`, and all that goes on of it is closed.",
    "max_parallel_steps": "How many jobs and sub-workflows of a run may go on at once; 0 is any number. Waits hold no place.",
    "steps": f"1 to {MAX_STEPS:,} steps, in any order.",
    "step_ref": "Names the step within the workflow: letters, digits, dash, underscore.",
    "depends_on": "The steps that must have ended, however they ended, before this one's turn comes.",
    "step_type": "What the step does.",
    "condition": "[CEL](#conditions-and-vetoes): where it is false the step is skipped, where it cannot be told the step fails. Asked when its turn comes.",
    "on_failure": "What a bad end of the step (`failed`, `timed_out`, `canceled`) means. `fail_workflow`: the run fails at once. `skip_dependents`: all that "
    "depends on it, directly or not, is skipped, and the run fails once the other branches have ended. `continue`: its dependents have their turn, and the "
    "run may still complete.",
    "on_timeout": '`"fail"`, or `{"default": <payload>}`: where the step\'s time runs out it completes with that as its output.',
    "retry_max_attempts": "How often the step as a whole is tried. Left out, once: a job's own attempts are enough. A rejection and a veto are final.",
    "retry_backoff": "How the pauses between the step's attempts grow.",
    "retry_delay_secs": "The first of these pauses.",
    "output_transform": "A [JSONPath](#transforms) that takes out of the output what later steps need.",
    "event_emit_key": f"An event that is sent when the step completes, with its output as payload; held for {EMIT_HOLD_SECS // 3600} hours where nobody waits "
    "yet. It may name the step's own output.",
    "job_id": "The job, by its id; or:",
    "job_slug": "The job, by its slug. One of both is required.",
    "payload": "Members over those of the workflow run's payload: an object, or one placeholder that is one.",
    "sub_workflow/payload": "What the other workflow is triggered with; left out, nothing.",
    "workflow_slug": f"The other workflow. Workflow runs start each other up to {MAX_DEPTH} deep.",
    "event_key": "The key to wait under. Only one wait at a time is open under a key: name in it what the run is about.",
    "event_keys": "The keys to wait under, each a template like `event_key`.",
    "count": "How many of the events must come.",
    "event_timeout_secs": "How long to wait; 0 is without an end.",
    "expected_schema": "A JSON Schema; an event that does not fit is refused, and the wait goes on.",
    "request_payload": "What whoever answers may need; it stands in the wait.",
    "event_notify_url": "An address that is [told](../notify-url.md) when the wait is opened and when it is settled.",
    "distinct_by": "A path of names into the events' payloads, like `user.id`: events with the same value there count as one.",
    "veto": "[CEL](#conditions-and-vetoes) over each event, as `payload`: where it is true the step fails at once, for good.",
    "approvers": "Who may decide, by name; left out, anybody who may call the API.",
    "min_approvals": "How many must approve.",
    "approval_timeout_secs": "How long to wait; 0 is without an end.",
    "sleep_duration_secs": "How long; or:",
    "sleep_duration": "How long, as `30m`, `24h`, `7d`, `1h30m`; or:",
    "until": "Until when: an RFC 3339 time. One of the three is required.",
}
#: Where the code asks for a value as it is, or where a bound or a default depends on another field.
_KIND_WORDS: Final[Mapping[str, str]] = {
    "slug": "text, 1 to 100 characters",
    "project_id": "text",
    "tags": "object of texts",
    "steps": "list of objects",
    "step_ref": "text, 1 to 100 characters",
    "on_timeout": '`"fail"` or an object',
    "expected_schema": "JSON Schema",
    "event_keys": "list of 1 to 1,000 templates",
    "event_notify_url": "template of a URL, up to 2,048 characters",
    "count": "whole number, up to as many as there are keys",
}
_DEFAULTS: Final[Mapping[str, str]] = {
    "slug": "required",
    "steps": "required",
    "step_ref": "required",
    "event_keys": "required",
    "on_timeout": '`"fail"`',
    "wait_for_any/count": "`1`",
    "wait_for_all/count": "all of them",
}

Table = Callable[[tuple[str, ...], list[tuple[object, ...]]], Iterator[str]]


def recorded() -> dict[str, dict[str, Field]]:
    """What is read of a workflow, and of a step of each kind."""
    found: dict[str, dict[str, Field]] = {}
    for kind, fields in _LEAST.items():
        seen: dict[str, dict[str, Field]] = {}
        recorder = type("Recording", (Recorder,), {"seen": seen})
        with (
            mock.patch.object(workflow_definitions, "Fields", recorder),
            mock.patch.object(workflow_reading, "Fields", recorder),
        ):
            parsed = parse({"slug": "w", "steps": [{"step_ref": "s", "step_type": kind, **fields}]}, TRUSTED)
        assert parsed.definition is not None, parsed.faults
        found[WORKFLOW] = seen[WORKFLOW]
        found[kind] = seen["Step 's'"]
    return found


def _common(found: Mapping[str, Mapping[str, Field]]) -> list[str]:
    """The names of the fields that all kinds of steps have."""
    return [name for name in found[StepType.JOB] if all(name in found[kind] for kind in StepType)]


def _rows(owner: str, fields: Mapping[str, Field], used: set[str]) -> list[tuple[object, ...]]:
    def said(words: Mapping[str, str], name: str) -> str | None:
        for key in (f"{'' if owner == WORKFLOW else owner}/{name}", name):
            if key in words:
                used.add(key)
                return words[key]
        return None

    rows: list[tuple[object, ...]] = []
    for name, field in fields.items():
        meaning = said(_WORDS, name)
        assert meaning is not None, f"{owner} has a field {name!r} without words"
        also = "".join(f", also `{other}`" for other in field.names[1:])
        kind, default = said(_KIND_WORDS, name) or field.kind, said(_DEFAULTS, name) or field.default
        assert kind, f"what {name!r} must be is not recorded"
        rows.append((f"`{name}`{also}", kind, default or "none", meaning))
    return rows


def page(notice: str, table: Table) -> Iterator[str]:
    """The text of the page, part by part."""
    heads = ("Field", "Must be", "Default", "Meaning")
    found, used = recorded(), set[str]()
    common = _common(found)
    yield "# Workflows and their steps, field by field"
    yield notice
    yield (
        "A definition is one JSON object; the command line also reads it from YAML. [Workflows that wait](../workflows.md) explains how its parts play together. "
        "All faults of a definition come in one answer; a field that means nothing is noted by `narrows workflows dry-run`, and ignored."
    )
    yield "## The workflow"
    yield "\n".join(table(heads, _rows(WORKFLOW, found[WORKFLOW], used)))
    yield "## Every step"
    yield "\n".join(table(heads, _rows("step", {name: found[StepType.JOB][name] for name in common}, used)))
    for kind in StepType:
        own = {name: field for name, field in found[kind].items() if name not in common}
        yield f"## `{kind}`"
        yield _KINDS[kind]
        yield "\n".join(table(heads, _rows(kind, own, used)))
    unused = (_WORDS.keys() | _KIND_WORDS.keys() | _DEFAULTS.keys()) - used
    assert not unused, f"words without a field: {sorted(unused)}"
    yield from _languages(table)


def _languages(table: Table) -> Iterator[str]:
    yield "## Templates"
    yield (
        "In the fields that are templates, and within the strings of those that are templates of JSON values, `{{...}}` stands for something that is known when the step "
        "starts. Placeholders are all there is: no expressions, no escapes. A string that is one placeholder and nothing else keeps the JSON type of its value; within "
        "other text only texts, numbers, `true` and `false` can stand."
    )
    rows: list[tuple[object, ...]] = [
        ("`{{payload.user.id}}`", "a member of what the workflow was triggered with, as deep as you like"),
        (
            "`{{user}}`",
            "a member of its top, in short; not for `payload`, `parent_outputs`, `workflow_run_id`, `step_ref`",
        ),
        (
            "`{{parent_outputs.step.field}}`",
            "a member of the output of a step that this one depends on, directly or not",
        ),
        ("`{{workflow_run_id}}`, `{{step_ref}}`", "the run's id, the step's ref"),
    ]
    yield "\n".join(table(("Placeholder", "Stands for"), rows))
    yield (
        "One of which it is known when the workflow is triggered that it does not resolve makes that a 400, and no run begins. Else the step fails, with a sentence that names "
        "the placeholder. It is never left standing, and never becomes an empty text."
    )
    yield "## Conditions and vetoes"
    yield (
        "Expressions in [CEL](https://cel.dev) that give true or false, over `payload` (what the workflow was triggered with; of a veto the event's payload), `outputs` and `statuses` "
        "(of the steps that this one depends on, directly or not, by their refs): `outputs.check.score > 0.8 && statuses.backup == 'completed'`. A ref with a dash is "
        "written `outputs['my-step']`. An output that is not there is null; a member that is not there makes the step fail, so ask `has(outputs.check.score)` first. "
        f"Macros nest at most {cel_limits.MAX_NESTING} deep and go over at most {cel_limits.MAX_ELEMENTS:,} elements."
    )
    yield "## Transforms"
    yield (
        "An `output_transform` is a JSONPath by RFC 9535. A path that can find one value at most gives that value, and fails the step where it finds none; any other gives an array. "
        f"At most {json_paths.MAX_DESCENTS} `..`, {json_paths.MAX_MANY} segments that select several members, and {json_paths.MAX_FOUND:,} values found."
    )
    yield "## Limits"
    limits: list[tuple[object, ...]] = [
        ("steps of a workflow", f"{MAX_STEPS:,}"),
        ("depth of sub-workflows", MAX_DEPTH),
        ("workflow runs that descend from one, ended ones, too; then the step fails", f"{LIMITS.descendants:,}"),
        ("workflow runs of a project that go on", f"{LIMITS.workflow_runs_per_project:,}"),
        (
            "all different conditions and vetoes of a definition",
            f"{workflow_definitions.MAX_CONDITIONS:,} characters",
        ),
        (
            "what one condition or veto looks at, payload and outputs; then the step fails",
            f"{advancing.MAX_ASKED_BYTES >> 20} MiB",
        ),
        ("values (members, elements) in what one condition or veto looks at", f"{cel_limits.MAX_VALUES:,}"),
        (
            "what is read in one commit for all of a run's conditions, votes and event keys; what is beyond fails",
            f"{advancing.MAX_SEEN_BYTES >> 20} MiB",
        ),
        ("emits that follow one out of the other; then the step fails that would emit", MAX_HOPS),
        ("length of a definition", "4 MiB"),
        ("length of an event key, when it is filled in", "512 bytes"),
        ("a payload that is filled in, with `parent_outputs`; an output; then the step fails", "1 MiB"),
        ("payloads of all that starts of one run in one commit; what is beyond fails", "32 MiB"),
        ("waits that are opened of one run in one commit; what is beyond fails", "4,000"),
    ]
    yield "\n".join(table(("What", "At most"), limits))
