"""How the bodies about jobs and runs are decoded, like `bodies.py`: payloads as the raw text, and loose
types where a sentence of ours says better than msgspec's what to send."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder

from narrows.wire import run_messages as wire


class CreateJobBody(wire.CreateJobRequest, kw_only=True):
    slug: str


class TriggerJobBody(wire.TriggerJobRequest, kw_only=True):
    payload: Raw | UnsetType = UNSET
    scheduled_at: str | None = None  # type: ignore[assignment]  # read as strictly as all times


class CheckpointBody(wire.CheckpointRequest, kw_only=True):
    state: Raw


class CompleteBody(wire.CompleteRequest, kw_only=True):
    result: Raw | UnsetType = UNSET


class EventBody(wire.EventToWaitFor, kw_only=True):
    request_payload: Raw | UnsetType = UNSET
    expected_schema: Raw | UnsetType = UNSET


class WaitBody(wire.WaitRequest, kw_only=True):
    request_payload: Raw | UnsetType = UNSET
    expected_schema: Raw | UnsetType = UNSET
    events: list[EventBody] | None = None  # type: ignore[assignment]  # its items are narrower


CREATE_JOB = Decoder(CreateJobBody)
UPDATE_JOB: Decoder[Any] = Decoder(wire.UpdateJobRequest)
ROTATE_SECRET = Decoder(wire.RotateSecretRequest)
TRIGGER_JOB = Decoder(TriggerJobBody)
REPLAY = Decoder(wire.ReplayRequest)
CLAIM = Decoder(wire.ClaimRequest)
CHECKPOINT = Decoder(CheckpointBody)
LOG = Decoder(wire.LogRequest)
PROGRESS = Decoder(wire.ProgressRequest)
HEARTBEAT = Decoder(wire.HeartbeatRequest)
COMPLETE = Decoder(CompleteBody)
FAIL = Decoder(wire.FailRequest)
SLEEP = Decoder(wire.SleepRequest)
RELEASE = Decoder(wire.ReleaseRequest)
WAIT = Decoder(WaitBody)
