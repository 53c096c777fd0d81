"""Many waiters at once: a prefix send, and thousands of streams of one wait."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import prepare
from benchmarks.clients import Wire
from benchmarks.places import ROOT
from benchmarks.report import quantile
from benchmarks.server import Server
from benchmarks.setting import Setting, spread


def prefix(setting: Setting) -> None:
    """100,000 waiters under one prefix, their rows scattered among the others."""
    secs, beside = [], []
    for _ in range(setting.runs):
        server = setting.server(setting.big)
        prepare.add(server.copy, 100_000, "batch-42", scattered=True)
        with server:
            took, latencies = _beside(
                server,
                setting.keys.shuffled,
                lambda wire: wire.call("POST", "/v1/events/prefix/batch-42:/send", {"payload": 1})[
                    "resolved"
                ],
            )
            secs.append(took)
            beside.append(quantile(latencies, 0.99))
    whole, p99, most = spread(secs), spread(beside), setting.of(10, 12)
    setting.add(
        "prefix send to 100,000 waiters",
        f"<= {most} s",
        f"{whole} s",
        whole.median <= most,
        "rows scattered at random",
    )
    setting.add(
        "p99 of other sends meanwhile",
        "<= 250 ms",
        f"{p99} ms",
        p99.median <= 250,
        "client, 4 connections",
    )


def _beside(server: Server, keys: Path, ask: Callable[[Wire], int]) -> tuple[float, list[float]]:
    """How long `ask` takes, and the milliseconds of single sends while it runs."""
    latencies: list[float] = []
    over = threading.Event()

    def send_others(number: int) -> None:
        wire = Wire(server.port)
        with keys.open() as file:
            for count, key in enumerate(file):
                if over.is_set():
                    return
                if count % 4 == number:
                    began = time.perf_counter()
                    wire.call("POST", f"/v1/events/{key.strip()}/send", {"payload": count})
                    latencies.append((time.perf_counter() - began) * 1000)

    others = [threading.Thread(target=send_others, args=(number,)) for number in range(4)]
    for other in others:
        other.start()
    began = time.perf_counter()
    resolved = ask(Wire(server.port))
    took = time.perf_counter() - began
    over.set()
    for other in others:
        other.join()
    if resolved != 100_000:
        raise SystemExit(f"the prefix send resolved {resolved}")
    return took, latencies


def streams(setting: Setting) -> None:
    """5,000 streams of one wait, in a client process of their own."""
    memory, millis = [], []
    for _ in range(setting.runs):
        with setting.server(setting.small) as server:
            each, last = _stream(server, 5_000)
            memory.append(each)
            millis.append(last)
    each_kb, last_ms = spread(memory), spread(millis)
    setting.add("5,000 streams: memory per stream", "<= 20 kB; aim 16", f"{each_kb} kB", each_kb.median <= 20)
    setting.add(
        "5,000 streams: until all have a change",
        "<= 200 ms; aim 100",
        f"{last_ms} ms",
        last_ms.median <= 200,
        "client, from the send on",
    )


def _stream(server: Server, count: int) -> tuple[float, float]:
    """Kilobytes of each stream, and milliseconds until the last one has the change."""
    wire = Wire(server.port)
    wire.call("POST", "/v1/events", {"event_key": "watched", "timeout_secs": 3600})
    before = server.memory_bytes()
    command = [
        sys.executable, "-m", "benchmarks.clients", "streams", str(server.port), "watched", str(count),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        if client.stdout.readline().strip() != "open":
            raise SystemExit("the streams did not open")
        time.sleep(1)
        each = (server.memory_bytes() - before) / count / 1000
        began = time.time()
        wire.call("POST", "/v1/events/watched/send", {"payload": {"approved": True}})
        took = (float(client.stdout.readline()) - began) * 1000
        client.communicate("")
    return each, took
