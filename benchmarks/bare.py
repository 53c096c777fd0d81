"""What the machine answers at all: an application that does nothing, under uvicorn, asked as the no-op is.

The targets were set where it answered 51,000 to 55,000 requests a second. Where it answers fewer, targets in
requests a second and in milliseconds are harder by as much; ratios are not.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import load
from benchmarks.places import HOST, ROOT
from benchmarks.server import free_port

RUNS, SECS = 3, 2
START_SECS = 20
_BODY = b'{"padding":"%b"}' % (b"x" * 486)
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """500 bytes of JSON to whatever is asked."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def per_sec() -> float:
    """Requests a second with 64 connections, the median of three runs."""
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--host", HOST, "--port", str(port),
        "--http", "httptools", "--loop", "uvloop", "--lifespan", "off", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            _wait_for_answer(server, port)
            found = [load.wrk([port], "noop", "-", secs=SECS) for _ in range(RUNS)]
        finally:
            server.terminate()
    return statistics.median([float(each["requests"] / each["duration_us"] * 1e6) for each in found])


def _wait_for_answer(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECS
    while server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the bare application does not start")
