"""What the HTTP layer can be told. The command line and the configuration fill it in; nothing here
reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from narrows.clock import SystemClock
from narrows.keyring import KEY_BYTES, Keyring
from narrows.outgoing.guard import Guard

BODY_LIMIT_BYTES: Final = 1 << 20
BATCH_LIMIT_BYTES: Final = 4 << 20


def _throwaway_keyring() -> Keyring:
    """What it encrypts is lost with the process: for tests. The composition root hands in the real one."""
    return Keyring.of(SystemClock().random_bytes(KEY_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """`dev` needs no key and answers local hosts and origins only; `allowed_hosts` adds names to
    those. `public_url` is how the outside reaches this server: callback URLs begin with it."""

    dev: bool = False
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    public_url: str | None = None
    #: The same for requests over the Unix socket, which has no address of its own.
    listen_url: str = "http://localhost:8080"
    #: Encrypts signing secrets; makes and checks run tokens.
    keyring: Keyring = field(default_factory=_throwaway_keyring)
    #: Which addresses the server may call: asked before one is taken.
    guard: Guard = field(default_factory=Guard)
    body_limit_bytes: int = BODY_LIMIT_BYTES
    batch_limit_bytes: int = BATCH_LIMIT_BYTES
    max_streams_per_project: int = 10_000
    stream_comment_secs: int = 15
    stream_stall_secs: int = 30
    access_log: bool = True
    #: `POST /bench/noop`: everything of a send but the operation. Only the benchmark sets it.
    bench_noop: bool = False
