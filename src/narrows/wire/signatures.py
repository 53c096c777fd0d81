"""Signatures of outgoing requests by Standard Webhooks 1.0, both sides: the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`, secrets `whsec_<base64>`, the signature `v1,<base64>` of
HMAC-SHA256 over `<id>.<timestamp>.<body>`. Pure, and the standard library alone. Not here: where
secrets are kept (`keyring.py`), and the clock (`client/signatures.py` has one).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

from narrows.errors import Unauthenticated

PREFIX: Final = "whsec_"
#: What the standard allows for a secret.
LEAST_SECRET_BYTES: Final = 24
MOST_SECRET_BYTES: Final = 64
TOLERANCE_SECS: Final = 300
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
#: While a secret is being rotated there are two; nobody has a reason for more than a few.
_MOST_SIGNATURES: Final = 32
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def make_secret(random_bytes: bytes) -> str:
    if not LEAST_SECRET_BYTES <= len(random_bytes) <= MOST_SECRET_BYTES:
        raise ValueError(f"a signing secret has {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes")
    return PREFIX + base64.b64encode(random_bytes).decode("ascii")


def sign(secret: str, message_id: str, timestamp_secs: int, body: bytes) -> str:
    return _sign(_key(secret), message_id, timestamp_secs, body)


def headers(secrets: Sequence[str], message_id: str, timestamp_secs: int, body: bytes) -> dict[str, str]:
    """The three headers, with one signature per secret. Without a secret there is no signature, and
    whoever verifies refuses the message."""
    made = {ID: message_id, TIMESTAMP: str(timestamp_secs)}
    if secrets:
        made[SIGNATURE] = " ".join(sign(secret, message_id, timestamp_secs, body) for secret in secrets)
    return made


def verify(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_secs: int,
    tolerance_secs: int = TOLERANCE_SECS,
) -> None:
    """Raises `Unauthenticated` unless one of the signatures was made with one of the secrets, over just
    this body, within the tolerance. Whatever is missing or odd is refused."""
    named = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, given = (named.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not (message_id and timestamp and given):
        raise Unauthenticated(
            f"The request is not signed: it needs the headers {ID}, {TIMESTAMP} and {SIGNATURE}."
        )
    if _SECONDS.fullmatch(timestamp) is None:
        raise Unauthenticated(f"{TIMESTAMP} is not a whole number of seconds.")
    sent_at = int(timestamp)
    if abs(now_secs - sent_at) > tolerance_secs:
        when = "old" if sent_at < now_secs else "far in the future"
        raise Unauthenticated(f"The signature is too {when}; compare the clocks of both machines.")
    offered = [_bytes(each) for each in given.split(" ")[:_MOST_SIGNATURES]]
    try:
        keys = [_key(each) for each in ([secret] if isinstance(secret, str) else secret)]
    except ValueError as error:
        raise Unauthenticated(str(error)) from None
    # All pairs are compared, each in constant time: how long it takes tells nothing about a secret.
    matches = [
        hmac.compare_digest(_bytes(_sign(key, message_id, timestamp, body)), each)
        for key in keys
        for each in offered
    ]
    if not any(matches):
        raise Unauthenticated(
            "No signature matches. Check the signing secret, and that the body is as it came."
        )


def _sign(key: bytes, message_id: str, timestamp: int | str, body: bytes) -> str:
    signed = hmac.digest(key, _bytes(f"{message_id}.{timestamp}.") + body, "sha256")
    return "v1," + base64.b64encode(signed).decode("ascii")


def _key(secret: str) -> bytes:
    """The key in a secret. An empty or broken one signs nothing and verifies nothing."""
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(f"The signing secret is not valid; it has to be {PREFIX} and base64.")
    return key


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
