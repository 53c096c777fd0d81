"""How each noun looks to a person: one table of columns per message. Not here: JSON output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from narrows.cli.inputs import duration_text
from narrows.cli.output import out, shown
from narrows.clock import SystemClock
from narrows.wire import messages, run_messages, workflow_messages

_STYLES: Final = {
    "waiting": "yellow",
    "received": "green",
    "timed_out": "red",
    "canceled": "magenta",
    "delayed": "yellow",
    "queued": "yellow",
    "executing": "cyan",
    "completed": "green",
    "failed": "red",
    "dead_letter": "red",
    "pending": "yellow",
    "delivered": "green",
    "running": "cyan",
    "paused": "yellow",
    "skipped": "dim",
}
_NEVER_YEAR: Final = 9999
_PAYLOAD_WIDTH: Final = 60
_WIDE: Final = 120

Column = tuple[str, Callable[[Any], Any]]


def _ago(at: datetime | None) -> str:
    return "" if at is None else f"{duration_text(max(0.0, _age_secs(at)))} ago"


def _age_secs(at: datetime) -> float:
    return SystemClock().now() / 1_000_000 - at.timestamp()


def _ends(trigger: messages.Trigger) -> str:
    if trigger.settled_at is not None:
        return _ago(trigger.settled_at)
    if trigger.expires_at.year == _NEVER_YEAR:
        return "never"
    return f"in {duration_text(max(0.0, -_age_secs(trigger.expires_at)))}"


_STATED: Final = (
    messages.Trigger,
    run_messages.Run,
    run_messages.Delivery,
    workflow_messages.WorkflowRun,
    workflow_messages.WorkflowStep,
)


def _status(row: Any) -> Text:
    return Text(row.status, style=_STYLES[row.status])


def _short(value: Any) -> str:
    if value is msgspec.UNSET:
        return ""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _PAYLOAD_WIDTH else text[: _PAYLOAD_WIDTH - 1] + "…"


def _run_doing(run: run_messages.Run) -> str:
    """What a person asks next: why it ended, what it waits for, who has it, when it begins."""
    if run.error is not None:
        return run.error
    if run.status == "completed":
        return _short(run.result)
    if run.status == "delayed" and run.due_at is not None:
        return f"due in {duration_text(max(0.0, -_age_secs(run.due_at)))}"
    return run.holder or ""


def _step_doing(step: workflow_messages.WorkflowStep) -> str:
    """What a person asks next: why it ended, what came out of it, what it waits for, how the votes stand."""
    if step.error is not None:
        return step.error
    if step.event_keys:
        more = f" and {len(step.event_keys) - 1} more" if len(step.event_keys) > 1 else ""
        return f"{step.event_keys[0]}{more}"
    if step.status == "waiting" and step.votes:
        return ", ".join(f"approved by {vote.approver}" for vote in step.votes)
    return _short(step.output)


def _attempts(run: run_messages.Run) -> str:
    return f"{run.attempt}/{run.max_attempts}"


def _delivery_next(delivery: run_messages.Delivery) -> str:
    if delivery.finished_at is not None or delivery.next_attempt_at is None:
        return ""
    return f"in {duration_text(max(0.0, -_age_secs(delivery.next_attempt_at)))}"


def _key_state(key: messages.ApiKey) -> Text:
    if key.revoked_at is not None:
        return Text("revoked", style="red")
    if key.expires_at is not None and _age_secs(key.expires_at) >= 0:
        return Text("expired", style="red")
    if key.expires_at is not None:
        return Text(f"until {key.expires_at:%Y-%m-%d %H:%M}Z", style="yellow")
    return Text("in force", style="green")


_COLUMNS: Final[dict[Any, tuple[Column, ...]]] = {
    messages.Trigger: (
        ("status", _status),
        ("event key", lambda row: row.event_key),
        ("opened", lambda row: _ago(row.requested_at)),
        ("ends / ended", _ends),
        ("payload", lambda row: _short(row.response_payload)),
        ("id", lambda row: row.id),
    ),
    messages.Held: (
        ("event key", lambda row: row.event_key),
        ("held", lambda row: _ago(row.held_at)),
        ("payload", lambda row: _short(row.payload)),
        ("id", lambda row: row.id),
    ),
    messages.Unmatched: (
        ("arrived", lambda row: _ago(row.arrived_at)),
        ("event key", lambda row: row.event_key),
        ("reason", lambda row: row.reason),
        ("late", lambda row: "" if row.late_secs is None else duration_text(row.late_secs)),
        ("detail", lambda row: row.detail or ""),
    ),
    run_messages.Job: (
        ("slug", lambda row: row.slug),
        ("name", lambda row: row.name or ""),
        ("endpoint", lambda row: row.endpoint_url or "workers"),
        ("time-out", lambda row: duration_text(row.timeout_secs)),
        ("attempts", lambda row: row.max_attempts),
        ("at once", lambda row: "" if row.max_concurrency is None else row.max_concurrency),
        ("made", lambda row: _ago(row.created_at)),
        ("id", lambda row: row.id),
    ),
    run_messages.Run: (
        ("status", _status),
        ("made", lambda row: _ago(row.created_at)),
        ("ended", lambda row: _ago(row.finished_at)),
        ("attempt", _attempts),
        ("payload", lambda row: _short(row.payload)),
        ("result / error / holder", _run_doing),
        ("id", lambda row: row.id),
    ),
    run_messages.Delivery: (
        ("status", _status),
        ("type", lambda row: row.type),
        ("url", lambda row: row.url),
        ("tried", lambda row: row.attempts),
        ("answer", lambda row: row.error or row.last_status or ""),
        ("next", _delivery_next),
        ("made", lambda row: _ago(row.created_at)),
        ("id", lambda row: row.id),
    ),
    workflow_messages.Workflow: (
        ("slug", lambda row: row.slug),
        ("name", lambda row: row.name or ""),
        ("version", lambda row: row.version),
        ("made", lambda row: _ago(row.created_at)),
        ("changed", lambda row: _ago(row.updated_at)),
        ("id", lambda row: row.id),
    ),
    workflow_messages.WorkflowRun: (
        ("status", _status),
        ("workflow", lambda row: f"{row.workflow_slug} v{row.workflow_version}"),
        ("made", lambda row: _ago(row.created_at)),
        ("ended", lambda row: _ago(row.finished_at)),
        ("payload", lambda row: _short(row.payload)),
        ("error", lambda row: row.error or ""),
        ("id", lambda row: row.id),
    ),
    workflow_messages.WorkflowStep: (
        ("status", _status),
        ("step", lambda row: row.step_ref),
        ("type", lambda row: row.step_type),
        ("ended", lambda row: _ago(row.finished_at)),
        ("attempt", lambda row: row.attempt or ""),
        ("output / error / waits for", _step_doing),
        ("run", lambda row: row.run_id or row.child_workflow_run_id or ""),
    ),
    messages.Project: (
        ("id", lambda row: row.id),
        ("name", lambda row: row.name or ""),
        ("made", lambda row: _ago(row.created_at)),
    ),
    messages.ApiKey: (
        ("id", lambda row: row.id),
        ("name", lambda row: row.name or ""),
        ("project", lambda row: row.project_id or "all (admin)"),
        ("scopes", lambda row: " ".join(row.scopes)),
        ("made", lambda row: _ago(row.created_at)),
        ("state", _key_state),
    ),
}

_BY_ID: Final = (
    run_messages.Run,
    run_messages.Delivery,
    workflow_messages.WorkflowRun,
    workflow_messages.WorkflowStep,
)
_SAID: Final = ("result / error / holder", "answer", "error", "output / error / waits for")
#: On a narrow terminal: whoever has a key or slug to copy needs no id. -o json has everything.
_LEFT_OUT: Final[dict[Any, tuple[str, ...]]] = {
    messages.Trigger: ("id",),
    run_messages.Job: ("id", "made"),
    run_messages.Run: ("ended", "attempt", "payload"),
    run_messages.Delivery: ("url", "next", "made"),
    workflow_messages.Workflow: ("id", "made"),
    workflow_messages.WorkflowRun: ("ended", "payload"),
    workflow_messages.WorkflowStep: ("ended", "attempt", "run"),
}


def _cell(value: Any) -> Text:
    return value if isinstance(value, Text) else Text(shown(str(value)))


def listing(rows: Sequence[Any], kind: Any) -> RenderableType:
    """Many of one kind, a line each."""
    if not rows:
        return Text("none", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    columns = _COLUMNS[kind]
    if out.width < _WIDE:
        columns = tuple(column for column in columns if column[0] not in _LEFT_OUT.get(kind, ()))
    for title, _ in columns:
        # The key, the slug and the id are what people copy: they wrap, and are never cut. Of runs and
        # deliveries only the id can be copied: there it stands whole, and what was said wraps.
        is_copied = title in ("event key", "slug", "id")
        wraps = title in _SAID if kind in _BY_ID else is_copied
        table.add_column(title, overflow="fold" if is_copied or wraps else "ellipsis", no_wrap=not wraps)
    for row in rows:
        table.add_row(*(_cell(read(row)) for _, read in columns))
    return table


def card(row: msgspec.Struct, fields: Sequence[str] | None = None) -> RenderableType:
    """One of anything: a line for each of its fields that is set."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name in fields or row.__struct_fields__:
        value = getattr(row, name)
        if value is None or value is msgspec.UNSET:
            continue
        table.add_row(name, _value(row, name, value))
    return table


def _value(row: msgspec.Struct, name: str, value: Any) -> RenderableType:
    if isinstance(row, _STATED) and name == "status":
        return _status(row)
    if isinstance(value, datetime):
        return Text("never" if value.year == _NEVER_YEAR else f"{value:%Y-%m-%d %H:%M:%S}Z  ({_when(value)})")
    if isinstance(value, str):
        return Text(shown(value))
    if isinstance(value, list) and value and isinstance(value[0], str):
        return Text(shown("\n".join(value)))
    return Text(shown(msgspec.json.encode(value).decode()))


def _when(at: datetime) -> str:
    age_secs = _age_secs(at)
    return f"{duration_text(age_secs)} ago" if age_secs >= 0 else f"in {duration_text(-age_secs)}"
