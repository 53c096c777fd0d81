"""What is asked about waits and events: each function makes one operation, None where there is nothing to ask
about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from narrows.operations.access import CreateApiKey, CreateStreamToken, OpenStreamToken
from narrows.operations.base import TriggerOutcome
from narrows.operations.events import BatchEvent, DeleteHeldEvent, SendBatch, SendEvent, SendToCallback
from narrows.operations.idempotency import Idempotent, KeepReply, Kept
from narrows.operations.opening import Wanted
from narrows.operations.prefix import Progress, SendPrefix, SendPrefixChunk
from narrows.operations.purge import Purge
from narrows.operations.triggers import CancelTrigger, CreateCallbackUrl, ExtendTrigger, OpenTrigger
from tests.differential.scene import KEYS, LONG, PAYLOADS, PREFIXES, TAGS, TEXTS, TIMEOUTS, URLS, Scene
from tests.simulation.values import INTEGER_SCHEMA, OBJECT_SCHEMA

SCHEMAS = (*((None,) * 6), INTEGER_SCHEMA, OBJECT_SCHEMA)


def wanted(scene: Scene, event_key: str) -> Wanted:
    return Wanted(
        event_key,
        scene.pick(TIMEOUTS),
        scene.pick((None, None, "1", LONG)),
        scene.pick(SCHEMAS),
        scene.pick(URLS),
        f"token:{scene.number()}" if scene.happens(0.15) else None,
        scene.pick(TEXTS),
        scene.pick(TAGS),
    )


def opening(scene: Scene) -> OpenTrigger:
    fields = wanted(scene, scene.key())._asdict()
    del fields["expires_at"]  # nobody can ask for that from outside
    joins: Literal["join", "refuse"] = "join" if scene.happens(0.3) else "refuse"
    return OpenTrigger(**scene.common(), **fields, if_waiting=joins)


def sending(scene: Scene) -> SendEvent:
    operation = SendEvent(
        **scene.common(),
        payload=scene.pick(PAYLOADS),
        event_key=scene.key(),
        hold_secs=scene.pick((None, None, 3, 600, 172_800)),
        event_id=scene.pick((None, None, None, "e1", "é'2")),
    )
    scene.sent.append(operation)
    return operation


def sending_by_id(scene: Scene) -> SendEvent | None:
    wait = scene.wait()
    if wait is None:
        return None
    common = scene.common(scene.elsewhere(wait.project_id))
    operation = SendEvent(**common, payload=scene.pick(PAYLOADS), trigger_id=wait.id)
    scene.sent.append(operation)
    return operation


def sending_again(scene: Scene) -> SendEvent | None:
    """What was sent before, with the same payload or another."""
    if not scene.sent:
        return None
    old = scene.pick(scene.sent)
    return SendEvent(
        **scene.common(old.project_id),
        payload=old.payload if scene.happens(0.6) else scene.pick(PAYLOADS),
        event_key=old.event_key,
        trigger_id=old.trigger_id,
        event_id=old.event_id,
    )


def sending_with_too_much(scene: Scene) -> SendEvent | None:
    wait = scene.wait()
    return (
        None
        if wait is None
        else SendEvent(**scene.common(wait.project_id), payload="1", trigger_id=wait.id, hold_secs=5)
    )


def batch(scene: Scene) -> SendBatch:
    keys = scene.rng.sample(KEYS, 4)
    events = tuple(
        BatchEvent(
            scene.pick(keys),
            scene.pick(PAYLOADS),
            scene.pick((None, None, 5)),
            scene.pick((None, None, None, "e3")),
        )
        for _ in range(scene.pick((1, 2, 3, 6)))
    )
    return SendBatch(**scene.common(), events=events)


def to_callback(scene: Scene) -> SendToCallback:
    tokens = list(scene.oracle.callbacks)[-12:]
    token = scene.pick(tokens) if tokens and scene.happens(0.95) else "token:none"
    return SendToCallback(token_hash=token, payload=scene.pick(PAYLOADS), entropy=scene.entropy(), answers={})


def canceling(scene: Scene) -> CancelTrigger | None:
    if scene.happens(0.5):
        return CancelTrigger(**scene.common(), event_key=scene.key())
    wait = scene.wait()
    if wait is None:
        return None
    common = scene.common(scene.elsewhere(wait.project_id))
    return CancelTrigger(**common, trigger_id=wait.id, reason=scene.pick(TEXTS) or "")


def extending(scene: Scene) -> ExtendTrigger | None:
    wait = scene.wait()
    if wait is None:
        return None
    common = scene.common(scene.elsewhere(wait.project_id))
    return ExtendTrigger(**common, trigger_id=wait.id, timeout_secs=scene.pick(TIMEOUTS))


def callback_url(scene: Scene) -> CreateCallbackUrl | None:
    wait = scene.wait()
    if wait is None:
        return None
    common = scene.common(scene.elsewhere(wait.project_id))
    return CreateCallbackUrl(**common, trigger_id=wait.id, token_hash=f"token:{scene.number()}")


def deleting_held(scene: Scene) -> DeleteHeldEvent | None:
    held = [each for each in scene.oracle.held.values() if not each.id.startswith("delivered:")]
    if not held:
        return None
    chosen = scene.pick(held)
    return DeleteHeldEvent(**scene.common(scene.elsewhere(chosen.project_id)), held_id=chosen.id)


def stream_token(scene: Scene) -> CreateStreamToken:
    wait, token = scene.wait(), f"stream:{scene.number()}"
    if wait is None or scene.happens(0.5):
        return CreateStreamToken(**scene.common(), token_hash=token, event_key=scene.key())
    common = scene.common(scene.elsewhere(wait.project_id))
    return CreateStreamToken(**common, token_hash=token, trigger_id=wait.id)


def opening_stream(scene: Scene) -> OpenStreamToken:
    tokens = list(scene.oracle.tokens)[-8:]
    token = scene.pick(tokens) if tokens and scene.happens(0.95) else "stream:none"
    return OpenStreamToken(token_hash=token, entropy=scene.entropy())


def keeping_reply(scene: Scene) -> KeepReply:
    return KeepReply(**scene.common(), reply=scene.pick(PAYLOADS) or "null")


def prefix_chunk(scene: Scene) -> SendPrefixChunk | None:
    """One commit of a prefix send, over whatever triggers."""
    project_id = scene.project()
    ids = sorted(each.id for each in scene.oracle.waits.values() if each.project_id == project_id)
    some = sorted(scene.some(ids, 5))
    return SendPrefixChunk(
        **scene.common(project_id),
        ids=tuple(some),
        payload=scene.pick(PAYLOADS),
        progress=Progress(),
        done=True,
    )


def prefix_send(scene: Scene) -> SendPrefix:
    """A new one, or one with the Idempotency-Key of another."""
    if scene.prefixes and scene.happens(0.25):
        old = scene.pick(scene.prefixes)
        return old._replace(body_hash=old.body_hash if scene.happens(0.8) else "another")
    scope = f"prefix:{scene.number()}" if scene.happens(0.4) else None
    request = SendPrefix(
        **scene.common(),
        prefix=scene.pick(PREFIXES),
        payload=scene.pick(PAYLOADS),
        dry_run=scene.happens(0.15),
        scope_hash=scope,
        body_hash=scope,
    )
    if scope is not None and not request.dry_run:
        scene.prefixes.append(request)
    return request


def purge(scene: Scene) -> Purge:
    if scene.purges and scene.happens(0.25):
        old = scene.pick(scene.purges)
        return old._replace(body_hash=old.body_hash if scene.happens(0.8) else "another")
    scope = f"purge:{scene.number()}" if scene.happens(0.4) else None
    request = Purge(
        **scene.common(),
        older_than_days=scene.pick((1, 1, 2, 30)),
        dry_run=scene.happens(0.2),
        scope_hash=scope,
        body_hash=scope,
    )
    if scope is not None and not request.dry_run:
        scene.purges.append(request)
    return request


# ---- once ----------------------------------------------------------------------------------------


def keep(outcome: Any) -> Kept:
    """As the API keeps an answer: of a trigger its id, of what held a secret the id of what was made."""
    if isinstance(outcome, TriggerOutcome):
        return Kept(outcome.status, outcome.trigger.id)
    if hasattr(outcome, "secret_hash"):
        return Kept(201, secret_id=outcome.id)
    return Kept(200, reply="{}")


def once(scene: Scene, operation: Any) -> Any:
    """The operation with an Idempotency-Key: its own, or one that was used before, perhaps for another body.
    What it makes has an id of its own, also where it happens again after the key was forgotten."""
    if scene.scopes and scene.happens(0.35):
        old = scene.pick(scene.scopes)
        body_hash = old.body_hash if scene.happens(0.7) else "another"
        return replace(old, operation=_afresh(scene, old.operation), body_hash=body_hash)
    wrapped = Idempotent(
        operation=_afresh(scene, operation),
        project_id=operation.project_id or "default",
        scope_hash=f"scope:{scene.number()}",
        body_hash=f"body:{scene.asked}",
        keep=keep,
    )
    scene.scopes.append(wrapped)
    return wrapped


def _afresh(scene: Scene, operation: Any) -> Any:
    if isinstance(operation, OpenTrigger):
        return replace(operation, callback_token_hash=None)
    if isinstance(operation, CreateApiKey):
        return replace(operation, id=f"{scene.rng.getrandbits(32):08x}-{scene.number()}")
    return operation


#: Function -> how often it is asked.
OF_WAITS = {
    opening: 34, sending: 20, sending_by_id: 12, sending_again: 6, sending_with_too_much: 1, batch: 6,
    to_callback: 5, canceling: 6, extending: 6, callback_url: 2, deleting_held: 2, stream_token: 3,
    opening_stream: 3, keeping_reply: 1, prefix_chunk: 4,
}  # fmt: skip
#: Those that a request with an Idempotency-Key may be for.
ONCE = (opening, sending, canceling, extending, keeping_reply, batch)
