"""The text of `/metrics`, for Prometheus. Everything is counted elsewhere (`observe.py`,
`commits.py`, the engine's roles, the writer) in plain numbers; here they get their names. So a
request pays nothing for being measured but a few additions, and the library is loaded only where
somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from narrows import __version__
from narrows.api.commits import CommitStats, commits_of
from narrows.api.observe import DURATION_BOUNDS_SECS, RequestStats
from narrows.core.states import FactKind
from narrows.operations import reads

if TYPE_CHECKING:
    from narrows.operations.service import Service

#: Name -> kind, labels and what it tells. The reference in the docs is made from it.
METRICS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "narrows_triggers": ("gauge", ("status",), "Triggers in the store, by status, over all projects."),
    "narrows_oldest_waiting_seconds": (
        "gauge", (), "Age of the wait that is open for longest; 0 where nothing waits or it is not found.",
    ),
    "narrows_transitions_total": ("counter", ("kind",), "Facts committed, by kind."),
    "narrows_wait_duration_seconds": (
        "histogram", (), "From the opening of a wait to its event, of those received.",
    ),
    "narrows_timeout_lateness_seconds": (
        "histogram", (), "How long after its time a time-out was committed.",
    ),
    "narrows_runs": ("gauge", ("status",), "Runs in the store, by status, over all projects."),
    "narrows_workflow_runs": (
        "gauge",
        ("status",),
        "Workflow runs in the store, by status, over all projects.",
    ),
    "narrows_run_lateness_seconds": (
        "histogram", (), "How long after its time a delayed run was queued, or a lost lease was taken.",
    ),
    "narrows_claims_waiting": ("gauge", (), "Workers that wait for a run now."),
    "narrows_dispatches_in_progress": ("gauge", (), "Runs that are with their endpoints now."),
    "narrows_dispatches_total": (
        "counter", ("result",),
        "Dispatches to endpoints: completed, retried, failed for good, overtaken by another end, or returned.",
    ),
    "narrows_deliveries_total": (
        "counter", ("result",), "Attempts of outgoing webhooks: delivered or failed.",
    ),
    "narrows_queue_length": ("gauge", (), "Operations that wait for the writer now."),
    "narrows_batch_operations": ("histogram", (), "Operations that shared one commit."),
    "narrows_commit_seconds": ("histogram", (), "From the start of a transaction to the end of its commit."),
    "narrows_database_calls_total": (
        "counter", ("by",), "Round trips to a database server, by writers, by readers, and between nodes.",
    ),
    "narrows_database_statements_total": (
        "counter", ("by",), "SQL statements in those round trips.",
    ),
    "narrows_nodes": ("gauge", (), "Nodes that serve the database, as this one knows them."),
    "narrows_hears_nodes": (
        "gauge", (), "1 while this node hears what others commit, 0 while it asks the tables instead.",
    ),
    "narrows_clock_step_back_seconds": (
        "gauge", (), "How far the wall clock stood behind the last stamp at the last commit.",
    ),
    "narrows_streams": ("gauge", (), "Open streams."),
    "narrows_http_requests_in_progress": ("gauge", (), "Requests being answered now, streams included."),
    "narrows_http_requests_total": (
        "counter", ("method", "route", "status"), "Requests answered, by route and status.",
    ),
    "narrows_http_request_seconds": (
        "histogram", ("method", "route"), "Duration of requests; of a stream, how long it was open.",
    ),
    "narrows_role_rounds_total": ("counter", ("role",), "Rounds of the engine's roles that ended well."),
    "narrows_role_errors_total": ("counter", ("role",), "Rounds of the engine's roles that failed."),
    "narrows_unmatched_events_dropped_total": (
        "counter", (), "Unmatched events that were not kept, since too many came at once.",
    ),
    "narrows_invariant_violations_total": (
        "counter", (), "Transactions given up because a promise would have been broken. Must be 0.",
    ),
    "narrows_build_info": ("gauge", ("version",), "Always 1; the version is in the label."),
}  # fmt: skip

_KINDS: Final[dict[str, Any]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}
#: Of these roles it is told how late they were.
_LATENESS: Final = {
    "expire": "narrows_timeout_lateness_seconds",
    "wake runs": "narrows_run_lateness_seconds",
}
#: Methods that HTTP knows. Anybody can send another one, and each would be a time series.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


async def render(service: Service, stats: RequestStats, open_streams: int, engine: Any = None) -> bytes:
    """All metrics of this process. `engine` is the one whose roles are told of, where there is one."""
    by_status: dict[str, int] = await service.read(reads.CountByStatus())
    runs: dict[str, int] = await service.read(reads.CountRuns())
    workflow_runs: dict[str, int] = await service.read(reads.CountWorkflowRuns())
    oldest: int | None = await service.read(reads.OldestWaiting())
    age_secs = 0.0 if oldest is None else max(0.0, (service.clock.now() - oldest) / 1_000_000)
    families = [
        _one("narrows_build_info", 1, __version__),
        _labelled("narrows_triggers", (((str(status),), count) for status, count in by_status.items())),
        _labelled("narrows_runs", (((str(status),), count) for status, count in runs.items())),
        _labelled("narrows_workflow_runs", (((status,), count) for status, count in workflow_runs.items())),
        _one("narrows_oldest_waiting_seconds", age_secs),
        _one("narrows_streams", open_streams),
        *_of_store(service),
        *_of_commits(commits_of(service)),
        *_of_requests(stats),
        *_of_engine(engine),
    ]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given:
    """A collector of what was gathered already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _family(name: str) -> Any:
    kind, labels, text = METRICS[name]
    return _KINDS[kind](name, text, labels=labels)


def _one(name: str, value: float, *labels: str) -> Metric:
    return _labelled(name, [(labels, value)])


def _labelled(name: str, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = _family(name)
    for labels, value in values:
        family.add_metric(labels, value)
    return family  # type: ignore[no-any-return]


def _add_buckets(
    family: Any, labels: tuple[str, ...], bounds: Sequence[float], counts: Sequence[int], total: float
) -> None:
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    family.add_metric(labels, list(zip(names, accumulate(counts), strict=True)), total)


def _histogram(name: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    family = _family(name)
    _add_buckets(family, (), bounds, counts, total)
    return family  # type: ignore[no-any-return]


def _of_store(service: Service) -> Iterator[Metric]:
    writer = service.store.writer
    yield _one("narrows_queue_length", service.store.queue_length)
    yield _one("narrows_claims_waiting", service.claims.waiting)
    calls = service.store.calls.items()
    yield _labelled("narrows_database_calls_total", (((by,), each.round_trips) for by, each in calls))
    yield _labelled("narrows_database_statements_total", (((by,), each.statements) for by, each in calls))
    yield _one("narrows_nodes", service.members.count)
    yield _one("narrows_hears_nodes", service.members.is_heard)
    yield _one("narrows_clock_step_back_seconds", writer.clock_step_back_us / 1_000_000)
    yield _one("narrows_invariant_violations_total", writer.invariant_violations)
    yield _one("narrows_unmatched_events_dropped_total", getattr(service.unmatched, "dropped", 0))


def _of_commits(commits: CommitStats) -> Iterator[Metric]:
    # Every kind stands there from the start, so that an alert on a rate finds its series.
    kinds = {str(kind): 0 for kind in FactKind} | {str(kind): n for kind, n in commits.transitions.items()}
    yield _labelled("narrows_transitions_total", (((kind,), count) for kind, count in kinds.items()))
    for name, buckets in (
        ("narrows_wait_duration_seconds", commits.wait_secs),
        ("narrows_batch_operations", commits.batch_operations),
        ("narrows_commit_seconds", commits.commit_secs),
    ):
        yield _histogram(name, buckets.bounds, buckets.counts, buckets.total)


def _of_requests(stats: RequestStats) -> Iterator[Metric]:
    yield _one("narrows_http_requests_in_progress", stats.in_flight)
    requests: dict[tuple[str, ...], int] = {}
    for (method, route, status), count in stats.requests.items():
        labels = (_method(method), route, str(status))
        requests[labels] = requests.get(labels, 0) + count
    yield _labelled("narrows_http_requests_total", requests.items())
    durations: dict[tuple[str, str], tuple[list[int], float]] = {}
    for (method, route), timed in stats.durations.items():
        counts, total = durations.get((_method(method), route), ([0] * len(timed.counts), 0.0))
        summed = [a + b for a, b in zip(counts, timed.counts, strict=True)]
        durations[_method(method), route] = (summed, total + timed.sum_secs)
    family = _family("narrows_http_request_seconds")
    for timed_labels, (counts, total) in durations.items():
        _add_buckets(family, timed_labels, DURATION_BOUNDS_SECS, counts, total)
    yield family


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _of_engine(engine: Any) -> Iterator[Metric]:
    if engine is None:
        return
    stats = engine.stats()
    yield _labelled("narrows_role_rounds_total", (((role.name,), role.rounds) for role in stats))
    yield _labelled("narrows_role_errors_total", (((role.name,), role.errors) for role in stats))
    roles = {role.name: role for role in engine.roles}
    for role_name, metric in _LATENESS.items():
        late = roles[role_name].lateness
        yield _histogram(metric, late.bounds_secs, late.counts, late.sum_secs)
    yield from _of_calls(roles)


def _of_calls(roles: Mapping[str, Any]) -> Iterator[Metric]:
    """Of the roles that call others; a server may have none."""
    dispatch, deliver = roles.get("dispatch"), roles.get("deliver")
    in_flight = () if dispatch is None else dispatch.in_flight
    results = {} if dispatch is None else dispatch.in_flight.results
    attempts = {} if deliver is None else {"delivered": deliver.delivered, "failed": deliver.failed_attempts}
    yield _one("narrows_dispatches_in_progress", len(in_flight))
    yield _labelled("narrows_dispatches_total", (((result,), count) for result, count in results.items()))
    yield _labelled("narrows_deliveries_total", (((result,), count) for result, count in attempts.items()))
