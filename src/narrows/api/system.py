"""What a server says of itself: liveness, readiness, version, metrics, the OpenAPI document and its
reference page. None of these is versioned but the document."""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from typing import Final

from narrows import __version__
from narrows.api.call import Call
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.errors import NarrowsError
from narrows.operations import reads
from narrows.wire import messages

READY_WITHIN_SECS: Final = 2

_INLINE = re.compile(rb"<(script|style)(?:\s[^>]*)?>(.*?)</\1>", re.DOTALL | re.IGNORECASE)


async def livez(_: Call) -> Reply:
    """Whether the process lives."""
    return 200, encode(messages.Health(status="ok"))


async def readyz(call: Call) -> Reply:
    """Whether the server can serve, else why not."""
    reasons = list(call.api.not_ready_reasons())
    try:
        async with asyncio.timeout(READY_WITHIN_SECS):
            await call.service.read(reads.SchemaVersion())
    except TimeoutError:
        reasons.append(f"The store did not answer within {READY_WITHIN_SECS} s.")
    except NarrowsError as error:
        reasons.append(error.message)
    if reasons:
        call.extra_headers.append((b"retry-after", b"1"))
        return 503, encode(messages.Health(status="unavailable", reasons=reasons))
    return 200, encode(messages.Health(status="ok"))


async def version(call: Call) -> Reply:
    """The versions of server, API and schema."""
    schema_version = await call.service.read(reads.SchemaVersion())
    return 200, encode(
        messages.Version(name="narrows", version=__version__, api_version="v1", schema_version=schema_version)
    )


async def get_metrics(call: Call) -> Reply:
    """Metrics for Prometheus."""
    from narrows.api import metrics  # noqa: PLC0415 -- loads the metrics library, which few servers are asked for

    call.media_type = b"text/plain; version=0.0.4; charset=utf-8"
    return 200, await metrics.render(
        call.service, call.api.stats, call.api.streams.open_count, call.api.engine
    )


async def get_openapi(call: Call) -> Reply:
    """This API as an OpenAPI 3.1 document."""
    return 200, _document(call)


async def get_reference(call: Call) -> Reply:
    """This API as a page."""
    from narrows.api import reference  # noqa: PLC0415 -- only who looks at the page pays for it

    pages = call.api.pages
    if "docs" not in pages:
        pages["docs"] = reference.page(_document(call))
    call.media_type = b"text/html; charset=utf-8"
    call.policy = (b"content-security-policy", _page_policy(pages["docs"]))
    return 200, pages["docs"]


def _document(call: Call) -> bytes:
    from narrows.api import openapi  # noqa: PLC0415 -- built once, when first asked for

    pages = call.api.pages
    if "openapi" not in pages:
        pages["openapi"] = openapi.document(call.api.routes)
    return pages["openapi"]


def _page_policy(page: bytes) -> bytes:
    """Only what stands inside the page may run or style it: named by hash, nothing from outside."""
    allowed: dict[bytes, list[bytes]] = {b"script": [], b"style": []}
    for kind, text in _INLINE.findall(page):
        digest = b64encode(hashlib.sha256(text).digest())
        allowed[kind.lower()].append(b"'sha256-%s'" % digest)
    scripts = b" ".join(allowed[b"script"]) or b"'none'"
    styles = b" ".join(allowed[b"style"]) or b"'none'"
    return (
        b"default-src 'none'; img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'; script-src %s; style-src %s" % (scripts, styles)
    )
