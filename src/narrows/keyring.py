"""The keys of this installation: secrets at rest are encrypted under them, and the tokens of runs are
made and checked with them, so that no token has to be stored. They come from `NARROWS_SECRET_KEY` or
from `secret.key` beside the database, which is made where it is missing. For each purpose a key of
its own is derived. Not here: API keys and callback URLs of client waits, which are random and kept as
hashes (`api/keys.py`), and what is encrypted (`operations/`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import os
import re
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from narrows.clock import Clock, SystemClock
from narrows.errors import StorageError

FILE_NAME: Final = "secret.key"
VARIABLE: Final = "NARROWS_SECRET_KEY"
KEY_BYTES: Final = 32
_RUN_TOKEN = re.compile(r"nrt_([A-Za-z0-9_-]{2,400})_[A-Za-z0-9_-]{43}", re.ASCII)
_DISPATCH = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_HOW_TO_MAKE_ONE = "make one with: openssl rand -base64 32"


class RunTicket(NamedTuple):
    """What a run token says, once it was found genuine, and which of the keys made it."""

    project_id: str
    run_id: str
    dispatch: int
    key: int = 0


class Keyring:
    """One to many keys: the first makes everything new, all of them open and check what is old."""

    def __init__(self, keys: Sequence[bytes], source: str) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a keyring takes keys of {KEY_BYTES} bytes")
        self._source = source
        fernets = [Fernet(base64.urlsafe_b64encode(_derived(key, "secrets at rest", b"1"))) for key in keys]
        self._fernet = MultiFernet(fernets)
        self._run_keys = tuple(_derived(key, "run tokens", b"1") for key in keys)
        #: Tell keys apart, and nothing else about them: nodes of one installation share one at least.
        self.fingerprints = tuple(_derived(key, "fingerprint", b"1")[:8].hex() for key in keys)
        self._callback_keys = tuple(_derived(key, "callback tokens", b"1") for key in keys)

    def __repr__(self) -> str:
        return f"Keyring({len(self._run_keys)} from {self._source})"

    @classmethod
    def open(cls, data_folder: Path, configured: str | None, clock: Clock | None = None) -> Self:
        """The keys of `NARROWS_SECRET_KEY`, separated by commas, the newest first, and behind them
        those of the key file; without either a key file is made."""
        path = data_folder / FILE_NAME
        found = _from_file(path)
        if configured is not None and configured.strip():
            keys = [*_parsed(configured, VARIABLE), *(found or [])]
            return cls(keys, f"{VARIABLE} and {path}" if found else VARIABLE)
        if found is not None:
            return cls(found, str(path))
        return cls(_made(path, clock or SystemClock()), f"{path}, which was missing and made at this start")

    @classmethod
    def of(cls, *keys: bytes) -> Self:
        return cls(keys, "memory")

    def encrypt(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode("ascii")

    def decrypt(self, text: str) -> str:
        try:
            return self._fernet.decrypt(text.encode()).decode()
        except (InvalidToken, ValueError):
            raise StorageError(
                f"A stored secret cannot be decrypted with the keys of {self._source}. Bring back the key it was"
                f" encrypted under, as {FILE_NAME} or behind the newer one in {VARIABLE}, or give the job or"
                " project a new signing secret."
            ) from None

    def run_token(self, project_id: str, run_id: str, dispatch: int) -> str:
        """The token of one dispatch of a run, the same whenever it is asked for."""
        return _run_token(self._run_keys[0], RunTicket(project_id, run_id, dispatch))

    def open_run_token(self, token: str, run_id: str) -> RunTicket | None:
        """What a token says about this run; None where it is not one of ours for it."""
        match = _RUN_TOKEN.fullmatch(token)
        if match is None:
            return None
        try:
            project_id, separator, dispatch = _unpadded(match[1]).decode().partition("\0")
        except ValueError:
            return None
        if not separator or _DISPATCH.fullmatch(dispatch) is None:
            return None
        ticket = RunTicket(project_id, run_id, int(dispatch))
        # Made anew and compared as a whole: no other spelling of the same token is accepted. All keys are
        # tried, so that the time taken does not tell which of them made it.
        genuine = [hmac.compare_digest(token, _run_token(key, ticket)) for key in self._run_keys]
        return ticket._replace(key=genuine.index(True)) if any(genuine) else None

    def callback_token(self, ticket: RunTicket, number: int) -> str:
        """The token of the callback URL of a run's n-th event in a wait: a repeat of the call that asked
        for it gets the same one, though only its hash is stored. So it is made with the key that made the
        run token, also when a newer one has come meanwhile."""
        parts = (ticket.project_id, ticket.run_id, str(ticket.dispatch), str(number))
        return _text(hmac.digest(self._callback_keys[ticket.key], "\0".join(parts).encode(), "sha256"))


def signing_secrets(keyring: Keyring, text: str, now: int) -> list[str]:
    """The secrets that sign at `now`, the newest first, of a JSON array of [encrypted, until or null]."""
    return [keyring.decrypt(kept) for kept, until in json.loads(text) if until is None or now < until]


def _derived(key: bytes, purpose: str, generation: bytes) -> bytes:
    return hmac.digest(key, b"narrows/" + purpose.encode() + b"/" + generation, "sha256")


def _run_token(key: bytes, ticket: RunTicket) -> str:
    named = f"{ticket.project_id}\0{ticket.dispatch}".encode()
    signed = f"{ticket.project_id}\0{ticket.run_id}\0{ticket.dispatch}".encode()
    return f"nrt_{_text(named)}_{_text(hmac.digest(key, signed, 'sha256'))}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _parsed(text: str, source: str) -> list[bytes]:
    keys = []
    for number, part in enumerate(re.split(r"[,\s]+", text.strip(", \t\r\n")), 1):
        try:
            key = base64.b64decode(part.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        # The text itself is never repeated: it may be a key that was cut off.
        if len(key) != KEY_BYTES:
            raise StorageError(
                f"Key {number} of {source} is not {KEY_BYTES} bytes as base64; {_HOW_TO_MAKE_ONE}"
            )
        keys.append(key)
    return keys


def _from_file(path: Path) -> list[bytes] | None:
    """The keys of the file; None where there is none."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(64 << 10)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(
            f"The key file {path} cannot be read ({error.strerror}). Give this user the right to read it."
        ) from None
    # A group may read it: container platforms set the group of a volume's files by themselves.
    if mode & stat.S_IRWXO:
        raise StorageError(f"The key file {path} is open to every user of this machine; do: chmod 600 {path}")
    try:
        return _parsed(content.decode("ascii"), f"the key file {path}")
    except UnicodeDecodeError:
        raise StorageError(
            f"The key file {path} holds no keys. Bring back the file that was there: without it the secrets in"
            " the database are lost and have to be made anew."
        ) from None


def _made(path: Path, clock: Clock) -> list[bytes]:
    """Make the key file, whole or not at all. Where another process was faster, its keys count."""
    key = clock.random_bytes(KEY_BYTES)
    draft = path.with_name(f".{FILE_NAME}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()  # of a process with our numbers that died at this point
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(base64.b64encode(key) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"The key file {path} cannot be made ({error.strerror}). Give this user the right to write to"
            f" {path.parent}, or set {VARIABLE}."
        ) from None
    return _from_file(path) or [key]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
