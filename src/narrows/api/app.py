"""The HTTP API: THE route table, on one screen, and the path that every request takes.

A bare ASGI application: routes match on the raw path, which no framework's router does, and a
framework's request objects cost as much as a durable commit. Each row names the scope that the
route needs; there is no other place where a route could be exempted. Not here: what endpoints do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from narrows.api import (
    access,
    batch,
    bench,
    callbacks,
    deliveries,
    events,
    held,
    jobs,
    many,
    problems,
    run_plane,
    runs,
    stream,
    system,
    triggers,
    workers,
    workflow_runs,
    workflows,
)
from narrows.api.auth import NOBODY, Authenticator, check_scope
from narrows.api.call import Call, Receive, Scope, Send
from narrows.api.commits import commits_of
from narrows.api.idempotency import InFlight
from narrows.api.keys import looks_like_a_key
from narrows.api.observe import UNMATCHED, RequestStats, access_logger, log_access
from narrows.api.origins import Origins
from narrows.api.problems import ClientGone
from narrows.api.request_ids import RequestIds
from narrows.api.routing import PUBLIC, RUN, Endpoint, Reply, Route, Router
from narrows.api.settings import BATCH_LIMIT_BYTES, BODY_LIMIT_BYTES, ApiSettings
from narrows.api.streams import Streams
from narrows.errors import Unauthenticated
from narrows.wire import messages as m
from narrows.wire import run_messages as r
from narrows.wire import workflow_messages as w

if TYPE_CHECKING:
    from narrows.operations.service import Service

KEY, TRIGGER, PAGE, P = "/v1/events/{eventKey}", "/v1/triggers/{id}", ("limit", "cursor"), ("project_id",)
JOB, RUN_BY_ID, SDK = "/v1/jobs/{job}", "/v1/runs/{id}", "/sdk/v1/runs/{runID}"
WORKFLOW, WORKFLOW_RUN, RUN_STEPS = (
    "/v1/workflows/{workflow}",
    "/v1/workflow-runs/{id}",
    "/v1/workflow-runs/{id}/steps",
)
STEP = RUN_STEPS + "/{step_ref}"
FILTERS = ("status", "source_type", "workflow_run_id", "job_run_id", "event_key", "key_prefix", "tag")
More = dict[str, Any]
KEYED: More = {"idempotent": True}
BIG: More = {"body_limit_bytes": BATCH_LIMIT_BYTES}
ADMIN: More = {"admin_only": True}
SSE: More = {"media_type": "text/event-stream", "stream": True, "query": ("project_id", "token")}
SECRET: More = {"secret_path": True}
TEXT: More = {"media_type": "text/plain"}
HTML: More = {"media_type": "text/html"}


def _row(
    method: str,
    pattern: str,
    endpoint: Endpoint,
    scope: str,
    request: type | None,
    reply: type | None,
    statuses: tuple[int, ...] = (200,),
    **more: Any,
) -> Route:
    """A row of the table; what it does stands in the first line of its endpoint's docstring."""
    summary = (endpoint.__doc__ or "").partition("\n")[0].rstrip(".")
    return Route(method, pattern, endpoint, scope, summary, request, reply, statuses, **more)


# fmt: off
ROUTES: Final[tuple[Route, ...]] = (
    _row("GET", "/v1/events", events.list_triggers, "events:read", None, m.TriggerPage, query=(*P, *FILTERS, *PAGE)),
    _row("POST", "/v1/events", events.open_trigger, "events:write", m.OpenTriggerRequest, m.Trigger, (200, 201, 409), **KEYED),
    _row("GET", "/v1/events/stats", events.get_stats, "events:read", None, m.Stats, query=P),
    _row("POST", "/v1/events/batch", batch.send_batch, "events:send", m.BatchRequest, m.BatchResult, (200, 409), **KEYED, **BIG),
    _row("POST", "/v1/events/purge", many.purge, "events:purge", m.PurgeRequest, m.PurgeResult, (200, 409), **KEYED),
    _row("POST", "/v1/events/prefix/{prefix}/send", many.send_prefix, "events:send", m.PrefixSendRequest, m.PrefixResult, (200, 409), **KEYED),
    _row("GET", KEY, events.get_trigger, "events:read", None, m.Trigger, query=P),
    _row("DELETE", KEY, events.cancel_trigger, "events:write", None, m.Trigger, (200, 409), query=P),
    _row("GET", KEY + "/stream", stream.stream_by_key, "events:read", None, m.Trigger, (200, 204), **SSE),
    _row("POST", KEY + "/send", events.send_event, "events:send", m.SendRequest, m.Trigger, (200, 202, 409, 422), **KEYED),
    _row("GET", TRIGGER, triggers.get_trigger, "events:read", None, m.Trigger, query=P),
    _row("DELETE", TRIGGER, triggers.cancel_trigger, "events:write", None, m.Trigger, (200, 409), query=P),
    _row("POST", TRIGGER + "/send", triggers.send_event, "events:send", m.SendRequest, m.Trigger, (200, 409, 422), **KEYED),
    _row("POST", TRIGGER + "/extend", triggers.extend_trigger, "events:write", m.ExtendRequest, m.Trigger, (200, 409), **KEYED),
    _row("GET", TRIGGER + "/wait", triggers.wait_for_trigger, "events:read", None, m.Trigger, query=(*P, "timeout_secs")),
    _row("GET", TRIGGER + "/stream", stream.stream_by_id, "events:read", None, m.Trigger, (200, 204), **SSE),
    _row("POST", TRIGGER + "/callback-urls", triggers.create_callback_url, "events:write", m.CallbackUrlRequest, m.CallbackUrl, (201, 409), **KEYED),
    _row("GET", "/v1/held-events", held.list_held_events, "events:read", None, m.HeldPage, query=(*P, "event_key", *PAGE)),
    _row("DELETE", "/v1/held-events/{id}", held.delete_held_event, "events:write", None, m.Held, (200, 409), query=P),
    _row("GET", "/v1/unmatched-events", held.list_unmatched_events, "events:read", None, m.UnmatchedPage, query=(*P, "event_key", *PAGE)),
    _row("GET", "/v1/explain", events.explain, "events:read", None, m.Explanation, query=(*P, "event_key")),
    _row("GET", "/v1/jobs", jobs.list_jobs, "jobs:read", None, r.JobPage, query=(*P, *PAGE)),
    _row("POST", "/v1/jobs", jobs.create_job, "jobs:write", r.CreateJobRequest, r.Job, (201, 409), **KEYED),
    _row("GET", JOB, jobs.get_job, "jobs:read", None, r.Job, query=P),
    _row("PATCH", JOB, jobs.update_job, "jobs:write", r.UpdateJobRequest, r.Job, (200, 409)),
    _row("DELETE", JOB, jobs.delete_job, "jobs:write", None, r.Job, (200, 409), query=(*P, "cancel_runs")),
    _row("POST", JOB + "/rotate-secret", jobs.rotate_job_secret, "jobs:write", r.RotateSecretRequest, r.Secret, (200, 409), **KEYED),
    _row("POST", JOB + "/trigger", jobs.trigger_job, "jobs:trigger", r.TriggerJobRequest, r.Run, (201, 409), **KEYED),
    _row("GET", "/v1/runs", runs.list_runs, "runs:read", None, r.RunPage, query=(*P, "status", "job", "tag", *PAGE)),
    _row("GET", RUN_BY_ID, runs.get_run, "runs:read", None, r.Run, query=P),
    _row("DELETE", RUN_BY_ID, runs.cancel_run, "runs:write", None, r.Run, (200, 409), query=P),
    _row("GET", RUN_BY_ID + "/events", runs.list_run_events, "runs:read", None, r.RunEventPage, query=(*P, *PAGE)),
    _row("GET", RUN_BY_ID + "/wait", runs.wait_for_run, "runs:read", None, r.Run, query=(*P, "timeout_secs")),
    _row("POST", RUN_BY_ID + "/replay", runs.replay_run, "runs:write", r.ReplayRequest, r.Run, (201, 409), **KEYED),
    _row("GET", "/v1/workflows", workflows.list_workflows, "workflows:read", None, w.WorkflowPage, query=(*P, *PAGE)),
    _row("POST", "/v1/workflows", workflows.create_workflow, "workflows:write", w.CreateWorkflowRequest, w.Workflow, (201, 409), **KEYED, **BIG),
    _row("POST", "/v1/workflows/dry-run", workflows.dry_run_workflow, "workflows:read", w.CreateWorkflowRequest, w.DryRun, **BIG),
    _row("GET", WORKFLOW, workflows.get_workflow, "workflows:read", None, w.Workflow, query=P),
    _row("PATCH", WORKFLOW, workflows.update_workflow, "workflows:write", w.UpdateWorkflowRequest, w.Workflow, (200, 409), **BIG),
    _row("DELETE", WORKFLOW, workflows.delete_workflow, "workflows:write", None, w.Workflow, query=P),
    _row("POST", WORKFLOW + "/trigger", workflows.trigger_workflow, "workflows:trigger", w.TriggerWorkflowRequest, w.WorkflowRun, (201, 409), **KEYED),
    _row("GET", "/v1/workflow-runs", workflow_runs.list_workflow_runs, "workflows:read", None, w.WorkflowRunPage, query=(*P, "status", "workflow", "tag", "parent_workflow_run_id", *PAGE)),
    _row("GET", WORKFLOW_RUN, workflow_runs.get_workflow_run, "workflows:read", None, w.WorkflowRun, query=P),
    _row("DELETE", WORKFLOW_RUN, workflow_runs.cancel_workflow_run, "workflows:write", None, w.WorkflowRun, (200, 409), query=P),
    _row("GET", WORKFLOW_RUN + "/timeline", workflow_runs.list_workflow_run_events, "workflows:read", None, w.WorkflowRunEventPage, query=(*P, *PAGE)),
    _row("GET", WORKFLOW_RUN + "/graph", workflow_runs.get_workflow_run_graph, "workflows:read", None, w.WorkflowGraph, query=P),
    _row("POST", WORKFLOW_RUN + "/pause", workflow_runs.pause_workflow_run, "workflows:write", w.WorkflowRunRequest, w.WorkflowRun, (200, 409), **KEYED),
    _row("POST", WORKFLOW_RUN + "/resume", workflow_runs.resume_workflow_run, "workflows:write", w.WorkflowRunRequest, w.WorkflowRun, (200, 409), **KEYED),
    _row("POST", WORKFLOW_RUN + "/retry", workflow_runs.retry_workflow_run, "workflows:write", w.WorkflowRunRequest, w.WorkflowRun, (201, 409), **KEYED),
    _row("GET", RUN_STEPS, workflow_runs.list_workflow_run_steps, "workflows:read", None, w.WorkflowSteps, query=P),
    _row("GET", STEP, workflow_runs.get_workflow_run_step, "workflows:read", None, w.WorkflowStep, query=P),
    _row("POST", STEP + "/approve", workflow_runs.approve_step, "workflows:write", w.DecisionRequest, w.WorkflowStep, (200, 409), **KEYED),
    _row("POST", STEP + "/reject", workflow_runs.reject_step, "workflows:write", w.DecisionRequest, w.WorkflowStep, (200, 409), **KEYED),
    _row("POST", STEP + "/skip", workflow_runs.skip_step, "workflows:write", w.WorkflowRunRequest, w.WorkflowStep, (200, 409), **KEYED),
    _row("POST", STEP + "/retry", workflow_runs.retry_step, "workflows:write", w.WorkflowRunRequest, w.WorkflowStep, (200, 409), **KEYED),
    _row("POST", "/v1/workers/claim", workers.claim_runs, "workers:claim", r.ClaimRequest, r.ClaimResult, (200, 409)),
    _row("GET", SDK + "/payload", run_plane.get_payload, RUN, None, None, (200, 409, 410)),
    _row("GET", SDK + "/checkpoint", run_plane.get_checkpoint, RUN, None, r.Checkpoint, (200, 409, 410)),
    _row("POST", SDK + "/checkpoint", run_plane.save_checkpoint, RUN, r.CheckpointRequest, r.RunState, (200, 409, 410)),
    _row("POST", SDK + "/log", run_plane.log_line, RUN, r.LogRequest, r.RunState, (200, 409, 410)),
    _row("POST", SDK + "/progress", run_plane.save_progress, RUN, r.ProgressRequest, r.RunState, (200, 409, 410)),
    _row("POST", SDK + "/heartbeat", run_plane.heartbeat, RUN, r.HeartbeatRequest, r.Lease, (200, 409, 410)),
    _row("POST", SDK + "/complete", run_plane.complete_run, RUN, r.CompleteRequest, r.RunState, (200, 409, 410)),
    _row("POST", SDK + "/fail", run_plane.fail_run, RUN, r.FailRequest, r.RunState, (200, 409, 410)),
    _row("POST", SDK + "/sleep", run_plane.sleep_run, RUN, r.SleepRequest, r.WaitResult, (200, 409, 410)),
    _row("POST", SDK + "/wait-for-event", run_plane.wait_for_event, RUN, r.WaitRequest, r.WaitResult, (200, 409, 410)),
    _row("POST", SDK + "/release", run_plane.release_run, RUN, r.ReleaseRequest, r.RunState, (200, 409, 410)),
    _row("GET", "/v1/deliveries", deliveries.list_deliveries, "deliveries:read", None, r.DeliveryPage, query=(*P, "status", "trigger_id", *PAGE)),
    _row("POST", "/v1/deliveries/{id}/retry", deliveries.retry_delivery, "deliveries:write", r.RetryDeliveryRequest, r.Delivery, (200, 409), **KEYED),
    _row("POST", "/v1/stream-tokens", access.create_stream_token, "events:read", m.StreamTokenRequest, m.StreamToken, (201,)),
    _row("POST", "/v1/projects", access.create_project, "keys:manage", m.CreateProjectRequest, m.Project, (201, 409), **KEYED, **ADMIN),
    _row("GET", "/v1/projects", access.list_projects, "keys:manage", None, m.ProjectPage, query=PAGE, **ADMIN),
    _row("POST", "/v1/projects/{id}/rotate-secret", access.rotate_project_secret, "keys:manage", r.RotateSecretRequest, r.Secret, (200, 409), **KEYED),
    _row("POST", "/v1/api-keys", access.create_api_key, "keys:manage", m.CreateApiKeyRequest, m.ApiKey, (201, 409), **KEYED),
    _row("GET", "/v1/api-keys", access.list_api_keys, "keys:manage", None, m.ApiKeyPage, query=(*P, *PAGE)),
    _row("DELETE", "/v1/api-keys/{id}", access.revoke_api_key, "keys:manage", None, m.ApiKey, query=P),
    _row("POST", "/v1/api-keys/{id}/rotate", access.rotate_api_key, "keys:manage", m.RotateApiKeyRequest, m.ApiKey, (201, 409), **KEYED),
    _row("GET", "/h/{token}", callbacks.show_callback, PUBLIC, None, m.CallbackAddress, **SECRET),
    _row("POST", "/h/{token}", callbacks.send_to_callback, PUBLIC, None, m.CallbackReceipt, (200, 409, 422), **SECRET),
    _row("GET", "/livez", system.livez, PUBLIC, None, m.Health),
    _row("GET", "/readyz", system.readyz, PUBLIC, None, m.Health, (200, 503)),
    _row("GET", "/version", system.version, PUBLIC, None, m.Version),
    _row("GET", "/metrics", system.get_metrics, "metrics:read", None, None, **TEXT),
    _row("GET", "/openapi.json", system.get_openapi, PUBLIC, None, None),
    _row("GET", "/docs", system.get_reference, PUBLIC, None, None, **HTML),
)
NOOP: Final = _row("POST", "/bench/noop", bench.noop, "events:send", m.SendRequest, m.Trigger)
# fmt: on

#: By how much the wall clock may lie behind the newest stamp before `/readyz` says so.
MAX_STEP_BACK_SECS: Final = 5
FAILING_ROUNDS: Final = 3


class Api:
    """The ASGI application, and what its requests share."""

    def __init__(self, service: Service, settings: ApiSettings, routes: Iterable[Route]) -> None:
        self.service = service
        self.settings = settings
        self.routes = tuple(routes)
        self.authenticator = Authenticator(service, settings.dev)
        self.in_flight = InFlight()
        self.stats = RequestStats()
        commits_of(service)
        self.streams = Streams(service, settings)
        self.jobs = workers.KnownJobs(service)
        self.pages: dict[str, bytes] = {}
        self.stopping = False
        #: The roles of this process, for readiness and the metrics; the composition root sets it.
        self.engine: Any = None
        self._router = Router(self.routes)
        self._origins = Origins(settings)
        self._request_ids = RequestIds(service.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send, as_host=False)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def as_host(self, scope: Scope, receive: Receive, send: Send) -> None:
        """For the Unix socket in the data folder: who may open it is the host, an admin."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send, as_host=True)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    def close(self) -> None:
        """The server is stopping: streams and claims are told, readiness says so."""
        self.stopping = True
        self.service.claims.close()
        self.streams.close()

    def not_ready_reasons(self) -> list[str]:
        """What keeps this server from serving as it should, a sentence each."""
        reasons = ["The server is stopping."] if self.stopping else []
        store = self.service.store
        if store.failure is not None:
            reasons.append(store.failure)
        step_back_secs = store.writer.clock_step_back_us / 1_000_000
        if step_back_secs > MAX_STEP_BACK_SECS:
            reasons.append(
                f"The clock stepped back by {step_back_secs:.0f} s: time-outs wait until it has caught up. "
                "Check the time synchronisation of this machine."
            )
        if store.writer.is_nearly_full:
            reasons.append("The queue of changes is nearly full: the disk or the machine does not keep up.")
        roles = () if self.engine is None else self.engine.stats()
        reasons += [
            f"The role {role.name} fails, {role.consecutive_errors} times in a row: {role.last_error}"
            for role in roles
            if role.consecutive_errors >= FAILING_ROUNDS
        ]
        return reasons

    def limit_bytes(self, route: Route) -> int:
        """The settings' word on a route's body limit."""
        if route.body_limit_bytes == BODY_LIMIT_BYTES:
            return self.settings.body_limit_bytes
        return self.settings.batch_limit_bytes

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, as_host: bool) -> None:
        clock = self.service.clock
        started = clock.monotonic()
        call = Call(self, scope, receive, send)
        call.credential = NOBODY
        call.request_id = self._request_ids.of(call.headers.get(b"x-request-id"))
        pattern = UNMATCHED
        self.stats.in_flight += 1
        try:
            route = self._route(call, as_host=as_host)
            pattern = UNMATCHED if route is None else route.pattern
            reply = (200, b"{}") if route is None else await self._answer(call, route, as_host=as_host)
            if reply is not None:
                await call.respond(reply)
        except ClientGone:
            call.status = 499
        except Exception as error:  # noqa: BLE001 -- every failure becomes a reply, here and nowhere else
            await self._refuse(call, error)
        finally:
            self.stats.in_flight -= 1
            secs = clock.monotonic() - started
            self.stats.add(call.method, pattern, call.status, secs)
            if self.settings.access_log and access_logger.isEnabledFor(logging.INFO):
                log_access(call, pattern, secs)

    def _route(self, call: Call, *, as_host: bool) -> Route | None:
        """The route of this request; None for a browser's preflight question, which is allowed."""
        scope = call.scope
        if not as_host:
            self._origins.check(call)
            if self._origins.is_preflight(call):
                self._origins.allow_preflight(call)
                return None
        call.route, call.param, call.inner_param = self._router.match(call.method, scope["raw_path"])
        in_query = scope["query_string"] and any(map(looks_like_a_key, (*call.query, *call.query.values())))
        if in_query or looks_like_a_key(call.param) or looks_like_a_key(call.inner_param):
            raise Unauthenticated(
                "An API key or run token must not stand in a URL; send it as `Authorization: Bearer`."
            )
        call.check_length()
        return call.route

    async def _answer(self, call: Call, route: Route, *, as_host: bool) -> Reply | None:
        if route.scope != PUBLIC:
            call.credential = await self.authenticator.credential(call, as_host)
            check_scope(route, call.credential)
        return await route.endpoint(call)

    async def _refuse(self, call: Call, error: Exception) -> None:
        if call.status:
            raise error  # the reply has begun: all that is left is to break the connection off
        status, body, headers = problems.reply(error, call.request_id, is_done=call.is_done)
        call.extra_headers += headers
        call.media_type = b"application/json"
        await call.respond((status, body))


async def _lifespan(receive: Receive, send: Send) -> None:
    """The composition root starts and stops everything; servers that ask are told yes."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def create_app(service: Service, settings: ApiSettings | None = None) -> Api:
    """The application over a service. The route table is the same everywhere, but for the benchmark."""
    settings = settings or ApiSettings()
    return Api(service, settings, (*ROUTES, NOOP) if settings.bench_noop else ROUTES)
