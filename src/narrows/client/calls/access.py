"""The calls about who may do what: projects, API keys, stream tokens. Each says beside `repeat` why
it may, or may not, be sent twice."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from narrows.client.call import Call, Repeat, encode_body, encode_query, encode_segment, known_id_of
from narrows.wire import messages, run_messages
from narrows.wire.messages import Trigger


def create_project(project_id: str, *, name: str | None = None) -> Call[messages.Project]:
    """Make a project (admin keys only). Raises Conflict if it exists."""
    request = messages.CreateProjectRequest(id=project_id, name=name)
    return Call(
        method="POST",
        path="/v1/projects",
        body=encode_body(request),
        reply=messages.Project,
        repeat=Repeat.NEVER,  # the repeat would be a conflict that nobody can tell from somebody else's
    )


def list_projects(*, limit: int | None = None, cursor: str | None = None) -> Call[messages.ProjectPage]:
    """One page of projects (admin keys only)."""
    query = encode_query(limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/projects", query=query, reply=messages.ProjectPage)


def rotate_project_secret(project_id: str, *, overlap_secs: int = 86_400) -> Call[run_messages.Secret]:
    """Give a project a new secret, shown this once, that its deliveries are signed with. For `overlap_secs`
    (0 to 2,592,000) they are signed with the old one too. Raises NotFound."""
    request = run_messages.RotateSecretRequest(overlap_secs=overlap_secs)
    return Call(
        method="POST",
        path=f"/v1/projects/{encode_segment(project_id)}/rotate-secret",
        body=encode_body(request),
        reply=run_messages.Secret,
        repeat=Repeat.SAFE,  # a lost first sending leaves a secret that nobody knows
    )


def create_api_key(
    *,
    scopes: Iterable[str],
    project_id: str | None = None,
    name: str | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[messages.ApiKey]:
    """Make an API key; its secret is in `key`, this once. A key can give only scopes that it has.

    Raises Forbidden, and Conflict naming the key's id where a first sending whose answer was lost has
    made it: then rotate that one.

    Example::

        key = client.create_api_key(scopes=["events:read", "events:send"], name="ci").key
    """
    request = messages.CreateApiKeyRequest(
        scopes=[*scopes], project_id=project_id, name=name, expires_at=expires_at
    )
    return Call(
        method="POST",
        path="/v1/api-keys",
        body=encode_body(request),
        reply=messages.ApiKey,
        repeat=Repeat.KEYED,  # a second sending would leave a key that nobody knows of
        idempotency_key=idempotency_key,
    )


def list_api_keys(*, limit: int | None = None, cursor: str | None = None) -> Call[messages.ApiKeyPage]:
    """One page of API keys, without their secrets."""
    query = encode_query(limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/api-keys", query=query, reply=messages.ApiKeyPage)


def revoke_api_key(api_key_id: str) -> Call[messages.ApiKey]:
    """Revoke an API key, for good. Raises NotFound."""
    path = f"/v1/api-keys/{encode_segment(api_key_id)}"
    return Call(method="DELETE", path=path, reply=messages.ApiKey, repeat=Repeat.SAFE)  # revoked is revoked


def rotate_api_key(
    api_key_id: str, *, overlap_secs: int = 0, idempotency_key: str | None = None
) -> Call[messages.ApiKey]:
    """Replace an API key by a new one with the same scopes; its secret is in `key`, this once. The old
    one goes on for `overlap_secs` seconds (0 to 2,592,000).

    Raises NotFound, and Conflict naming the new key's id where a first sending whose answer was lost
    has made it: then rotate that one.
    """
    request = messages.RotateApiKeyRequest(overlap_secs=overlap_secs)
    return Call(
        method="POST",
        path=f"/v1/api-keys/{encode_segment(api_key_id)}/rotate",
        body=encode_body(request),
        reply=messages.ApiKey,
        repeat=Repeat.KEYED,  # as create_api_key
        idempotency_key=idempotency_key,
    )


def create_stream_token(
    event_key: str | Trigger | None = None, *, trigger_id: str | None = None
) -> Call[messages.StreamToken]:
    """A read-only token for one trigger's stream, for a browser's `EventSource(stream_url)`. It opens
    within 60 s and may reopen the same trigger for an hour. Raises NotFound."""
    known_id = known_id_of(event_key, trigger_id)
    key = event_key if isinstance(event_key, str) else None
    request = messages.StreamTokenRequest(event_key=key, trigger_id=known_id)
    return Call(
        method="POST",
        path="/v1/stream-tokens",
        body=encode_body(request),
        reply=messages.StreamToken,
        repeat=Repeat.SAFE,  # an unused token ends by itself
    )
