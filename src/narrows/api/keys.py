"""The text of secrets: API keys `nrw_<id>_<256 bits>_<check>`, the tokens of callback URLs and streams,
signing secrets. Pure. A key's check digits catch a typing error without a look at the store; only the
SHA-256 of a secret is ever kept; a signing secret is encrypted, since it has to be used again. Not here:
who may do what (`auth.py`), and how run tokens are made (`keyring.py`); they are only known on sight.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b32hexencode, urlsafe_b64encode
from typing import Final

from narrows.keyring import Keyring
from narrows.wire.signatures import make_secret

SECRET_BYTES: Final = 32
KEY_ID_ENTROPY_BYTES: Final = 4
TOKEN_LENGTH: Final = 43

_KEY = re.compile(r"nrw_([0-9a-v]{16})_[A-Za-z0-9_-]{43}_([0-9a-f]{8})", re.ASCII)
#: A key, or something of exactly the length of our tokens.
_LIKE_A_SECRET = re.compile(
    r"nr[wt]_[A-Za-z0-9_-]{40,}|whsec_[A-Za-z0-9+/=]{24,}|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])",
    re.ASCII,
)
_LIKE_A_KEY = re.compile(
    r"nrw_[0-9a-v]{16}_[A-Za-z0-9_-]{43}|nrt_[A-Za-z0-9_-]{2,400}_[A-Za-z0-9_-]{43}", re.ASCII
)


def make_key_id(now: int, entropy: bytes) -> str:
    """16 characters that sort by time: 48 bits of milliseconds and 32 random ones."""
    packed = (now // 1000).to_bytes(6, "big") + entropy[:KEY_ID_ENTROPY_BYTES]
    return b32hexencode(packed).decode().lower()


def make_key(key_id: str, secret: bytes) -> str:
    """The whole key, to be shown once."""
    unchecked = f"nrw_{key_id}_{make_token(secret)}"
    return f"{unchecked}_{_check(unchecked)}"


def make_token(secret: bytes) -> str:
    """43 characters of base64url."""
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def make_signing_secret(secret: bytes, keyring: Keyring) -> tuple[str, str]:
    """A secret that signs what this server sends, to be shown once, and the same as it is kept."""
    text = make_secret(secret)
    return text, keyring.encrypt(text)


def key_id_of(key: str) -> str | None:
    """The id inside a key; None where it is mistyped or no key at all."""
    match = _KEY.fullmatch(key)
    if match is None or _check(key[:-9]) != match[2]:
        return None
    return match[1]


def looks_like_a_key(text: str) -> bool:
    """Whether an API key or a run token stands somewhere in `text`."""
    return ("nrw_" in text or "nrt_" in text) and _LIKE_A_KEY.search(text) is not None


def looks_like_a_secret(text: str) -> bool:
    """Whether an API key or a token may stand in `text`, so that it must not be logged."""
    return len(text) > TOKEN_LENGTH - 1 and _LIKE_A_SECRET.search(text) is not None


def hash_secret(secret: str) -> str:
    """What is kept of a secret: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(unchecked: str) -> str:
    return f"{zlib.crc32(unchecked.encode()):08x}"
