"""The client of Narrows: `Client` for threads, `AsyncClient` for asyncio, over the same pure calls.

    from narrows.client import Client

    with Client() as client:
        trigger = client.open("approval:order_1", timeout_secs=600)
        settled = client.wait(trigger)

Errors are those of `narrows.errors`. It needs an HTTP client and msgspec, and nothing of the server.
"""

from narrows.client.async_client import AsyncClient
from narrows.client.run_waiting import StillRunning
from narrows.client.signatures import verify_signature
from narrows.client.sync_client import Client
from narrows.client.waiting import StillWaiting
from narrows.wire.messages import BatchItem, Held, Trigger

__all__ = [
    "AsyncClient",
    "BatchItem",
    "Client",
    "Held",
    "StillRunning",
    "StillWaiting",
    "Trigger",
    "verify_signature",
]
