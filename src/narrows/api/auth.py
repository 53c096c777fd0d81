"""Who asks, and for which project: API keys, the host's own socket, `narrows dev` without keys, and the
token of a run's dispatch for the routes of the run plane, which take nothing else.

Keys come from a cache that the feed of committed changes keeps current, read again when older than
a second; a change is exact anyway, since every operation looks at its credential in its own
transaction (`Actor.api_key_id`). What a route needs stands in the route table and is asked in one
place, `check_scope`. Not here: the text of keys (`keys.py`).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import msgspec

from narrows.api.keys import SECRET_BYTES, hash_secret, key_id_of, make_signing_secret
from narrows.api.routing import PUBLIC, RUN, Route
from narrows.core.keys import check_project_id
from narrows.core.records import ApiKey, StreamToken
from narrows.core.signing_secrets import first_secret
from narrows.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from narrows.keyring import RunTicket
from narrows.operations import reads
from narrows.operations.access import CreateProject, OpenStreamToken
from narrows.operations.base import DEV, HOST, Actor

if TYPE_CHECKING:
    from narrows.api.call import Call
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

#: Every scope there is; `*` is all of them.
SCOPES: Final = (
    "events:read",
    "events:send",
    "events:write",
    "events:purge",
    "jobs:read",
    "jobs:write",
    "jobs:trigger",
    "runs:read",
    "runs:write",
    "workers:claim",
    "workflows:read",
    "workflows:write",
    "workflows:trigger",
    "deliveries:read",
    "deliveries:write",
    "metrics:read",
    "keys:manage",
    "*",
)
DEFAULT_PROJECT: Final = "default"
FRESH_SECS: Final = 1.0
MAX_CACHED: Final = 10_000


class Credential:
    """Who asks. `project_id` None is an admin, who names a project in each request."""

    __slots__ = ("actor", "api_key", "api_key_id", "project_id", "read_at", "scopes", "ticket", "trigger_id")

    def __init__(self, actor: Actor, api_key: ApiKey | None, scopes: frozenset[str], read_at: float) -> None:
        self.actor = actor
        self.api_key = api_key
        self.project_id = None if api_key is None else api_key.project_id
        self.api_key_id = actor.api_key_id
        self.scopes = scopes
        self.read_at = read_at
        self.trigger_id: str | None = None  # only this trigger: a stream token
        self.ticket: RunTicket | None = None  # only this dispatch of this run: a run token

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "*" in self.scopes

    @property
    def is_admin(self) -> bool:
        return self.project_id is None


_ALL: Final = frozenset({"*"})
HOST_CREDENTIAL: Final = Credential(HOST, None, _ALL, 0.0)
DEV_CREDENTIAL: Final = Credential(DEV, None, _ALL, 0.0)
#: Public routes: nobody in particular.
NOBODY: Final = Credential(Actor("public"), None, frozenset(), 0.0)


def credential_of(api_key: ApiKey, read_at: float) -> Credential:
    scopes = frozenset(msgspec.json.decode(api_key.scopes, type=list[str]))
    return Credential(Actor(f"key:{api_key.id}", api_key.id), api_key, scopes, read_at)


def _of_stream_token(token: StreamToken) -> Credential:
    credential = Credential(Actor("stream_token", token.api_key_id), None, frozenset({"events:read"}), 0.0)
    credential.project_id = token.project_id
    credential.trigger_id = token.trigger_id
    return credential


def _of_run_token(ticket: RunTicket) -> Credential:
    credential = Credential(Actor(f"run:{ticket.run_id}"), None, frozenset({RUN}), 0.0)
    credential.project_id = ticket.project_id
    credential.ticket = ticket
    return credential


def is_over(api_key: ApiKey, now: int) -> bool:
    """Whether a key is revoked or past its end."""
    return api_key.revoked_at is not None or (api_key.expires_at is not None and api_key.expires_at <= now)


def check_scope(route: Route, credential: Credential) -> None:
    """403 where the credential lacks what the route table asks for."""
    if not credential.allows(route.scope):
        raise Forbidden(f"This API key lacks the scope {route.scope}; use one that has it.")
    if route.admin_only and not credential.is_admin:
        raise Forbidden("Only an admin key may do this; make one with `narrows keys create` on the host.")


class Authenticator:
    """Turns requests into credentials and projects."""

    def __init__(self, service: Service, dev: bool) -> None:
        self._service = service
        self._dev = dev
        self._cache: dict[str, Credential] = {}
        self._projects: set[str] = set()
        service.feed.subscribe(self._learn)

    async def credential(self, call: Call, as_host: bool) -> Credential:
        """Who asks. Raises Unauthenticated where that is not clear."""
        if call.route.scope == PUBLIC:
            return NOBODY  # whatever Authorization says: a provider may send its own to a callback URL
        header = call.headers.get(b"authorization")
        if call.route.scope == RUN:
            return _executing(call, header)  # also in dev and for the host: only a dispatch has a number
        if header is not None:
            return await self._of_key(header.decode("latin-1"))
        if call.route.stream and "token" in call.query:
            token_hash = hash_secret(call.query["token"])
            opened = OpenStreamToken(token_hash=token_hash, entropy=call.entropy())
            credential = _of_stream_token(await self._service.perform(opened))
            if credential.api_key_id is not None:
                # The stream ends with the key that made the token.
                maker = await self._cached(credential.api_key_id)
                credential.api_key = None if maker is None else maker.api_key
            return credential
        if as_host:
            return HOST_CREDENTIAL
        if self._dev:
            return DEV_CREDENTIAL
        raise Unauthenticated("No API key was given; send the header `Authorization: Bearer <API key>`.")

    async def _of_key(self, header: str) -> Credential:
        scheme, _, key = header.partition(" ")
        key = key.strip(" ")
        key_id = key_id_of(key) if scheme.lower() == "bearer" else None
        if key_id is None:
            raise Unauthenticated("This is no API key of ours; check it for a missing or mistyped character.")
        credential = await self._cached(key_id)
        api_key = None if credential is None else credential.api_key
        if (
            credential is None
            or api_key is None
            or not hmac.compare_digest(hash_secret(key), api_key.secret_hash)
        ):
            raise Unauthenticated("This API key is not known here; make one with `narrows keys create`.")
        if is_over(api_key, self._service.clock.now()):
            raise Unauthenticated("This API key was revoked or has expired; use another one.")
        return credential

    async def recheck(self, credential: Credential) -> None:
        """Ask again, for a read that took its time: the key may have been revoked meanwhile."""
        if credential.api_key_id is None:
            return
        if not self._service.members.is_alone:
            self._cache.pop(credential.api_key_id, None)  # another node may have revoked it this very second
        known = await self._cached(credential.api_key_id)
        if known is None or known.api_key is None or is_over(known.api_key, self._service.clock.now()):
            raise Unauthenticated("This API key was revoked or has expired; use another one.")

    async def _cached(self, key_id: str) -> Credential | None:
        clock = self._service.clock
        known = self._cache.get(key_id)
        if known is not None and clock.monotonic() - known.read_at < FRESH_SECS:
            return known
        asked_at = clock.monotonic()
        api_key: ApiKey | None = await self._service.read(reads.GetApiKey(api_key_id=key_id))
        newer = self._cache.get(key_id)
        if newer is not None and newer.read_at >= asked_at:
            return newer  # the feed was faster than this read, or somebody who asked after it
        if api_key is None:
            self._cache.pop(key_id, None)
            return None
        return self._keep(api_key, asked_at)

    def _keep(self, api_key: ApiKey, read_at: float) -> Credential:
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        credential = self._cache[api_key.id] = credential_of(api_key, read_at)
        return credential

    def _learn(self, committed: Committed) -> None:
        for api_key in committed.api_keys:
            self._keep(api_key, self._service.clock.monotonic())

    async def project(self, call: Call, in_body: str | None) -> str:
        """The project of a request: the key's own, or for an admin the one that is named.

        All that is named must agree; the project of another key is 404, never 403.
        """
        named = {
            each for each in (call.query.get("project_id"), in_body, call.header(b"x-project-id")) if each
        }
        credential = call.credential
        if credential.project_id is not None:
            if named - {credential.project_id}:
                raise _unknown_project()
            return credential.project_id
        if len(named) > 1:
            raise InvalidRequest("The request names two different projects; name one.")
        if named:
            return await self._known(call, check_project_id(named.pop()))
        if credential is DEV_CREDENTIAL:
            return await self._known(call, DEFAULT_PROJECT)
        raise InvalidRequest("An admin names the project: send project_id or the header X-Project-Id.")

    async def _known(self, call: Call, project_id: str) -> str:
        """In dev a project is made by the first change that names it; elsewhere it must be there."""
        if project_id in self._projects:
            return project_id
        if call.credential is DEV_CREDENTIAL:
            if call.method in ("GET", "HEAD"):
                return project_id
            await self._service.perform(_made_for_dev(call, project_id))
        elif await self._service.read(reads.GetProject(project_id=project_id)) is None:
            raise _unknown_project()
        if len(self._projects) >= MAX_CACHED:
            self._projects.clear()
        self._projects.add(project_id)
        return project_id


def _executing(call: Call, header: bytes | None) -> Credential:
    """The dispatch that asks for the run of its path. The token says by itself that it is genuine; whether
    its dispatch is still the run's is for the operations to see."""
    if header is None:
        raise Unauthenticated("No run token was given; send the header `Authorization: Bearer <run token>`.")
    scheme, _, token = header.decode("latin-1").partition(" ")
    ticket = None
    if scheme.lower() == "bearer":
        ticket = call.api.settings.keyring.open_run_token(token.strip(" "), call.param)
    if ticket is None:
        raise Unauthenticated(
            "This is no token of this run; send the one that came with its dispatch. API keys are not taken here."
        )
    return _of_run_token(ticket)


def _made_for_dev(call: Call, project_id: str) -> CreateProject:
    """With a signing secret, which nobody is told: who wants to check signatures makes a new one."""
    _, encrypted = make_signing_secret(
        call.service.clock.random_bytes(SECRET_BYTES), call.api.settings.keyring
    )
    return CreateProject(
        actor=DEV,
        id=project_id,
        name=None,
        signing_secrets=first_secret(encrypted),
        entropy=call.entropy(),
        exist_ok=True,
    )


def _unknown_project() -> NotFound:
    return NotFound("There is no such project for this credential.")
