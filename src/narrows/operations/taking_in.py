"""The first phase of a turn: from what was noted to what has happened. Late news of an earlier attempt are dropped,
waits with a veto are judged, and what completes gets its output and its event key: where one of those cannot be
made, the step has failed instead."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Final, NamedTuple

from narrows.core import step_waits
from narrows.core import workflows as rules
from narrows.core.graphs import mask, members
from narrows.core.keys import check_key
from narrows.core.payloads import is_too_large
from narrows.core.records import Trigger
from narrows.core.states import FactKind, StepStatus, StepType
from narrows.core.step_states import StepStates
from narrows.core.templates import render
from narrows.core.waits import WAIT_IS_OVER
from narrows.core.workflow_definitions import MAX_HOPS
from narrows.core.workflow_records import Step
from narrows.core.workflow_steps import Approval, EventWait, JobWork, SubWorkflow
from narrows.core.workflows import Happened
from narrows.errors import InvalidRequest, LimitReached
from narrows.operations.advancing import NOTHING, Loading, Root, Value
from narrows.operations.questions import ConditionQuestion, TransformQuestion
from narrows.operations.waits import touches_of_jobs
from narrows.storage.following import cast, decide, group_triggers, is_uncast, part_of
from narrows.storage.lookups import Touch
from narrows.storage.noted import Noted

_SEVERAL = (StepType.WAIT_FOR_ANY, StepType.WAIT_FOR_ALL)
_AT_WORK = (StepStatus.RUNNING, StepStatus.WAITING)
CANNOT_JUDGE: Final = "its events cannot be looked into"


class News(NamedTuple):
    """What was noted of one step's present attempt."""

    noted: Noted
    step: int
    row: Step | None

    @property
    def attempt(self) -> int:
        return 1 if self.row is None else self.row.attempt


def take_in(root: Root, noted: Sequence[Noted]) -> Generator[list[Touch], None, list[Happened]]:
    """What has happened, in the order in which it was noted. Raises Undecided."""
    places = root.definition.places
    yield _touches(root, noted)
    states = StepStates(root.run.steps)
    found: list[Happened | News] = []
    for each in noted:
        if each.step_ref is None:
            found.append(Happened(each.kind, error=each.error))
            continue
        step = places[each.step_ref]
        news = News(each, step, root.row(step))
        status = states.at(step)
        if each.source is None:
            found.append(Happened(each.kind, step, news.attempt, each.error, each.final))
        elif _is_of_this_attempt(news):
            if status == StepStatus.DELAYED:
                # However its pause ended: also a person may cut it short.
                found.append(Happened(FactKind.STEP_DUE, step))
            elif status in _AT_WORK:
                found.append(news)
    told = yield from _judge(root, [each for each in found if isinstance(each, News)])
    yield from _load_results(root, told)
    yield from _make_outputs(root, told)
    ends = {news.step: happened for news, happened in told}
    return [
        each
        for each in (ends.pop(each.step, None) if isinstance(each, News) else each for each in found)
        if each is not None
    ]


def _touches(root: Root, noted: Sequence[Noted]) -> list[Touch]:
    """The rows of these steps, and in the same trip what the steps need whose turn most likely comes by it."""
    happened = {root.definition.places[each.step_ref] for each in noted if each.step_ref is not None}
    begins = any(each.kind == FactKind.WORKFLOW_RUN_CREATED for each in noted)
    coming = rules.coming(root.definition, root.run.steps, sorted(happened), begins=begins)
    return [
        *root.row_touches(happened.union(coming)),
        *touches_of_jobs(root.run.project_id, root.definition, coming),
    ]


def _is_of_this_attempt(news: News) -> bool:
    row = news.row
    return row is not None and news.noted.source in (row.run_id, row.wait_group_id, row.child_run_id)


# ---- votes and vetoes ------------------------------------------------------------------------------------


class Told(NamedTuple):
    """How a step's work has ended."""

    news: News
    happened: Happened


def _judge(root: Root, news: Sequence[News]) -> Generator[list[Touch], None, list[Told]]:
    """How the work of each step has ended; a wait whose events are looked into may still be open."""
    told: dict[int, Told] = {}
    judged: dict[int, News] = {}
    for each in news:
        if each.noted.is_open:
            judged[each.step] = each
        else:
            end = Happened(each.noted.kind, each.step, each.attempt, each.noted.error, each.noted.final)
            told.setdefault(each.step, Told(each, end))
    if judged:
        yield from _load_uncast(root, judged.values())
        yield from _load_seen(root, judged.values())
        uncast: dict[int, list[Uncast]] = {}
        for step, each in judged.items():
            try:
                uncast[step] = _uncast(root, each)
            except LimitReached as fault:
                error = f"{CANNOT_JUDGE}: {fault.message}"
                failed = step_waits.Standing(FactKind.STEP_FAILED, error, final=True)
                told.setdefault(step, _closed(root, each, failed))
        root.ask(each.question for some in uncast.values() for each in some if each.question is not None)
        for step, some in uncast.items():
            standing = _stand(root, judged[step], some)
            if standing is not None:
                told.setdefault(step, _closed(root, judged[step], standing))
    return list(told.values())


def _load_uncast(root: Root, waits: Iterable[News]) -> Loading:
    """The texts of events that nobody has looked into; of what was held, nobody has loaded it with its trigger."""
    waits = list(waits)
    yield [("wait_groups_by_id", root.run.project_id, each.noted.source or "") for each in waits]
    triggers = [trigger for each in waits for trigger in _triggers(root, each)]
    yield from root.load_bounded(map(_received, filter(is_uncast, triggers)), root.asking)


def _load_seen(root: Root, judged: Iterable[News]) -> Loading:
    seen: set[int] = set()
    for each in judged:
        seen.update(root.seen_by(each.step, _work(root, each).veto_steps))
    yield from root.load_outputs(seen, payload=False, budget=root.asking)


def _work(root: Root, news: News) -> EventWait:
    work = root.step(news.step).work
    assert isinstance(work, EventWait)
    return work


class Uncast(NamedTuple):
    """An event that nobody has looked into: who votes by it, and what the veto is to be asked of it, if there is one."""

    trigger: Trigger
    voter: str | None
    question: ConditionQuestion | None


def _uncast(root: Root, news: News) -> list[Uncast]:
    """Of a wait, the events that came in this commit. Raises LimitReached where they are too much to look into."""
    work = _work(root, news)
    seen = root.seen_by(news.step, work.veto_steps)
    found = []
    for trigger in filter(is_uncast, _triggers(root, news)):
        payload = root.text(_received(trigger))
        question = None
        if work.veto is not None:
            question = root.question(work.veto, payload, seen, root.run.steps)
        found.append(Uncast(trigger, step_waits.voter_of(work.distinct_by, payload), question))
    return found


def _stand(root: Root, news: News, uncast: Sequence[Uncast]) -> step_waits.Standing | None:
    """How a wait stands with these events; what counts of them is kept. That a veto cannot be told is none."""
    for trigger, voter, question in uncast:
        vetoed = question is not None and root.answer(question) is True
        cast(root.tx, trigger, step_waits.Ballot(voter, vetoed))
    work = _work(root, news)
    return step_waits.judge(work.needed, work.distinct_by, list(map(part_of, _triggers(root, news))))


def _closed(root: Root, news: News, standing: step_waits.Standing) -> Told:
    """A wait is over: whatever of it is open is closed."""
    group = root.tx.wait_group(root.run.project_id, news.noted.source or "")
    if group is not None:
        decide(root.tx, group, WAIT_IS_OVER, news.noted.actor, news.noted.entropy)
    return Told(news, Happened(standing.kind, news.step, news.attempt, standing.error, standing.final))


# ---- outputs -----------------------------------------------------------------------------------


def _completes(root: Root, told: Told) -> bool:
    """Whether the step completes by this, if only with what its definition says for a time-out."""
    kind, definition = told.happened.kind, root.step(told.news.step)
    if kind == FactKind.STEP_TIMED_OUT and definition.default_output is not None:
        return told.news.attempt >= definition.attempts
    return kind == FactKind.STEP_COMPLETED


def _load_results(root: Root, told: Sequence[Told]) -> Loading:
    """The triggers of waits that are reached; the texts of those of several events."""
    waits = [
        each.news
        for each in told
        if isinstance(root.step(each.news.step).work, EventWait) and _completes(root, each)
    ]
    if not waits:
        return
    yield [("wait_groups_by_id", root.run.project_id, each.noted.source or "") for each in waits]
    for each in waits:
        if root.step(each.step).type in _SEVERAL:
            yield from root.load_bounded(map(_received, _triggers(root, each)))


def _triggers(root: Root, wait: News) -> list[Trigger]:
    """Those of a step's wait."""
    group = root.tx.wait_group(root.run.project_id, wait.noted.source or "")
    return [] if group is None else group_triggers(root.tx, group)


def _received(trigger: Trigger) -> Value:
    return Value(trigger.response_payload, trigger.response_payload_id)


def _make_outputs(root: Root, told: list[Told]) -> Loading:
    """Fill `root.outputs` and `root.emits`; where that cannot be, the step has failed."""
    completing = [each for each in told if _completes(root, each)]
    for each in list(completing):
        try:
            root.outputs[each.news.step] = _raw_output(root, each)
        except LimitReached as fault:
            completing.remove(each)
            _fail(told, each.news.step, fault.message)
    yield from _transform(root, told, completing)
    for step, output in list(root.outputs.items()):
        if output.text is not None and is_too_large(output.text):
            root.outputs.pop(step)
            _fail(told, step, "its output is over 1 MiB")
    emitting = [
        each for each in told if _completes(root, each) and root.step(each.news.step).emit_key is not None
    ]
    yield from _render_keys(root, told, emitting)


def _raw_output(root: Root, told: Told) -> Value:
    step, noted, row = root.step(told.news.step), told.news.noted, told.news.row
    work = step.work
    if told.happened.kind == FactKind.STEP_TIMED_OUT:
        return Value(step.default_output)
    if isinstance(work, JobWork | SubWorkflow):
        return Value(noted.output, noted.output_id)
    if isinstance(work, Approval):
        votes = step_waits.votes_from_text(None if row is None else row.votes)
        return Value(step_waits.approval_output(votes))
    if not isinstance(work, EventWait):
        return NOTHING
    triggers = _triggers(root, told.news)
    if step.type in _SEVERAL:
        parts = [part_of(trigger)._replace(payload=root.text(_received(trigger))) for trigger in triggers]
        return Value(step_waits.output(parts, several=True))
    return _received(triggers[0]) if triggers else NOTHING


def _transform(root: Root, told: list[Told], completing: Sequence[Told]) -> Loading:
    paths = {
        each.news.step: path
        for each in completing
        if (path := root.step(each.news.step).output_transform) is not None
        and each.happened.kind == FactKind.STEP_COMPLETED
    }
    yield from root.load_bounded((root.outputs[step] for step in paths), root.asking)
    questions: dict[int, TransformQuestion] = {}
    for step, path in paths.items():
        try:
            questions[step] = TransformQuestion(path, root.text(root.outputs[step]))
        except LimitReached as fault:
            root.outputs.pop(step)
            _fail(told, step, f"its output_transform cannot be used: {fault.message}")
    root.ask(questions.values())
    for step, question in questions.items():
        transformed = root.answer(question)
        if transformed.fault is None:
            root.outputs[step] = Value(transformed.output)
        else:
            _fail(told, step, f"its output_transform {transformed.fault}")


def _render_keys(root: Root, told: list[Told], emitting: Sequence[Told]) -> Loading:
    """The event keys of `event_emit_key`."""
    named: dict[int, int] = {}
    for each in emitting:
        template = root.step(each.news.step).emit_key
        assert template is not None
        refs = {placeholder.output_of for placeholder in template.placeholders} - {None}
        named[each.news.step] = mask(root.definition.places[ref] for ref in refs if ref is not None)
    looked_at = {number for seen in named.values() for number in members(seen)}
    yield from root.load_outputs(looked_at, payload=bool(named), budget=root.asking)
    for step, seen in named.items():
        template = root.step(step).emit_key
        assert template is not None
        try:
            if root.hops >= MAX_HOPS:
                raise InvalidRequest(f"it would be the event number {root.hops + 1} of one chain")
            root.emits[step] = check_key(render(template, root.scope(step, members(seen))))
        except (InvalidRequest, LimitReached) as fault:
            root.outputs.pop(step, None)
            _fail(told, step, f"its event_emit_key cannot be used: {fault.message}")


def _fail(told: list[Told], step: int, error: str) -> None:
    """It has failed for good: the same would come of another attempt."""
    for place, each in enumerate(told):
        if each.news.step == step:
            failed = Happened(FactKind.STEP_FAILED, step, each.news.attempt, error, final=True)
            told[place] = Told(each.news, failed)
