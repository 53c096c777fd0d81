"""Load from wrk: one call is one run, and says what wrk itself, the server and the database cost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.places import HOST
from benchmarks.server import Server

SCRIPT = Path(__file__).with_name("load.lua")


class Load(NamedTuple):
    """What one run of wrk saw. CPU figures are shares of one core."""

    per_sec: float
    requests: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    load_cpu: float
    server_cpu: float
    database_cpu: float


class Part(NamedTuple):
    """A part of a keys file: lines `first` to `first + lines`."""

    path: Path
    first: int
    lines: int


def run(
    server: Server, api_key: str, mode: str, *, secs: int, connections: int = 64, keys: Part | None = None
) -> Load:
    """Run wrk, with as many connections to each node. Raises SystemExit where a single reply was not 2xx: such
    a figure means nothing."""
    before = _cpu_secs(server)
    result = wrk(server.ports, mode, api_key, secs=secs, connections=connections, keys=keys)
    duration_secs = result["duration_us"] / 1e6
    used = [(now - then) / duration_secs for now, then in zip(_cpu_secs(server), before, strict=True)]
    return Load(
        per_sec=result["requests"] / duration_secs,
        requests=result["requests"],
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
        max_ms=result["max_us"] / 1000,
        load_cpu=used[0],
        server_cpu=used[1],
        database_cpu=used[2],
    )


def wrk(
    ports: Sequence[int],
    mode: str,
    api_key: str,
    *,
    secs: int,
    connections: int = 64,
    keys: Part | None = None,
) -> dict[str, Any]:
    """What the script reports. Raises SystemExit where a single reply was not 2xx."""
    where = [str(keys.path), str(keys.first), str(keys.lines)] if keys else ["-", "0", "0"]
    command = [
        "wrk", f"-t{len(ports)}", f"-c{connections}", f"-d{secs}s", "--timeout", "20s", "-s", str(SCRIPT),
        f"http://{HOST}:{ports[0]}", "--", mode, api_key, *where, str(len(ports)),
    ]  # fmt: skip
    # LC_ALL: wrk's numbers with a point. The key file is read before the clock of wrk starts.
    environment = {**os.environ, "LC_ALL": "C", "PORTS": " ".join(map(str, ports))}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    result: dict[str, Any] = json.loads(out.partition("RESULT ")[2])
    if result["refused"] or result["broken"] or not result["requests"]:
        raise SystemExit(
            f"{mode}: not every request was answered with 2xx (where --rows are few, the keys have run out: 200000 are enough): {result}\n{out}"
        )
    return result


def _cpu_secs(server: Server) -> tuple[float, float, float]:
    """Of wrk, of all nodes, of the database's server."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, server.cpu_secs(), server.copy.cpu_secs()
