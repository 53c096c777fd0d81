"""Workflow runs: sends into their waits, how soon the next step is dispatched, and what a wide one costs, by the
step."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import clients, costs, load, prepare_workflows
from benchmarks.clients import Wire, claim, finishing, request_bytes
from benchmarks.costs import Counts
from benchmarks.keys import shuffled_keys
from benchmarks.load import Load, Part
from benchmarks.places import HOST
from benchmarks.prepare import API_KEY
from benchmarks.prepare_workflows import FLOW
from benchmarks.report import figure, quantile
from benchmarks.runs import ONE_BY_ONE, Endpoint, working
from benchmarks.sends import add_cost, cpu
from benchmarks.server import Server
from benchmarks.setting import Setting, spread
from narrows.client import AsyncWorkerRun

#: As many plain waits lie beside them; more than are sent to in a run.
WAITING = 50_000
_WARM = 15_000
#: Steps of a wide workflow: one job, then all others but one at once, then one that depends on all of those.
SIZES = (10, 1_000)
MANY_WAITS = 200
#: How much more a step may cost among 1,000 than among 10.
MOST_GROWTH = 1.5
_GATE, _PART = "gate", "part"


# ---- sends a second ------------------------------------------------------------------------------


def workflow_sends(setting: Setting) -> None:
    """Sends into waits of workflow runs, each of which starts the step behind it; plain sends in turn with them,
    on the same server and as many rows."""
    prepared = prepare_workflows.waiting(setting.database, setting.small, WAITING)
    keys = {"plain": setting.few_keys.shuffled, FLOW: shuffled_keys(FLOW, WAITING)}
    found: dict[str, list[Load]] = {kind: [] for kind in keys}
    cost = Counts()
    for _ in range(setting.runs):
        with setting.server(prepared) as server:
            for path in keys.values():
                load.run(server, API_KEY, "send", secs=1, connections=8, keys=Part(path, 0, _WARM))
            found["plain"].append(_sent(server, setting, keys["plain"]))
            before = costs.counted(server)
            found[FLOW].append(_sent(server, setting, keys[FLOW]))
            cost += costs.counted(server) - before
    plain, flow = (spread([each.per_sec for each in loads]) for loads in found.values())
    ratio = spread([two.per_sec / one.per_sec for one, two in zip(*found.values(), strict=True)])
    p50, p99 = (spread([getattr(each, name) for each in found[FLOW]]) for name in ("p50_ms", "p99_ms"))
    what = "sends into waits of workflow runs (job, wait, job), 64 connections"
    setting.add(
        what,
        "",
        f"{flow}/s",
        note=setting.against_one_node(what, flow.median)
        + f"p50 / p99 {p50} / {p99} ms; {cpu(setting, found[FLOW])}",
    )
    setting.add("their ratio to plain sends", "", f"{ratio}", note=f"plain: {plain}/s, among as many rows")
    add_cost(setting, cost, "sends into workflow runs")


def _sent(server: Server, setting: Setting, keys: Path) -> Load:
    return load.run(server, API_KEY, "send", secs=setting.secs, keys=Part(keys, _WARM, 10**9))


# ---- one at a time on an idle server ---------------------------------------------------------------


def _by_push(server: Server) -> list[float]:
    """Milliseconds from the send to the dispatch of the step behind the wait."""
    endpoint, wire = Endpoint(), Wire(server.port)
    wire.call("POST", "/v1/jobs", {"slug": "pushed", "endpoint_url": f"http://{HOST}:{endpoint.port}/"})

    def dispatched() -> float:
        heard = endpoint.heard.get(timeout=10)
        endpoint.answer()
        return heard.at

    took = _next_steps(wire, "pushed", dispatched)
    wire.close()
    return took


def _by_worker(server: Server) -> list[float]:
    """The same for a step whose run a worker fetches, until its handler is called."""
    heard: queue.Queue[float] = queue.Queue()

    async def handle(run: AsyncWorkerRun) -> None:
        heard.put(time.perf_counter())

    wire = Wire(server.port)
    wire.call("POST", "/v1/jobs", {"slug": "fetched"})
    with working(server, "fetched", handle):
        took = _next_steps(wire, "fetched", lambda: heard.get(timeout=10))
    wire.close()
    return took


def _next_steps(wire: Wire, job: str, dispatched: Callable[[], float]) -> list[float]:
    hold = {"step_ref": "hold", "type": "wait_for_event", "event_key": "{{payload.key}}"}
    steps = [hold, {"step_ref": "after", "job_slug": job, "depends_on": ["hold"]}]
    wire.call("POST", "/v1/workflows", {"slug": job, "steps": steps})
    took = []
    for number in range(ONE_BY_ONE):
        key = f"{job}:{number}"
        wire.call("POST", f"/v1/workflows/{job}/trigger", {"payload": {"key": key}})
        time.sleep(0.005)  # whatever else follows from the start and from the round before is over
        began = time.perf_counter()
        wire.call("POST", f"/v1/events/{key}/send", {"payload": {"approved": True}})
        took.append((dispatched() - began) * 1000)
    return took


def next_step(setting: Setting) -> None:
    """Sent to dispatched, one after the other beside the waits of the big database."""
    pushed: list[float] = []
    fetched: list[float] = []
    for _ in range(setting.runs):
        with setting.server(setting.big, allow=HOST) as server:
            pushed += _by_push(server)
            fetched += _by_worker(server)
    for words, times in (("by push", pushed), ("to a worker", fetched)):
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        setting.add(
            f"send to the next step of a workflow dispatched {words}, p50 / p99, idle",
            "<= 8 / 25 ms",
            f"{figure(p50)} / {figure(p99)} ms",
            p50 <= 8 and p99 <= 25,
            f"client; {len(times)} workflow runs",
        )


# ---- wide ones ---------------------------------------------------------------------------------------


def wide_steps(kind: str, steps: int) -> list[dict[str, Any]]:
    """One step before and one behind all the others, which are jobs or waits."""
    parts = [f"part-{number}" for number in range(steps - 2)]
    between: list[dict[str, Any]] = [
        {"job_slug": _PART}
        if kind == "job"
        else {"type": "wait_for_event", "event_key": f"{{{{workflow_run_id}}}}:{number}"}
        for number in range(steps - 2)
    ]
    return [
        {"step_ref": "first", "job_slug": _GATE},
        *(
            {"step_ref": ref, "depends_on": ["first"], **work}
            for ref, work in zip(parts, between, strict=True)
        ),
        {"step_ref": "last", "job_slug": _GATE, "depends_on": parts},
    ]


class Wide:
    """A workflow of `wide_steps`, saved."""

    def __init__(self, wire: Wire, kind: str, steps: int) -> None:
        self.wire, self.kind, self.steps = wire, kind, steps
        self.parts = steps - 2
        self.slug = f"{kind}-{steps}"
        wire.call("POST", "/v1/workflows", {"slug": self.slug, "steps": wide_steps(kind, steps)})

    def start(self) -> tuple[str, bytes]:
        """The id of a workflow run whose first job is claimed, and the request that completes that."""
        run = self.wire.call("POST", f"/v1/workflows/{self.slug}/trigger", {"payload": {"customer": 42}})
        (first,) = claim(self.wire, _GATE, 1)
        return run["id"], finishing(*first)

    def sends(self, run_id: str) -> list[bytes]:
        """The requests that end its waits."""
        return [
            request_bytes("POST", f"/v1/events/{run_id}:{number}/send", {"payload": {"approved": True}})
            for number in range(self.parts)
        ]

    def batch(self, run_id: str) -> bytes:
        """The same in one request."""
        events = [
            {"event_key": f"{run_id}:{number}", "payload": {"approved": True}} for number in range(self.parts)
        ]
        return request_bytes("POST", "/v1/events/batch", {"events": events})

    def end(self, run_id: str) -> None:
        """Do its last job; nothing may be left then."""
        (last,) = claim(self.wire, _GATE, 1)
        self.wire.milliseconds(finishing(*last))
        status = self.wire.call("GET", f"/v1/workflow-runs/{run_id}")["status"]
        if status != "completed":
            raise SystemExit(f"the workflow run is {status}")


class Fan(NamedTuple):
    """Milliseconds of one workflow run: the commit that starts the parts, and until they have all ended."""

    out: float
    back: float


def _fan(wide: Wide) -> Fan:
    run_id, first = wide.start()
    out = wide.wire.milliseconds(first)
    if wide.kind == "wait":
        back = wide.wire.milliseconds(wide.batch(run_id))
    else:
        back = clients.all_at_once(
            wide.wire.port, [finishing(*each) for each in claim(wide.wire, _PART, wide.parts)]
        )
    wide.end(run_id)
    return Fan(out, back)


def _wides(setting: Setting, kinds: tuple[str, ...], sizes: tuple[int, ...]) -> Iterator[Wide]:
    """On a server of their own each time, warm."""
    for _ in range(setting.runs):
        with setting.server(setting.small) as server:
            wire = Wire(server.port)
            for job in (_GATE, _PART):
                wire.call("POST", "/v1/jobs", {"slug": job})
            wides = [Wide(wire, kind, size) for kind in kinds for size in sizes]
            for wide in wides:
                _fan(wide)
            yield from wides
            wire.close()


def fans(setting: Setting) -> None:
    """One job, 998 jobs or waits that depend on it, one job that depends on all; and the same with 10 steps."""
    found: dict[tuple[str, int], list[Fan]] = {}
    few, many = SIZES
    for wide in _wides(setting, ("job", "wait"), SIZES):
        rounds = 20 if wide.steps == few else 3
        found.setdefault((wide.kind, wide.steps), []).extend(_fan(wide) for _ in range(rounds))
    for kind, what, back in (
        ("job", "jobs", "their results come by 64 connections"),
        ("wait", "waits", "their events come in one request"),
    ):
        for name, words in (
            ("out", f"a step done to {many - 2} {what} started, one commit"),
            ("back", f"{many - 2} {what} done to the last step started, {back}"),
        ):
            of_few, of_many = ([getattr(fan, name) for fan in found[kind, size]] for size in SIZES)
            _add_per_step(setting, words, spread(of_few), spread(of_many))


def _add_per_step(setting: Setting, what: str, few_ms: Any, many_ms: Any) -> None:
    few, many = (ms.median * 1000 / (size - 2) for ms, size in zip((few_ms, many_ms), SIZES, strict=True))
    setting.add(what, "", f"{many_ms} ms", note=f"client; {figure(many)} µs a step")
    setting.add(
        f"the same by the step, against a workflow of {SIZES[0]} steps",
        f"<= {MOST_GROWTH} times",
        f"{figure(many / few)} times",
        many / few <= MOST_GROWTH,
        f"{figure(many)} µs against {figure(few)} µs ({few_ms} ms)",
    )


# ---- many waits whose events come as they come ---------------------------------------------------------


def many_waits(setting: Setting) -> None:
    """Events into one workflow run of 200 waits, by 64 connections and one after the other; and one after the
    other into runs of 10 and 1,000 steps."""
    few, many = SIZES
    singles: dict[int, list[float]] = {few: [], MANY_WAITS + 2: [], many: []}
    together: list[float] = []
    for wide in _wides(setting, ("wait",), tuple(singles)):
        for _ in range(25 if wide.steps == few else 1):
            singles[wide.steps] += _one_by_one(wide)
        if wide.steps == MANY_WAITS + 2:
            together += [_together(wide) for _ in range(3)]
    whole, one = spread(together), singles[MANY_WAITS + 2]
    setting.add(
        f"{MANY_WAITS} events into one workflow run of {MANY_WAITS} waits, 64 connections: all done after",
        "",
        f"{whole} ms",
        note=f"client; {figure(MANY_WAITS / whole.median * 1000)}/s; one after the other"
        f" p50 / p99 {figure(quantile(one, 0.5))} / {figure(quantile(one, 0.99))} ms",
    )
    of_few, of_many = quantile(singles[few], 0.5), quantile(singles[many], 0.5)
    setting.add(
        f"a lonely send into a workflow run of {many:,} steps, against one of {few}, p50",
        f"<= {MOST_GROWTH} times",
        f"{figure(of_many / of_few)} times",
        of_many / of_few <= MOST_GROWTH,
        f"client; {figure(of_many)} ms against {figure(of_few)} ms",
    )


def _one_by_one(wide: Wide) -> list[float]:
    run_id, first = wide.start()
    wide.wire.milliseconds(first)
    took = [wide.wire.milliseconds(request) for request in wide.sends(run_id)]
    wide.end(run_id)
    return took


def _together(wide: Wide) -> float:
    run_id, first = wide.start()
    wide.wire.milliseconds(first)
    took = clients.all_at_once(wide.wire.port, wide.sends(run_id))
    wide.end(run_id)
    return took
