"""What the outside knows of workflow runs, as `run_ledger.py` does of runs: what was started, sent, canceled, what was
answered, and what their jobs have done. In the end every workflow run has ended once, as all that says."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

#: Once in the life of a workflow run that is completed.
ONCE = ("workflow_run.created", "workflow_run.completed")
#: What happens once to each of its steps: nothing of them is tried again.
ONCE_A_STEP = ("step.started", "step.waiting", "step.completed")
ENDS = ("workflow_run.completed", "workflow_run.failed", "workflow_run.timed_out", "workflow_run.canceled")


class Flow:
    """One workflow run as the outside knows it. `number` is in its payload and in the key of its event."""

    def __init__(self, run_id: str, number: int) -> None:
        self.id = run_id
        self.number = number
        self.attempted: list[Any] = []  # payloads of sends whatever their answer
        self.acknowledged: Any = None  # the payload of the first send that was answered 2xx
        self.may_cancel = False
        self.canceled = False  # a cancel was answered 2xx


class Stored(NamedTuple):
    """One workflow run as the store answers in the end: itself, its steps by their names, its facts as (kind, step)."""

    run: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    facts: list[tuple[str, str | None]]


class Effect(NamedTuple):
    """What a job did, kept by its worker before it answered."""

    workflow_run_id: str
    step_ref: str
    number: int
    answer: Any


class WorkflowLedger:
    def __init__(self) -> None:
        self.flows: dict[str, Flow] = {}
        self.faults: list[str] = []  # replies that no order of events allows
        self.counts: defaultdict[str, int] = defaultdict(int)

    def started(self, run_id: str, number: int) -> Flow:
        self.counts["started"] += 1
        return self.flows.setdefault(run_id, Flow(run_id, number))


def violations(ledger: WorkflowLedger, stored: dict[str, Stored], effects: list[Effect]) -> list[str]:
    """Where the store (`stored`, by workflow run id) breaks a promise that the ledger holds it to."""
    found = list(ledger.faults)
    by_step = defaultdict[tuple[str, str], list[Effect]](list)
    for effect in effects:
        by_step[effect.workflow_run_id, effect.step_ref].append(effect)
    children = {each.run.get("parent_workflow_run_id"): run_id for run_id, each in stored.items()}
    for flow in ledger.flows.values():
        if flow.id not in stored:
            found.append(f"P1: the workflow run {flow.id}, whose trigger was acknowledged, is gone")
            continue
        found += _of_one(flow, stored[flow.id])
        if stored[flow.id].run["status"] != "completed":
            continue
        inner = children.get(flow.id, flow.id)
        if inner not in stored or "answer" not in stored[inner].steps:
            found.append(f"P3: the sub-workflow of {flow.id} is not there")
            continue
        found += _of_answer(flow, stored[inner])
        found += _of_effects(flow, inner, by_step)
    for run_id, each in stored.items():
        parent = each.run.get("parent_workflow_run_id")
        if run_id not in ledger.flows and parent not in ledger.flows:
            found.append(f"P5: the workflow run {run_id} is a second one, of a repeated trigger")
        found += _of_facts(run_id, each)
    return found


def _of_one(flow: Flow, stored: Stored) -> list[str]:
    found, status = [], stored.run["status"]
    if flow.canceled and status != "canceled":
        found.append(f"P2: {flow.id} was acknowledged as canceled and is {status}")
    if status == "canceled" and not flow.may_cancel:
        found.append(f"P4: {flow.id} is canceled and nobody asked")
    if status not in ("completed", "canceled"):
        found.append(f"P3: {flow.id} did not go on: it is {status}, {stored.run.get('error')!r}")
    return found


def _of_answer(flow: Flow, stored: Stored) -> list[str]:
    """The event that was acknowledged is what the step that waited for it gives."""
    output = stored.steps["answer"].get("output")
    if flow.acknowledged is None and output not in flow.attempted:
        return [f"P4: {flow.id} went on by {output!r}, which nobody sent"]
    if flow.acknowledged is not None and output != flow.acknowledged:
        return [f"P1: {flow.id} was acknowledged {flow.acknowledged!r} and went on by {output!r}"]
    return []


def _of_effects(flow: Flow, inner: str, effects: dict[tuple[str, str], list[Effect]]) -> list[str]:
    """Each job was done, once at least, with what it had to be given."""
    found = []
    for ref in ("prepare", "finish"):
        seen = effects.get((inner, ref), [])
        if not seen:
            found.append(f"P3: {flow.id} is completed, and nobody did its step {ref}")
        for each in seen:
            wrong_answer = ref == "finish" and each.answer not in flow.attempted
            if each.number != flow.number or wrong_answer:
                found.append(f"P4: the step {ref} of {flow.id} was done with {each}")
    return found


def _of_facts(run_id: str, stored: Stored) -> list[str]:
    """It ended once, with its newest fact, and each of its steps went on once."""
    found, kinds = [], Counter(kind for kind, _ in stored.facts)
    if sum(kinds[kind] for kind in ENDS) != 1 or stored.facts[0][0] not in ENDS:
        found.append(f"P2: {run_id} was ended by {stored.facts}")
    if stored.run["status"] == "completed":
        found += [f"P3: {run_id} has {kinds[kind]} of {kind}" for kind in ONCE if kinds[kind] != 1]
        left = [ref for ref, step in stored.steps.items() if step["status"] != "completed"]
        if left:
            found.append(f"P3: {run_id} is completed, and not its steps {left}")
    of_steps = Counter(fact for fact in stored.facts if fact[0] in ONCE_A_STEP)
    found += [f"P3: {run_id} has {count} of {fact}" for fact, count in of_steps.items() if count > 1]
    return found
