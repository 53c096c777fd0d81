"""Projects, API keys and stream tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from narrows.core import signing_secrets
from narrows.core.records import ApiKey, Project, StreamToken
from narrows.core.states import FactKind
from narrows.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from narrows.operations.base import Actor, ProjectOperation, check_credential, check_project
from narrows.operations.triggers import find, touch_of
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: Facts about admin keys and projects stand under this project id.
HOST_PROJECT = "-"
STREAM_TOKEN_OPEN_SECS = 60
STREAM_TOKEN_LIFE_SECS = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminOperation:
    """Root of the operations that are not within one project."""

    background: ClassVar[bool] = False

    actor: Actor
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def credential(self) -> list[Touch]:
        return [("api_keys_by_id", self.actor.api_key_id)] if self.actor.api_key_id else []


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateProject(AdminOperation):
    """Make a project. Raises Conflict where it exists, unless `exist_ok`. `signing_secrets` are as of
    `core.signing_secrets`; one that exists and has none gets them."""

    id: str
    name: str | None = None
    signing_secrets: str | None = None
    exist_ok: bool = False

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("projects_to_change", self.id)]

    def apply(self, tx: Transaction) -> Project:
        check_credential(tx, self.actor)
        existing = tx.project(self.id)
        if existing is not None:
            if self.exist_ok:
                return self._completed(tx, existing)
            raise Conflict(f"The project {self.id!r} exists already. Use it, or take another id.")
        project = Project(self.id, self.name, tx.now, self.signing_secrets)
        tx.save(project)
        tx.record_fact(FactKind.PROJECT_CREATED, project.id, project.id, self.actor.label, self.entropy)
        return project

    def _completed(self, tx: Transaction, project: Project) -> Project:
        if project.signing_secrets is not None or self.signing_secrets is None:
            return project
        completed = project._replace(signing_secrets=self.signing_secrets)
        tx.save(completed)
        return completed


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateProjectSecret(ProjectOperation):
    """Sign a project's deliveries with a new secret, given encrypted; the old one signs beside it for
    `overlap_secs`. Raises NotFound."""

    encrypted: str
    overlap_secs: int

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("projects_to_change", self.project_id)]

    def apply(self, tx: Transaction) -> Project:
        self.authorize(tx)
        check_project(tx, self.project_id)
        project = tx.project(self.project_id)
        assert project is not None
        kept = signing_secrets.rotate(project.signing_secrets, self.encrypted, tx.wall, self.overlap_secs)
        rotated = project._replace(signing_secrets=kept)
        tx.save(rotated)
        tx.record_fact(
            FactKind.PROJECT_SECRET_ROTATED, project.id, project.id, self.actor.label, self.entropy
        )
        return rotated


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateApiKey(AdminOperation):
    """Make an API key; `project_id` None makes an admin key. `granted_scopes` are those that the
    actor itself has (None: all); a key can give only scopes that it has.

    Raises NotFound (the project), Forbidden (a scope it may not give).
    """

    id: str
    project_id: str | None
    name: str | None
    scopes: tuple[str, ...]
    secret_hash: str
    expires_at: int | None = None
    granted_scopes: tuple[str, ...] | None = None

    def touches(self) -> list[Touch]:
        project: list[Touch] = [("projects_by_id", self.project_id)] if self.project_id else []
        return [*self.credential(), *project]

    def apply(self, tx: Transaction) -> ApiKey:
        check_credential(tx, self.actor)
        if self.project_id is not None:
            check_project(tx, self.project_id)
        self._check_scopes()
        if self.expires_at is not None and self.expires_at <= tx.wall:
            raise InvalidRequest("expires_at lies in the past. Give a time to come, or leave it out.")
        key = ApiKey(
            id=self.id,
            project_id=self.project_id,
            name=self.name,
            scopes=json.dumps(list(self.scopes)),
            secret_hash=self.secret_hash,
            created_at=tx.now,
            expires_at=self.expires_at,
            revoked_at=None,
            created_by=self.actor.label,
            replaced_by=None,
        )
        _save_key(tx, key, FactKind.API_KEY_CREATED, self.actor, self.entropy)
        return key

    def _check_scopes(self) -> None:
        granted = self.granted_scopes
        if granted is None or "*" in granted:
            return
        if beyond := [scope for scope in self.scopes if scope not in granted]:
            raise Forbidden(f"A key can give only scopes that it has; it lacks {', '.join(beyond)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateApiKey(AdminOperation):
    """Replace a key by a new one with the same rights; the old one goes on for `overlap_secs`.
    `project_id` None may rotate any key.

    Raises NotFound, or Conflict where the key is revoked, expired or replaced already.
    """

    project_id: str | None
    api_key_id: str
    new_id: str
    new_secret_hash: str
    overlap_secs: int

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("api_keys_to_change", self.api_key_id)]

    def apply(self, tx: Transaction) -> ApiKey:
        check_credential(tx, self.actor)
        old = _find_key(tx, self.project_id, self.api_key_id)
        if old.revoked_at is not None or old.replaced_by is not None:
            raise Conflict(f"The API key {old.id} is revoked or replaced already. Make a new one.")
        if old.expires_at is not None and old.expires_at <= tx.wall:
            raise Conflict(f"The API key {old.id} has expired. Make a new one.")
        new = old._replace(
            id=self.new_id,
            secret_hash=self.new_secret_hash,
            created_at=tx.now,
            created_by=self.actor.label,
        )
        ends = tx.now + self.overlap_secs * 1_000_000
        tx.save(
            old._replace(
                replaced_by=new.id,
                revoked_at=None if self.overlap_secs else tx.now,
                expires_at=ends if old.expires_at is None else min(ends, old.expires_at),
            )
        )
        _save_key(tx, new, FactKind.API_KEY_ROTATED, self.actor, self.entropy)
        return new


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeApiKey(AdminOperation):
    """Revoke a key at once. Repeating it is no error. Raises NotFound."""

    project_id: str | None
    api_key_id: str

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("api_keys_to_change", self.api_key_id)]

    def apply(self, tx: Transaction) -> ApiKey:
        check_credential(tx, self.actor)
        key = _find_key(tx, self.project_id, self.api_key_id)
        if key.revoked_at is not None:
            return key
        revoked = key._replace(revoked_at=tx.now)
        _save_key(tx, revoked, FactKind.API_KEY_REVOKED, self.actor, self.entropy)
        return revoked


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateStreamToken(ProjectOperation):
    """Make a read-only token for the stream of one trigger: by id, or the one now under a key.

    Raises NotFound.
    """

    token_hash: str
    event_key: str | None = None
    trigger_id: str | None = None

    def touches(self) -> list[Touch]:
        return [*self.credential(), touch_of(self.project_id, self.event_key, self.trigger_id)]

    def apply(self, tx: Transaction) -> StreamToken:
        self.authorize(tx)
        trigger = find(tx, self.project_id, self.event_key, self.trigger_id)
        token = StreamToken(
            self.token_hash, trigger.project_id, trigger.id, self.actor.api_key_id, tx.now, None
        )
        tx.save(token)
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStreamToken:
    """Use a stream token: the first time within a minute, then again for an hour. It ends with the
    API key that made it. Raises Unauthenticated.

    The key is found by the token, too late for its lock, so that a revocation on another node may commit at the same
    moment. No stream comes of that: it looks at the key once more when it is told of revocations (`api/stream.py`).
    """

    background: ClassVar[bool] = False

    token_hash: str
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [("stream_tokens_by_hash", self.token_hash)]

    def apply(self, tx: Transaction) -> StreamToken:
        token = tx.stream_token(self.token_hash)
        if token is None:
            raise Unauthenticated("The stream token is unknown. Ask for a new one.")
        if token.api_key_id is not None:
            check_credential(tx, Actor(f"key:{token.api_key_id}", token.api_key_id))
        life_secs = STREAM_TOKEN_OPEN_SECS if token.opened_at is None else STREAM_TOKEN_LIFE_SECS
        if tx.wall > token.created_at + life_secs * 1_000_000:
            raise Unauthenticated("The stream token has expired. Ask for a new one.")
        if token.opened_at is None:
            token = token._replace(opened_at=tx.now)
            tx.save(token)
        return token


def _find_key(tx: Transaction, project_id: str | None, api_key_id: str) -> ApiKey:
    key = tx.api_key(api_key_id)
    if key is None or (project_id is not None and key.project_id != project_id):
        raise NotFound(f"There is no API key {api_key_id}. List them with GET /v1/api-keys.")
    return key


def _save_key(tx: Transaction, key: ApiKey, kind: FactKind, actor: Actor, entropy: int) -> None:
    tx.save(key)
    tx.record_fact(kind, key.project_id or HOST_PROJECT, key.id, actor.label, entropy)
