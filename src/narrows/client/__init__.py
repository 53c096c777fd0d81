"""The client of Narrows: `Client` for threads, `AsyncClient` for asyncio, over the same pure calls.

    from narrows.client import Client

    with Client() as client:
        trigger = client.open("approval:order_1", timeout_secs=600)
        settled = client.wait(trigger)

`Worker` executes runs of jobs; `RunClient` and `verify_signature` are for endpoints that are sent them.
Errors are those of `narrows.errors`. It needs an HTTP client and msgspec, and nothing of the server.
"""

from narrows.client.async_client import AsyncClient
from narrows.client.run_client import AsyncRunClient, RunClient
from narrows.client.run_waiting import StillRunning
from narrows.client.signatures import verify_signature
from narrows.client.sync_client import Client
from narrows.client.waiting import StillWaiting
from narrows.client.worker import Worker
from narrows.client.worker_run import AsyncWorkerRun, DoNotRetry, RunSuspended, WorkerRun
from narrows.wire.messages import BatchItem, Held, Trigger
from narrows.wire.run_messages import EventToWaitFor, Job, Run
from narrows.wire.workflow_messages import Workflow, WorkflowRun, WorkflowStep

__all__ = [
    "AsyncClient",
    "AsyncRunClient",
    "AsyncWorkerRun",
    "BatchItem",
    "Client",
    "DoNotRetry",
    "EventToWaitFor",
    "Held",
    "Job",
    "Run",
    "RunClient",
    "RunSuspended",
    "StillRunning",
    "StillWaiting",
    "Trigger",
    "Worker",
    "WorkerRun",
    "Workflow",
    "WorkflowRun",
    "WorkflowStep",
    "verify_signature",
]
