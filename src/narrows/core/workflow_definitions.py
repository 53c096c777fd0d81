"""Definitions of workflows: from what was sent to a frozen graph of steps, or to every fault at once.

A definition is read twice: when it is saved, with `Checks` that look into its expressions, and whenever its
runs advance, when it is trusted. Not here: the fields of a step (`workflow_reading.py`), and whether the
jobs and workflows that it names are there, which only the store knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from narrows.core import graphs
from narrows.core.graphs import Graph, mask
from narrows.core.json_texts import Document, dumps
from narrows.core.keys import is_slug
from narrows.core.states import OnFailure, StepType
from narrows.core.templates import Scope, Template, unresolved
from narrows.core.workflow_fields import LONGEST_SECS, Checked, Checks, Faults, Fields
from narrows.core.workflow_reading import ReadStep, read_step
from narrows.core.workflow_steps import EventWait, StepDefinition

MAX_STEPS: Final = 1_000
#: How deep workflow runs start others, and how many messages may follow one out of the other.
MAX_DEPTH: Final = 10
MAX_HOPS: Final = 100
#: How long an emitted event is held while nobody waits for it.
EMIT_HOLD_SECS: Final = 86_400
MAX_TAGS: Final = 50
#: All different conditions and vetoes of a definition, in characters: to read the worst takes a second.
MAX_CONDITIONS: Final = 64 << 10
#: Cycles in one answer; whoever made more has understood.
MAX_CYCLES: Final = 10


class Definition(NamedTuple):
    """A definition without faults. A step is named by its place in `steps`; masks have a bit for each.

    `executing` are the steps that hold one of the `max_parallel_steps` places (0: any number): those that
    make something run. A parked wait holds none, or two waits that need each other would stall.
    """

    slug: str
    name: str | None
    description: str | None
    tags: str | None
    timeout_secs: int
    max_parallel_steps: int
    steps: tuple[StepDefinition, ...]
    places: Mapping[str, int]
    order: tuple[int, ...]
    depth: int
    graph: Graph
    executing: int
    conditional: int
    skipping: int  # on_failure skip_dependents
    going_on: int  # on_failure continue


class Parsed(NamedTuple):
    """`definition` is None exactly where there are faults. `notes` are no faults: fields that mean nothing."""

    definition: Definition | None
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def parse(given: Any, checks: Checks) -> Parsed:
    """Read a definition, decoded by `json_texts.loads`; answers every fault at once."""
    faults: Faults = {}
    if not isinstance(given, Mapping):
        return Parsed(None, ("The definition must be an object.",), ())
    top = Fields("The workflow", given, faults)
    top.get("project_id")
    fields = {
        "slug": _slug(top),
        "name": top.text("name", longest=200),
        "description": top.text("description", longest=2_000),
        "tags": _tags(top),
        "timeout_secs": top.whole("timeout_secs", least=0, most=LONGEST_SECS, default=0),
        "max_parallel_steps": top.whole("max_parallel_steps", least=0, most=MAX_STEPS, default=0),
    }
    read = _steps(top, _bounded(checks, top), faults)
    places = _places(read, faults)
    dependencies = [_dependencies(step, place, places, faults) for place, step in enumerate(read)]
    graph = graphs.build(dependencies)
    order = graphs.order(graph)
    _refuse_cycles(graph, order, read, faults)
    _check_reads(graph, order, places, read, faults)
    notes = [f"The workflow has a field {name!r}, which means nothing." for name in top.unknown()]
    for place, step in enumerate(read):
        notes += [
            f"Step {step.ref or place + 1!r} has a field {name!r}, which means nothing to it."
            for name in step.unused
        ]
    if faults:
        return Parsed(None, tuple(faults), tuple(notes))
    steps = tuple(step.step for step in read if step.step is not None)
    return Parsed(_definition(fields, steps, places, graph, order), (), tuple(notes))


def unresolved_placeholders(definition: Definition, payload: str | None, workflow_run_id: str) -> list[str]:
    """One sentence for each placeholder of which it is known when the workflow is triggered that it does not
    resolve. A step with a condition may be skipped just because its member is missing, so it is let pass."""
    document = None if payload is None else Document(payload)
    faults = []
    for step in definition.steps:
        if step.condition is None:
            scope = Scope(document, {}, workflow_run_id, step.ref)
            faults += [f"Step {step.ref!r}: {fault}" for fault in unresolved(_all_templates(step), scope)]
    return faults


def output_steps(definition: Definition, step: int) -> int:
    """The steps whose outputs a step needs to start: what its templates name, and for a job its parents."""
    named = mask(definition.places[ref] for ref in _named_by(definition.steps[step].templates))
    parents = definition.graph.dependencies[step] if definition.steps[step].type == StepType.JOB else 0
    return named | parents


def expression_steps(definition: Definition, step: int, named: frozenset[str] | None) -> int:
    """The steps whose outputs a condition or a veto of `step` may look at: those that it names, else all
    that the step depends on, directly or not. Of no others can it tell anything for certain."""
    if named is None:
        return graphs.reachable(definition.graph.dependencies, step)
    return mask(definition.places[ref] for ref in named)


def _slug(top: Fields) -> str:
    slug = top.get("slug")
    if not is_slug(slug):
        top.fault(
            "has no 'slug'"
            if slug is None
            else "has a wrong 'slug': it must be 1 to 100 of a-z, 0-9, dot, dash, underscore, the first a letter or "
            "digit, and not spelled like an id"
        )
    return str(slug)


def _tags(top: Fields) -> str | None:
    tags = top.get("tags")
    if tags is None:
        return None
    good = isinstance(tags, Mapping) and len(tags) <= MAX_TAGS
    if not good or any(not isinstance(value, str) or len(value) > 200 for value in tags.values()):
        top.fault(
            f"has wrong 'tags': they must be an object of at most {MAX_TAGS} texts of up to 200 characters"
        )
    return dumps(tags)


def _bounded(checks: Checks, top: Fields) -> Checks:
    """Checks that look into no more conditions than a definition may have; one that stands twice is read once."""
    seen: set[str] = set()
    size = 0

    def condition(text: str) -> Checked:
        nonlocal size
        size += 0 if text in seen else len(text)
        seen.add(text)
        if size <= MAX_CONDITIONS:
            return checks.condition(text)
        top.fault(
            f"has different conditions and vetoes of more than {MAX_CONDITIONS >> 10} Ki characters in all; shorten "
            "them, let several steps depend on one that has the condition, or move some to a sub-workflow"
        )
        return Checked()

    return checks._replace(condition=condition)


def _steps(top: Fields, checks: Checks, faults: Faults) -> list[ReadStep]:
    steps = top.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        top.fault(f"has wrong 'steps': it must be a list of 1 to {MAX_STEPS} steps")
        return []
    return [read_step(place, each, checks, faults) for place, each in enumerate(steps)]


def _places(read: Sequence[ReadStep], faults: Faults) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, step in enumerate(read):
        if step.ref in places:
            faults[
                f"Steps number {places[step.ref] + 1} and {place + 1} have the same 'step_ref' {step.ref!r}."
            ] = None
        elif step.ref is not None:
            places[step.ref] = place
    return places


def _dependencies(step: ReadStep, place: int, places: Mapping[str, int], faults: Faults) -> list[int]:
    where = f"Step {step.ref!r}" if step.ref else f"Step number {place + 1}"
    found = []
    for ref in step.depends_on:
        if ref == step.ref:
            faults[f"{where} depends on itself."] = None
        elif ref in places:
            found.append(places[ref])
        else:
            faults[f"{where} depends on {ref!r}, which is no step of this workflow."] = None
    return found


def _refuse_cycles(graph: Graph, order: Sequence[int], read: Sequence[ReadStep], faults: Faults) -> None:
    if len(order) == len(read):
        return
    for cycle in graphs.cycles(graph, MAX_CYCLES):
        refs = [read[place].ref or f"number {place + 1}" for place in (*cycle, cycle[0])]
        faults[f"The steps {' -> '.join(refs)} depend on each other in a circle."] = None


def _check_reads(
    graph: Graph, order: Sequence[int], places: Mapping[str, int], read: Sequence[ReadStep], faults: Faults
) -> None:
    """A step may only look at what is certain to have ended when its turn comes. (Where steps depend on each
    other in a circle nothing comes before anything.)"""
    if len(order) < len(read):
        return
    before = graphs.ancestors(graph, order)
    for place, each in enumerate(read):
        step = each.step
        if step is None:
            continue
        reads = [("a placeholder", _named_by(step.templates)), ("its condition", step.condition_steps or ())]
        if isinstance(step.work, EventWait):
            reads.append(("its veto", step.work.veto_steps or ()))
        if step.emit_key is not None:
            reads.append(("its 'event_emit_key'", _named_by([step.emit_key]) - {step.ref}))
        for what, refs in reads:
            for ref in sorted(refs):
                if ref not in places:
                    faults[f"Step {step.ref!r}: {what} names {ref!r}, which is no step of this workflow."] = (
                        None
                    )
                elif not before[place] >> places[ref] & 1:
                    faults[f"Step {step.ref!r}: {what} names {ref!r}, on which it does not depend."] = None


def _named_by(templates: Iterable[Template]) -> set[str]:
    found = {placeholder.output_of for template in templates for placeholder in template.placeholders}
    return {ref for ref in found if ref is not None}


def _all_templates(step: StepDefinition) -> Iterable[Template]:
    return (*step.templates, step.emit_key) if step.emit_key is not None else step.templates


def _definition(
    fields: dict[str, Any],
    steps: tuple[StepDefinition, ...],
    places: Mapping[str, int],
    graph: Graph,
    order: Sequence[int],
) -> Definition:
    def those(holds: Any) -> int:
        return mask(place for place, step in enumerate(steps) if holds(step))

    return Definition(
        **fields,
        steps=steps,
        places=places,
        order=tuple(order),
        depth=graphs.depth(graph, order),
        graph=graph,
        executing=those(lambda step: step.type in (StepType.JOB, StepType.SUB_WORKFLOW)),
        conditional=those(lambda step: step.condition is not None),
        skipping=those(lambda step: step.on_failure == OnFailure.SKIP_DEPENDENTS),
        going_on=those(lambda step: step.on_failure == OnFailure.CONTINUE),
    )
