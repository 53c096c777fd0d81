"""Reading the steps of a definition, each by itself: every field of every kind, with its aliases, its default
and its bounds. What is wrong becomes a sentence that names the step, and reading goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from narrows.core.json_texts import dumps
from narrows.core.keys import check_key
from narrows.core.states import Backoff, OnFailure, StepType
from narrows.core.templates import Template
from narrows.core.workflow_fields import LONGEST_SECS, Checked, Checks, Faults, Fields, duration
from narrows.core.workflow_steps import Approval, EventWait, JobWork, Sleep, StepDefinition, SubWorkflow, Work
from narrows.errors import InvalidRequest

DEFAULT_WAIT_SECS: Final = 3_600
MAX_KEYS: Final = 1_000
MAX_APPROVERS: Final = 100
MAX_ATTEMPTS: Final = 100
LONGEST_PAUSE_SECS: Final = 86_400
LONGEST_EXPRESSION: Final = 2_000
#: Of a condition or a veto. Their library holds Python's lock while it reads one: 15 ms for the worst of these.
LONGEST_CONDITION: Final = 1_000
#: A template may be longer than the key that comes out of it.
LONGEST_TEMPLATE: Final = 2_000
MAX_REF: Final = 100

_REF: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{MAX_REF - 1}}}", re.ASCII)
_PAYLOAD_PATH: Final = re.compile(r"(?:\$\.)?([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)", re.ASCII)


class ReadStep(NamedTuple):
    """A step as far as it could be read, of use only where there were no faults; `step` None if it is no object.
    `unused` are fields that mean nothing."""

    ref: str | None
    depends_on: tuple[str, ...]
    step: StepDefinition | None
    unused: tuple[str, ...]


def read_step(place: int, given: Any, checks: Checks, faults: Faults) -> ReadStep:
    """Read one element of `steps`; what is wrong goes to `faults`."""
    if not isinstance(given, Mapping):
        faults[f"Step number {place + 1} must be an object."] = None
        return ReadStep(None, (), None, ())
    ref = given.get("step_ref")
    named = isinstance(ref, str) and bool(_REF.fullmatch(ref))
    fields = Fields(f"Step {ref!r}" if named else f"Step number {place + 1}", given, faults)
    if not named:
        fields.fault(
            "has no 'step_ref'"
            if ref is None
            else f"has a wrong 'step_ref': it must be 1 to {MAX_REF} letters, digits, '_' or '-', the first no dash"
        )
    fields.get("step_ref")
    depends_on = fields.texts("depends_on", most=1_000, longest=MAX_REF)
    unknown_type = len(faults)
    step_type = fields.choice("step_type", "type", of=StepType, default=StepType.JOB)
    known_type = len(faults) == unknown_type
    work = _READERS[step_type](fields, checks, step_type) if known_type else None
    step = _common(fields, checks, str(ref), step_type, depends_on, work)
    # A type that nobody knows has fields that nobody knows.
    unused = tuple(fields.unknown()) if known_type else ()
    return ReadStep(str(ref) if named else None, depends_on, step, unused)


def _common(
    fields: Fields,
    checks: Checks,
    ref: str,
    step_type: StepType,
    depends_on: tuple[str, ...],
    work: Work | None,
) -> StepDefinition:
    """The step with the fields that all kinds have."""
    condition, condition_steps = _expression(fields, "condition", checks)
    transform = fields.text("output_transform", longest=LONGEST_EXPRESSION)
    if transform is not None and (fault := checks.json_path(transform)):
        fields.fault(f"has a wrong 'output_transform': it {fault}")
    return StepDefinition(
        ref=ref,
        type=step_type,
        depends_on=depends_on,
        work=JobWork(None, None, None) if work is None else work,
        condition=condition,
        condition_steps=condition_steps,
        on_failure=fields.choice("on_failure", of=OnFailure, default=OnFailure.FAIL_WORKFLOW),
        default_output=_default_output(fields),
        max_attempts=fields.optional_whole("retry_max_attempts", least=1, most=MAX_ATTEMPTS),
        backoff=fields.choice("retry_backoff", of=Backoff, default=Backoff.EXPONENTIAL),
        first_pause_secs=fields.whole("retry_delay_secs", least=1, most=LONGEST_PAUSE_SECS, default=1),
        output_transform=transform,
        emit_key=_key(fields, "event_emit_key"),
    )


def _default_output(fields: Fields) -> str | None:
    value = fields.get("on_timeout")
    if value is None or value == "fail":
        return None
    if isinstance(value, Mapping) and list(value) == ["default"]:
        return dumps(value["default"])
    fields.fault('has a wrong \'on_timeout\': it must be "fail" or {"default": <payload>}')
    return None


def _expression(fields: Fields, name: str, checks: Checks) -> tuple[str | None, frozenset[str] | None]:
    text = fields.text(name, longest=LONGEST_CONDITION)
    checked = Checked() if text is None else checks.condition(text)
    if checked.fault:
        fields.fault(f"has a wrong {name!r}: it {checked.fault}")
    return text, checked.steps


def _key(fields: Fields, name: str, required: bool = False) -> Template | None:
    """A template of an event key; what it says literally must be legal already."""
    template = fields.text_template(name, longest=LONGEST_TEMPLATE, required=required)
    return None if template is None else _checked_key(fields, name, template)


def _checked_key(fields: Fields, name: str, template: Template) -> Template | None:
    literal = "".join(piece for piece in template.pieces if isinstance(piece, str))
    try:
        check_key(literal or "x")
    except InvalidRequest as refusal:
        fields.fault(
            f"has a wrong {name!r}: {refusal.message[:1].lower()}{refusal.message[1:].removesuffix('.')}"
        )
        return None
    return template


def _job(fields: Fields, checks: Checks, step_type: StepType) -> Work | None:
    job_id, job_slug = fields.text("job_id", longest=100), fields.text("job_slug", longest=100)
    if (job_id is None) == (job_slug is None):
        fields.fault("must name its job by one of 'job_id' and 'job_slug'")
    return JobWork(job_id, job_slug, _object_template(fields))


def _object_template(fields: Fields) -> Template | None:
    """A payload that is merged with another: an object, or one placeholder that may turn out as one."""
    payload = fields.json_template("payload")
    if payload is not None and not payload.is_placeholder and not isinstance(fields.get("payload"), Mapping):
        fields.fault("has a wrong 'payload': it must be an object")
    return payload


def _sub_workflow(fields: Fields, checks: Checks, step_type: StepType) -> Work | None:
    slug = fields.text("workflow_slug", longest=100, required=True)
    payload = fields.json_template("payload")
    return None if slug is None else SubWorkflow(slug, payload)


def _sleep(fields: Fields, checks: Checks, step_type: StepType) -> Work | None:
    secs = fields.optional_whole("sleep_duration_secs", least=1, most=LONGEST_SECS)
    text = fields.text("sleep_duration", longest=40)
    until = fields.text_template("until", longest=LONGEST_TEMPLATE)
    if sum(fields.get(name) is not None for name in ("sleep_duration_secs", "sleep_duration", "until")) != 1:
        fields.fault("must have one of 'sleep_duration_secs', 'sleep_duration' and 'until'")
    if text is not None:
        secs = duration(text)
        if secs is None or not 0 < secs <= LONGEST_SECS:
            fields.fault("has a wrong 'sleep_duration': write it like 30m, 24h or 7d, up to a year")
    return Sleep(secs, until)


def _approval(fields: Fields, checks: Checks, step_type: StepType) -> Work | None:
    approvers = fields.texts("approvers", most=MAX_APPROVERS, longest=200)
    least = fields.whole("min_approvals", least=1, most=MAX_APPROVERS, default=1)
    if approvers and least > len(approvers):
        fields.fault(f"needs {least} approvals and has {len(approvers)} approvers")
    secs = fields.whole("approval_timeout_secs", "timeout_secs", least=0, most=LONGEST_SECS, default=0)
    return Approval(approvers, least, secs, fields.json_template("request_payload"), _notify_url(fields))


def _event_wait(fields: Fields, checks: Checks, step_type: StepType) -> Work | None:
    key = _key(fields, "event_key", required=True)
    keys = () if key is None else (key,)
    return _wait(fields, checks, keys, 1)


def _group_wait(fields: Fields, checks: Checks, step_type: StepType) -> Work | None:
    texts = fields.texts("event_keys", most=MAX_KEYS, longest=LONGEST_TEMPLATE)
    if not texts and not fields.get("event_keys"):
        fields.fault("has no 'event_keys'")
    keys = [_group_key(fields, text) for text in texts]
    everybody = len(texts) if step_type == StepType.WAIT_FOR_ALL else 1
    needed = fields.whole("count", least=1, most=max(len(texts), 1), default=everybody)
    return _wait(fields, checks, tuple(key for key in keys if key is not None), needed)


def _group_key(fields: Fields, text: str) -> Template | None:
    from_text = Fields(fields.where, {"event_keys": text}, fields.faults)
    return _key(from_text, "event_keys")


def _wait(fields: Fields, checks: Checks, keys: tuple[Template, ...], needed: int) -> Work | None:
    secs = fields.whole(
        "event_timeout_secs", "timeout_secs", least=0, most=LONGEST_SECS, default=DEFAULT_WAIT_SECS
    )
    schema = fields.get("expected_schema")
    if schema is not None and (fault := checks.schema(dumps(schema))):
        fields.fault(f"has a wrong 'expected_schema': it {fault}")
    path = fields.text("distinct_by", longest=LONGEST_EXPRESSION)
    match = None if path is None else _PAYLOAD_PATH.fullmatch(path)
    if path is not None and match is None:
        fields.fault(
            "has a wrong 'distinct_by': it must be a path of names into the event's payload, like user.id"
        )
    veto, veto_steps = _expression(fields, "veto", checks)
    return EventWait(
        keys=keys,
        needed=needed,
        timeout_secs=secs,
        expected_schema=None if schema is None else dumps(schema),
        request_payload=fields.json_template("request_payload"),
        notify_url=_notify_url(fields),
        distinct_by=None if match is None else tuple(match[1].split(".")),
        veto=veto,
        veto_steps=veto_steps,
    )


def _notify_url(fields: Fields) -> Template | None:
    url = fields.text("event_notify_url", "notify_url", longest=2_048)
    if url is not None and not url.lower().startswith(("http://", "https://")):
        fields.fault("has a wrong 'event_notify_url': it must be an http or https URL")
    return fields.text_template("event_notify_url", "notify_url", longest=2_048)


_READERS: Final[Mapping[StepType, Callable[[Fields, Checks, StepType], Work | None]]] = {
    StepType.JOB: _job,
    StepType.WAIT_FOR_EVENT: _event_wait,
    StepType.SLEEP: _sleep,
    StepType.APPROVAL: _approval,
    StepType.SUB_WORKFLOW: _sub_workflow,
    StepType.WAIT_FOR_ANY: _group_wait,
    StepType.WAIT_FOR_ALL: _group_wait,
}
