"""How a step starts: its templates are filled in, and out come a job's run, open waits, or a message that starts a
sub-workflow. What cannot be started has failed; the step says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Final, NamedTuple

from narrows.core import runs as run_rules
from narrows.core import triggers as trigger_rules
from narrows.core.graphs import members
from narrows.core.json_texts import Document, compact
from narrows.core.keys import check_key
from narrows.core.records import NEVER
from narrows.core.retries import step_pause_us
from narrows.core.run_records import WaitGroup
from narrows.core.states import FactKind, GroupMode, MessageKind, OnEnd, StepType, TriggerType
from narrows.core.templates import Scope, Template, job_payload, render
from narrows.core.workflow_definitions import MAX_DEPTH, output_steps
from narrows.core.workflow_records import Step
from narrows.core.workflow_steps import Approval, EventWait, JobWork, Sleep, StepDefinition, SubWorkflow
from narrows.errors import Conflict, InvalidRequest, LimitReached, Refusal
from narrows.operations.advancing import Root, Value
from narrows.operations.opening import (
    Wanted,
    check_free,
    check_room,
    first_fitting,
    open_wait,
    opening_touches,
    take,
)
from narrows.operations.reads.times import moment_of
from narrows.operations.waits import find_job, job_touches
from narrows.storage.lookups import Touch
from narrows.storage.operation import Undecided

#: So much may start of one workflow run in one commit, and of one step; and so many waits: each has a key, and each
#: key a lock, of which a database has so many for everybody.
MAX_STARTED_BYTES: Final = 32 << 20
MAX_STARTED_WAITS: Final = 4_000
TOO_MUCH_AT_ONCE: Final = (
    "what starts with it at once is over 32 MiB; set max_parallel_steps, or shorten the payloads"
)
TOO_MUCH_ALONE: Final = "its waits come to over 32 MiB; shorten their request_payload or expected_schema"
TOO_MANY_AT_ONCE: Final = (
    f"over {MAX_STARTED_WAITS:,} waits start with it at once; let some of these steps follow others"
)
#: It stands in the row of each wait and of each of its deliveries.
LONGEST_URL: Final = 2_048
#: What may be otherwise by the next attempt: a key that is taken, a limit that is reached.
_PASSING: Final = (Conflict, LimitReached)
_EMPTY: Final = Document("{}")
_MODES: Final = {StepType.WAIT_FOR_ANY: GroupMode.ANY, StepType.WAIT_FOR_ALL: GroupMode.ALL}


class Prepared(NamedTuple):
    """A step that starts, its templates filled in: `waits` to be opened, or a `payload` for a run; else
    the `fault` that keeps it from starting."""

    step: int
    waits: tuple[Wanted, ...] = ()
    payload: str | None = None
    fault: Refusal | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.payload or "") + sum(wanted.size_bytes for wanted in self.waits)


def prepare(root: Root, starts: Sequence[int]) -> Generator[list[Touch], None, list[Prepared]]:
    """Everything that the steps need to start, loaded; raises Undecided where held events must be looked at."""
    if not starts:
        return []
    seen = {step: list(members(output_steps(root.definition, step))) for step in starts}
    needs_payload = any(
        root.step(step).templates or isinstance(root.step(step).work, JobWork) for step in starts
    )
    looked_at = {each for named in seen.values() for each in named}
    yield from root.load_outputs(looked_at, payload=needs_payload)
    prepared = _prepare_all(root, starts, seen)
    yield [touch for each in prepared for touch in _touches(root, each)]
    _ask_of_held_events(root, [each for each in prepared if each.waits])
    return prepared


def _prepare_all(root: Root, starts: Sequence[int], seen: Mapping[int, list[int]]) -> list[Prepared]:
    """What starts in one commit has a bound: a definition could make a thousand copies of a large payload."""
    prepared, size, count = [], 0, 0
    for step in starts:
        if size > MAX_STARTED_BYTES:
            each = Prepared(step, fault=LimitReached(TOO_MUCH_AT_ONCE))
        elif count > MAX_STARTED_WAITS:
            each = Prepared(step, fault=LimitReached(TOO_MANY_AT_ONCE))
        else:
            each = _prepare(root, step, seen[step])
        if each.size_bytes > MAX_STARTED_BYTES:
            each = Prepared(step, fault=InvalidRequest(TOO_MUCH_ALONE))
        size, count = size + each.size_bytes, count + len(each.waits)
        prepared.append(each)
    return prepared


def _prepare(root: Root, step: int, seen: Sequence[int]) -> Prepared:
    definition = root.step(step)
    try:
        scope = root.scope(step, seen)
        if isinstance(definition.work, JobWork):
            return Prepared(step, payload=_job_payload(root, definition.work, scope, step))
        if isinstance(definition.work, SubWorkflow):
            if root.run.depth >= MAX_DEPTH:
                raise InvalidRequest(f"workflows may start one another {MAX_DEPTH} deep at most")
            return Prepared(step, payload=_filled(definition.work.payload, scope))
        return Prepared(step, waits=_waits(definition, scope))
    except (InvalidRequest, LimitReached) as fault:
        return Prepared(step, fault=fault)


def _filled(template: Template | None, scope: Scope) -> str | None:
    return None if template is None else render(template, scope)


def _job_payload(root: Root, work: JobWork, scope: Scope, step: int) -> str:
    """The workflow run's payload, over it the step's own, and what the steps before it gave."""
    parents = members(root.definition.graph.dependencies[step])
    outputs = {root.step(parent).ref: root.output(parent) or "null" for parent in parents}
    return job_payload(scope.payload or _EMPTY, _filled(work.payload, scope), outputs)


def _waits(definition: StepDefinition, scope: Scope) -> tuple[Wanted, ...]:
    """The waits of a step. Those that no event ends get their keys when they are opened."""
    work = definition.work
    if isinstance(work, Sleep):
        return (Wanted("", work.duration_secs or 0, expires_at=_moment(work, scope)),)
    assert isinstance(work, EventWait | Approval)
    payload, url = _filled(work.request_payload, scope), _filled(work.notify_url, scope)
    if url is not None and len(url) > LONGEST_URL:
        raise InvalidRequest(f"its event_notify_url comes out longer than {LONGEST_URL:,} characters")
    if isinstance(work, Approval):
        return (Wanted("", work.timeout_secs, payload, notify_url=url),)
    keys = [check_key(render(key, scope)) for key in work.keys]
    if len(set(keys)) < len(keys):
        twice, _ = Counter(keys).most_common(1)[0]
        raise InvalidRequest(f"two of its event keys come out as {twice!r}")
    return tuple(Wanted(key, work.timeout_secs, payload, work.expected_schema, url) for key in keys)


def _moment(work: Sleep, scope: Scope) -> int | None:
    if work.until is None:
        return None
    text = render(work.until, scope)
    moment = moment_of(text)
    if moment is None or not 0 <= moment < NEVER:
        raise InvalidRequest(f"its 'until' is no RFC 3339 time but {text[:100]!r}")
    return moment


def _touches(root: Root, prepared: Prepared) -> list[Touch]:
    work, project_id = root.step(prepared.step).work, root.run.project_id
    if prepared.fault is not None:
        return []
    if isinstance(work, JobWork):
        return job_touches(project_id, work.job_slug or work.job_id or "")
    if not prepared.waits:
        return []
    keys = [wanted.event_key for wanted in prepared.waits if wanted.event_key]
    return opening_touches(project_id, keys)


def _ask_of_held_events(root: Root, prepared: Sequence[Prepared]) -> None:
    """All that must be asked of them, at once."""
    missing: list[object] = []
    for each in prepared:
        try:
            first_fitting(root.tx, root.run.project_id, each.waits, root.tx.notes.answers)
        except Undecided as undecided:
            missing += undecided.questions
    if missing:
        raise Undecided(missing)


# ---- the start itself ------------------------------------------------------------------------------


def begin(root: Root, prepared: Prepared) -> None:
    """Start a step of which the row says already that it has started."""
    row, work = root.row(prepared.step), root.step(prepared.step).work
    assert row is not None
    try:
        if prepared.fault is not None:
            raise prepared.fault
        if isinstance(work, JobWork):
            _start_job(root, row, work, prepared.payload)
        elif isinstance(work, SubWorkflow):
            _start_child(root, row, work, prepared.payload)
        else:
            _open(root, row, prepared.waits)
    except Refusal as refusal:
        error = refusal.message.removesuffix(".")
        root.note(prepared.step, FactKind.STEP_FAILED, error, final=not isinstance(refusal, _PASSING))


def _start_job(root: Root, row: Step, work: JobWork, payload: str | None) -> None:
    tx = root.tx
    job = find_job(tx, row.project_id, work.job_slug or work.job_id or "")
    run = run_rules.new_run(
        job,
        run_id=tx.new_id(root.entropy),
        priority=0,
        tags=None,
        scheduled_at=None,
        now=tx.now,
        wall=tx.wall,
        created_by=root.actor,
    )
    kept = root.keep(Value(payload))
    run = run._replace(
        root_id=root.run.id,
        workflow_run_id=root.run.id,
        workflow_step_run_id=row.id,
        payload=kept.text,
        payload_id=kept.payload_id,
        # A step that is tried again itself asks the job once each time.
        max_attempts=run.max_attempts if root.step(row.step).max_attempts is None else 1,
    )
    tx.save(row._replace(run_id=run.id))
    tx.advance_run(run, FactKind.RUN_CREATED, root.actor, root.entropy)


def _start_child(root: Root, row: Step, work: SubWorkflow, payload: str | None) -> None:
    """By a message, whose id is that of the child's run: it can be named, and canceled, before it is there."""
    child_id = root.tx.new_id(root.entropy)
    root.tx.save(row._replace(child_run_id=child_id))
    body = {
        "step": row.step,
        "workflow_slug": work.workflow_slug,
        "depth": root.run.depth + 1,
        "top_run_id": root.run.top_run_id or root.run.id,
    }
    root.send(MessageKind.START_WORKFLOW_RUN, root.run.id, body, Value(payload), message_id=child_id)


def _open(root: Root, row: Step, waits: Sequence[Wanted]) -> None:
    """The waits of a step as one wait group; held events settle them at once."""
    tx, project_id, definition = root.tx, root.run.project_id, root.step(row.step)
    for wanted in waits:
        if wanted.event_key:
            check_free(tx, project_id, wanted.event_key)
    check_room(tx, project_id, len(waits))
    group_id = tx.new_id(root.entropy)
    if isinstance(definition.work, EventWait):
        held = first_fitting(tx, project_id, waits, tx.notes.answers)
        kind = TriggerType.EVENT
    else:
        # A key with the fresh id of the group in it is nobody else's, so that nothing needs to be looked up.
        kind = TriggerType.SLEEP if isinstance(definition.work, Sleep) else TriggerType.APPROVAL
        waits = [waits[0]._replace(event_key=f"{kind}:{row.step_ref}:{group_id}")]
        held = [None]
    _open_group(root, row, group_id, waits, kind)
    for wanted, event in zip(waits, held, strict=True):
        trigger = tx.newest_trigger(project_id, wanted.event_key)
        # One that came before it may have ended the wait of all of them.
        if event is not None and trigger is not None and trigger_rules.is_waiting(trigger):
            take(tx, trigger, event, root.entropy)


def _open_group(root: Root, row: Step, group_id: str, waits: Sequence[Wanted], kind: TriggerType) -> None:
    tx, work = root.tx, root.step(row.step).work
    tx.save(row._replace(wait_group_id=group_id))
    opened = [
        open_wait(
            tx,
            row.project_id,
            wanted,
            root.actor,
            root.entropy,
            trigger_type=kind,
            step=row,
            wait_group_id=group_id,
        )
        for wanted in waits
    ]
    is_event_wait = isinstance(work, EventWait) and kind == TriggerType.EVENT
    distinct_by = work.distinct_by if isinstance(work, EventWait) and is_event_wait else None
    tx.save(
        WaitGroup(
            row.project_id,
            group_id,
            root.run.id,
            "",
            _MODES.get(row.step_type, GroupMode.ALL),
            work.needed if isinstance(work, EventWait) and is_event_wait else 1,
            compact([trigger.id for trigger in opened]),
            OnEnd.END,
            OnEnd.END,
            tx.now,
            workflow_run_id=root.run.id,
            distinct_by=None if distinct_by is None else compact(distinct_by),
            has_veto=int(isinstance(work, EventWait) and is_event_wait and work.veto is not None),
        )
    )
    for trigger in opened:
        if trigger.trigger_type == TriggerType.SLEEP and trigger.expires_at <= tx.wall:
            tx.advance(*trigger_rules.come_due(trigger, tx.now), "engine", root.entropy)


def pause(root: Root, step: int, row: Step) -> None:
    """Between two attempts nothing is left of a step but a sleep. `row` counts the attempt to come."""
    definition = root.step(step)
    pause_us = step_pause_us(definition.backoff, definition.first_pause_secs, row.attempt - 1, root.entropy)
    group_id = root.tx.new_id(root.entropy)
    wanted = Wanted(f"retry:{row.step_ref}:{group_id}", 0, expires_at=root.tx.now + pause_us)
    _open_group(root, row, group_id, [wanted], TriggerType.SLEEP)
