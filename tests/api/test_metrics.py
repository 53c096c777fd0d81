"""The metrics: every name of the table is there, is what Prometheus can read, and counts."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from narrows.api.commits import commits_of
from narrows.api.metrics import METRICS, render
from narrows.config import Config
from narrows.engine.loop import Engine
from narrows.engine.roles import all_roles
from tests.api.harness import opened


def _values(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def _names(text: bytes) -> Iterator[str]:
    for line in text.decode().splitlines():
        if line.startswith("# TYPE "):
            yield line.split()[2]


async def test_every_metric_is_there_and_counts(config: Config) -> None:
    async with opened(config) as client:
        api = client.api
        commits_of(api.service)
        await client("POST", "/v1/events", {"event_key": "order:1"})
        await client("POST", "/v1/events", {"event_key": "order:2"})
        await client("POST", "/v1/events/order:1/send", {"payload": 1})
        await client("BREW", "/nowhere")
        engine = Engine(api.service, all_roles(api.service, api.service.unmatched, 30))
        text = await render(api.service, api.stats, 3, engine)
        assert set(_names(text)) == set(METRICS)
        values = _values(text)
        assert values["narrows_triggers", (("status", "waiting"),)] == 1
        assert values["narrows_triggers", (("status", "received"),)] == 1
        assert values["narrows_transitions_total", (("kind", "trigger.opened"),)] == 2
        assert values["narrows_wait_duration_seconds_count", ()] == 1
        assert values["narrows_commit_seconds_count", ()] >= 3
        assert values["narrows_batch_operations_sum", ()] >= 3
        assert values["narrows_streams", ()] == 3
        assert values["narrows_oldest_waiting_seconds", ()] > 0
        assert values["narrows_invariant_violations_total", ()] == 0
        sent = (("method", "POST"), ("route", "/v1/events/{eventKey}/send"), ("status", "200"))
        assert values["narrows_http_requests_total", sent] == 1
        assert (
            "narrows_http_requests_total",
            (("method", "other"), ("route", "unmatched"), ("status", "404")),
        ) in values
        assert values["narrows_role_errors_total", (("role", "expire"),)] == 0


async def test_buckets_are_cumulative(config: Config) -> None:
    async with opened(config) as client:
        for number in range(5):
            await client("POST", "/v1/events", {"event_key": f"order:{number}"})
        values = _values(await render(client.api.service, client.api.stats, 0))
        route = (("method", "POST"), ("route", "/v1/events"))
        buckets = [
            value
            for (name, labels), value in values.items()
            if name == "narrows_http_request_seconds_bucket" and set(route) <= set(labels)
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == values["narrows_http_request_seconds_count", route] == 5


async def test_the_route_answers(config: Config) -> None:
    async with opened(config) as client:
        answer = await client("GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert b"narrows_build_info" in answer.body


def test_commits_are_counted_once_for_a_service() -> None:
    subscribers: list[object] = []

    class Service:
        feed = SimpleNamespace(subscribe=subscribers.append)

    service = Service()
    assert commits_of(service) is commits_of(service)  # type: ignore[arg-type]
    assert len(subscribers) == 1
