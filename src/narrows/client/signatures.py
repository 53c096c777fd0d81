"""`verify_signature`: whether a request that came in was sent by the Narrows server that it claims to
be from. One line at the top of a handler. The rules are those of `wire/signatures.py`, with this
machine's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from narrows.client.pace import wall_secs
from narrows.wire import signatures


def verify_signature(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    now_secs: int | None = None,
    tolerance_secs: int = signatures.TOLERANCE_SECS,
) -> None:
    """Raises `Unauthenticated` unless `body`, the bytes as they came, was signed with `secret` not more
    than five minutes ago. Give both secrets while one is being rotated.

        verify_signature(os.environ["SIGNING_SECRET"], request.headers, request.body)
    """
    signatures.verify(
        secret,
        headers,
        body.encode() if isinstance(body, str) else body,
        now_secs=wall_secs() if now_secs is None else now_secs,
        tolerance_secs=tolerance_secs,
    )
