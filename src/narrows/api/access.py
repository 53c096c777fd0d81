"""Projects, API keys and stream tokens: who may reach what. Secrets are made here, shown once, and
only their hashes go on."""

from __future__ import annotations

from datetime import UTC

import msgspec

from narrows.api import bodies, idempotency, render, replies
from narrows.api.auth import DEV_CREDENTIAL, SCOPES
from narrows.api.call import Call
from narrows.api.checks import check_plain
from narrows.api.keys import (
    SECRET_BYTES,
    hash_secret,
    make_key,
    make_key_id,
    make_signing_secret,
    make_token,
)
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core import records, signing_secrets
from narrows.core.keys import check_key, check_project_id
from narrows.errors import Forbidden, InvalidRequest
from narrows.operations import reads
from narrows.operations.access import (
    CreateApiKey,
    CreateProject,
    CreateStreamToken,
    RevokeApiKey,
    RotateApiKey,
    RotateProjectSecret,
)
from narrows.operations.base import Replayed
from narrows.operations.idempotency import Kept
from narrows.wire import messages, run_messages
from narrows.wire.times import from_datetime, to_text

STREAM_TOKEN_SECS = 3600


async def create_project(call: Call) -> Reply:
    """Create a project; its signing secret is shown once."""
    body = await bodies.decode(call, bodies.CREATE_PROJECT)
    secret, encrypted = make_signing_secret(
        call.service.clock.random_bytes(SECRET_BYTES), call.api.settings.keyring
    )
    operation = CreateProject(
        actor=call.credential.actor,
        id=check_project_id(body.id),
        name=check_plain(body.name, "name"),
        signing_secrets=signing_secrets.first_secret(encrypted),
        entropy=call.entropy(),
    )
    call.project_id = body.id
    outcome = await idempotency.perform(call, operation, _keep_project)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    return 201, encode(render.project(outcome, secret))


def _keep_project(project: records.Project) -> Kept:
    return Kept(status=201, secret_id=project.id)


async def rotate_project_secret(call: Call) -> Reply:
    """Replace the signing secret of a project; the new one is shown once."""
    body = await bodies.decode(call, bodies.ROTATE_SECRET)
    project_id = await call.project(call.param)
    if body.project_id not in (None, project_id):
        raise InvalidRequest("The path and project_id name two different projects; name one.")
    secret, encrypted = make_signing_secret(
        call.service.clock.random_bytes(SECRET_BYTES), call.api.settings.keyring
    )
    operation = RotateProjectSecret(
        actor=call.credential.actor,
        project_id=project_id,
        entropy=call.entropy(),
        encrypted=encrypted,
        overlap_secs=body.overlap_secs,
    )
    outcome = await idempotency.perform(call, operation, _keep_rotation)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    until = signing_secrets.old_until(outcome.signing_secrets)
    return 200, encode(
        run_messages.Secret(
            signing_secret=secret,
            old_until=None if until is None else to_text(until),  # type: ignore[arg-type]  # times go out as text
        )
    )


def _keep_rotation(project: records.Project) -> Kept:
    return Kept(status=200, secret_id=project.id)


async def list_projects(call: Call) -> Reply:
    """List projects."""
    limit, cursor = call.page()
    found = await call.service.read(reads.ListProjects(limit=limit, cursor=cursor))
    return replies.page(messages.ProjectPage, found, [render.project(each) for each in found.items])


async def create_api_key(call: Call) -> Reply:
    """Create an API key; its secret is shown once."""
    body = await bodies.decode(call, bodies.CREATE_API_KEY)
    unknown = sorted(set(body.scopes) - set(SCOPES))
    if unknown:
        raise InvalidRequest(f"There is no scope {unknown[0]!r}.", details=(f"Scopes: {', '.join(SCOPES)}.",))
    _check_grant(call, body.scopes)
    clock = call.service.clock
    key_id = make_key_id(clock.now(), clock.random_bytes(4))
    key = make_key(key_id, clock.random_bytes(SECRET_BYTES))
    granted = call.credential.scopes
    operation = CreateApiKey(
        actor=call.credential.actor,
        id=key_id,
        project_id=await _project_of_key(call, body.project_id),
        name=check_plain(body.name, "name"),
        scopes=tuple(dict.fromkeys(body.scopes)),
        secret_hash=hash_secret(key),
        expires_at=_expiry(body),
        granted_scopes=None if "*" in granted else tuple(sorted(granted)),
        entropy=call.entropy(),
    )
    return await _reply_with_key(call, operation, key)


def _check_grant(call: Call, scopes: list[str]) -> None:
    """A key can give only scopes that it has."""
    missing = [scope for scope in scopes if not call.credential.allows(scope)]
    if missing:
        raise Forbidden(f"A key can give only scopes that it has; this one lacks {', '.join(missing)}.")


async def _project_of_key(call: Call, in_body: str | None) -> str | None:
    """Where no project is named, the host and an admin key make an admin key."""
    named = in_body or call.query.get("project_id") or call.header(b"x-project-id")
    if not named and call.credential.is_admin and call.credential is not DEV_CREDENTIAL:
        return None
    return await call.project(in_body)


def _expiry(body: messages.CreateApiKeyRequest) -> int | None:
    moment = body.expires_at
    if moment is None:
        return None
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


async def _reply_with_key(call: Call, operation: CreateApiKey | RotateApiKey, key: str) -> Reply:
    outcome = await idempotency.perform(call, operation, _keep_key)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    return 201, encode(render.api_key(outcome, key))


def _keep_key(api_key: records.ApiKey) -> Kept:
    return Kept(status=201, secret_id=api_key.id)


async def _named_project(call: Call) -> str | None:
    """The project whose keys are meant; None is all that an admin may see."""
    named = call.query.get("project_id") or call.header(b"x-project-id")
    return None if call.credential.is_admin and not named else await call.project()


async def list_api_keys(call: Call) -> Reply:
    """List API keys, without their secrets."""
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListApiKeys(project_id=await _named_project(call), limit=limit, cursor=cursor)
    )
    return replies.page(messages.ApiKeyPage, found, [render.api_key(each) for each in found.items])


async def revoke_api_key(call: Call) -> Reply:
    """Revoke an API key at once."""
    revoked = await call.perform(
        RevokeApiKey(
            actor=call.credential.actor,
            project_id=await _named_project(call),
            api_key_id=call.param,
            entropy=call.entropy(),
        )
    )
    return 200, encode(render.api_key(revoked))


async def rotate_api_key(call: Call) -> Reply:
    """Replace an API key by a new one with the same scopes."""
    body = await bodies.decode(call, bodies.ROTATE_API_KEY)
    project_id = await _named_project(call)
    old = await call.service.read(reads.GetApiKey(api_key_id=call.param))
    if old is not None and project_id in (None, old.project_id):
        # The new key carries the old one's scopes: nobody gains any by rotating somebody else's key.
        _check_grant(call, msgspec.json.decode(old.scopes, type=list[str]))
    clock = call.service.clock
    key_id = make_key_id(clock.now(), clock.random_bytes(4))
    key = make_key(key_id, clock.random_bytes(SECRET_BYTES))
    operation = RotateApiKey(
        actor=call.credential.actor,
        project_id=project_id,
        api_key_id=call.param,
        new_id=key_id,
        new_secret_hash=hash_secret(key),
        overlap_secs=body.overlap_secs,
        entropy=call.entropy(),
    )
    return await _reply_with_key(call, operation, key)


async def create_stream_token(call: Call) -> Reply:
    """Make a read-only token for a browser's stream."""
    body = await bodies.decode(call, bodies.STREAM_TOKEN)
    if (body.event_key is None) == (body.trigger_id is None):
        raise InvalidRequest("Name the wait by event_key or by trigger_id, one of them.")
    token = make_token(call.service.clock.random_bytes(SECRET_BYTES))
    record = await call.perform(
        CreateStreamToken(
            actor=call.credential.actor,
            project_id=await call.project(body.project_id),
            token_hash=hash_secret(token),
            entropy=call.entropy(),
            event_key=None if body.event_key is None else check_key(body.event_key),
            trigger_id=body.trigger_id,
        )
    )
    return 201, encode(
        messages.StreamToken(
            token=token,
            trigger_id=record.trigger_id,
            expires_at=to_text(record.created_at + STREAM_TOKEN_SECS * 1_000_000),  # type: ignore[arg-type]  # times go out as text
            stream_url=f"{call.base_url()}/v1/triggers/{record.trigger_id}/stream?token={token}",
        )
    )
