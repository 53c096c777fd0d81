"""What Narrows promises of projects, API keys, stream tokens and changes of jobs, as the plainest program:
the fourth part of the model. Written from the contract and not from the code under test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from narrows.errors import Refusal
from narrows.operations.idempotency import Idempotent, IdempotentStep
from narrows.operations.questions import Answered as WithAnswers
from tests.differential.delivery_oracle import DeliveryModel
from tests.simulation.run_values import SECOND_US, Said
from tests.simulation.values import Answered, Violation

#: Operations that need their project to be there, also where nothing of it is looked for.
OF_A_PROJECT = (
    "OpenTrigger", "TriggerJob", "CreateJob", "RotateProjectSecret", "CreateWorkflow", "TriggerWorkflow",
)  # fmt: skip
BAD_JOB_FIELDS = frozenset(
    {("timeout_secs", 0), ("slug", "Not A Slug"), ("colour", "red"), ("max_attempts", None)}
)


@dataclass(slots=True)
class Key:
    id: str
    project_id: str | None
    expires_at: int | None
    revoked_at: int | None = None
    replaced_by: str | None = None

    def row(self) -> tuple[Any, ...]:
        return self.id, self.project_id, self.expires_at, self.revoked_at, self.replaced_by


@dataclass(slots=True)
class Token:
    trigger_id: str
    api_key_id: str | None
    created_at: int
    opened_at: int | None = None


class AccessModel(DeliveryModel):
    """Who may do what, and where."""

    def __init__(self) -> None:
        super().__init__()
        self.projects: set[str] = set()
        self.keys: dict[str, Key] = {}
        self.tokens: dict[str, Token] = {}
        #: Idempotency-Keys whose answer held a secret.
        self.secret_scopes: set[str] = set()

    def is_refused(self, actor: Any) -> bool:
        """Whether the credential is revoked or expired at this very commit."""
        if actor is None or actor.api_key_id is None:
            return False
        key = self.keys.get(actor.api_key_id)
        if key is None or (key.revoked_at is not None and key.revoked_at <= self.now):
            return True
        return key.expires_at is not None and key.expires_at <= self.wall

    def expect(self, operation: Any, value: Any) -> Any:
        inner = operation
        while isinstance(inner, Idempotent | IdempotentStep | WithAnswers):
            inner = inner.operation
        if self.is_refused(getattr(inner, "actor", None)):
            return "unauthenticated"
        if type(operation).__name__ in OF_A_PROJECT and operation.project_id not in self.projects:
            return "not_found"
        return super().expect(operation, value)

    def _by_key(self, project_id: str, event: Any, label: str, value: Any) -> Any:
        return (
            super()._by_key(project_id, event, label, value) if project_id in self.projects else "not_found"
        )

    # ---- projects and keys ----

    def _CreateProject(self, operation: Any, value: Any) -> Any:  # noqa: N802 - named after the operation
        if operation.id in self.projects and not operation.exist_ok:
            return "conflict"
        self.projects.add(operation.id)
        return None

    def _RotateProjectSecret(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return None

    def _CreateApiKey(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if operation.project_id is not None and operation.project_id not in self.projects:
            return "not_found"
        granted = operation.granted_scopes
        if granted is not None and "*" not in granted and set(operation.scopes) - set(granted):
            return "forbidden"
        if operation.expires_at is not None and operation.expires_at <= self.wall:
            return "invalid_request"
        self.keys[operation.id] = Key(operation.id, operation.project_id, operation.expires_at)
        return None

    def _key(self, operation: Any) -> Key | None:
        key = self.keys.get(operation.api_key_id)
        if key is None or operation.project_id not in (None, key.project_id):
            return None
        return key

    def _RotateApiKey(self, operation: Any, value: Any) -> Any:  # noqa: N802
        old = self._key(operation)
        if old is None:
            return "not_found"
        if old.revoked_at is not None or old.replaced_by is not None:
            return "conflict"
        if old.expires_at is not None and old.expires_at <= self.wall:
            return "conflict"
        self.keys[operation.new_id] = Key(operation.new_id, old.project_id, old.expires_at)
        ends = self.now + operation.overlap_secs * SECOND_US
        old.replaced_by = operation.new_id
        old.expires_at = ends if old.expires_at is None else min(ends, old.expires_at)
        old.revoked_at = None if operation.overlap_secs else self.now
        return None

    def _RevokeApiKey(self, operation: Any, value: Any) -> Any:  # noqa: N802
        key = self._key(operation)
        if key is None:
            return "not_found"
        key.revoked_at = self.now if key.revoked_at is None else key.revoked_at
        return None

    # ---- tokens ----

    def _CreateCallbackUrl(self, operation: Any, value: Any) -> Any:  # noqa: N802
        wait = self.by_id(operation.project_id, operation.trigger_id)
        if wait is None:
            return "not_found"
        if wait.status != "waiting":
            return "conflict"
        self.callbacks[operation.token_hash] = wait.id
        return None

    def _CreateStreamToken(self, operation: Any, value: Any) -> Any:  # noqa: N802
        wait = self._meant(operation)
        if wait is None:
            return "not_found"
        self.tokens[operation.token_hash] = Token(wait.id, operation.actor.api_key_id, self.now)
        if value is not None and value.trigger_id != wait.id:
            raise Violation(f"{value} is of another trigger than {wait}")
        return None

    def _OpenStreamToken(self, operation: Any, value: Any) -> Any:  # noqa: N802
        token = self.tokens.get(operation.token_hash)
        if token is None or self.is_refused(token):
            return "unauthenticated"
        life_secs = 60 if token.opened_at is None else 3_600
        if self.wall > token.created_at + life_secs * SECOND_US:
            return "unauthenticated"
        token.opened_at = self.now if token.opened_at is None else token.opened_at
        return None

    def _DeleteRows(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if operation.table == "stream_tokens":
            for (token_hash,) in operation.keys:
                self.tokens.pop(token_hash, None)
        return super()._DeleteRows(operation, value)

    def _SendEvent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if operation.trigger_id is not None and (operation.hold_secs or operation.event_id):
            return "invalid_request"
        return super()._SendEvent(operation, value)

    # ---- repeats ----

    def _Idempotent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        expected = super()._Idempotent(operation, value)
        if isinstance(expected, Answered):
            return "conflict" if operation.scope_hash in self.secret_scopes else expected
        if not isinstance(expected, str) and type(operation.operation).__name__ == "CreateApiKey":
            self.secret_scopes.add(operation.scope_hash)
        elif not isinstance(expected, str):
            self.secret_scopes.discard(operation.scope_hash)
        return expected

    def _IdempotentStep(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return "conflict" if value is None else self.expect(operation.operation, value)

    def _KeepReply(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return Said(operation.reply)

    # ---- jobs ----

    def _CreateJob(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if any((name, getattr(operation, name, "")) in BAD_JOB_FIELDS for name, _ in BAD_JOB_FIELDS):
            return "invalid_request"
        return super()._CreateJob(operation, value)

    def _UpdateJob(self, operation: Any, value: Any) -> Any:  # noqa: N802
        job = self._job(operation.project_id, operation.job)
        if job is None:
            return "not_found"
        changes = dict(operation.changes)
        if any(change in BAD_JOB_FIELDS for change in operation.changes):
            return "invalid_request"
        taken = self._job(operation.project_id, changes["slug"]) if "slug" in changes else None
        if taken not in (None, job):
            return "conflict"
        for name in ("slug", "timeout_secs", "max_attempts", "max_concurrency"):
            setattr(job, name, changes.get(name, getattr(job, name)))
        return None

    def _RotateJobSecret(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return None if self._job(operation.project_id, operation.job) is not None else "not_found"

    def _ClaimRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802
        """A claim whose credential is no longer good is refused alone."""
        good = []
        for claim, granted in zip(operation.claims, value, strict=True):
            if self.is_refused(claim.actor) != isinstance(granted, Refusal):
                raise Violation(f"{claim} came out as {granted}")
            if not isinstance(granted, Refusal):
                good.append((claim, granted))
        claims = replace(operation, claims=tuple(claim for claim, _ in good))
        return super()._ClaimRuns(claims, tuple(granted for _, granted in good))
