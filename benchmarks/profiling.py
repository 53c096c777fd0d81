"""Where the time of a send goes: a py-spy profile of the server at 64 connections, as a table.

Each sample is put to the innermost frame that belongs to a part. What a thread does not do in the
samples is waiting: for the disk, for the network, or for Python's lock.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.places import WORK
from benchmarks.server import Server

RATE = 200
#: (pattern over "function (file:line)", part); the first that fits the innermost frame wins.
PARTS: tuple[tuple[str, str], ...] = (
    (r"\bcommit .*storage/sqlite", "storage: SQLite commit (write and sync of the WAL)"),
    (r"\bwrite .*storage/sqlite", "storage: SQLite statements that write"),
    (r"\b(load|rows|_as_one_text) .*storage/sqlite", "storage: SQLite statements that read"),
    (r"\bbegin .*storage/sqlite", "storage: SQLite begin"),
    (r"asyncpg/", "driver of PostgreSQL (asyncpg)"),
    (r"storage/(postgres|line|locks|together)", "storage: PostgreSQL begin, locks, statements, commit"),
    (r"storage/(hints|news|member)", "storage: what nodes tell each other"),
    (r"storage/checkpoint", "storage: checkpoint"),
    (
        r"storage/(transaction|writer|store|front|lookups|loaded|statements|statistics|following)",
        "storage: batch, transaction",
    ),
    (r"narrows/(core|operations)/", "core and operations"),
    (r"narrows/engine/", "engine: feed, roles"),
    (r"api/(auth|keys)", "authentication"),
    (r"api/(routing|origins)", "routing"),
    (r"(api/(bodies|render|replies)|narrows/wire/)", "JSON and payload checks"),
    (r"(api/observe|/logging/|narrows/cli/log)", "access log, metrics"),
    (r"narrows/api/", "API: call, reply, request id"),
    (r"(uvicorn/|httptools)", "HTTP parsing and writing (uvicorn, httptools)"),
    (r"(asyncio/|uvloop)", "event loop, sockets (uvloop)"),
    (r"(concurrent/futures|threading\.py)", "threads: wake-ups"),
)
#: A thread that waits for work or for another: the profiler cannot tell a short sleep from work.
IDLE = re.compile(r"^(Condition\.wait|_worker|Event\.wait|Thread\._wait_for_tstate_lock) ")


def profile(server: Server, secs: int) -> subprocess.Popen[str]:
    """Start recording; the caller makes the load meanwhile."""
    recorder = Path(sys.executable).with_name("py-spy")
    return subprocess.Popen(
        [
            recorder, "record", "--pid", str(server.nodes[0].process.pid), "--duration", str(secs), "--rate", str(RATE),
            "--format", "raw", "--threads", "--full-filenames", "--output", WORK / "profile.txt",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def part_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for pattern, part in PARTS:
            if re.search(pattern, frame):
                return part
    return "other"


def table(secs: int, place: str) -> list[str]:
    """The lines of the table, from the recording."""
    parts: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    hot: Counter[str] = Counter()
    for sample in (WORK / "profile.txt").read_text().splitlines():
        stack, _, count = sample.rpartition(" ")
        frames = stack.split(";")
        if IDLE.search(frames[-1]):
            continue
        threads[_thread(frames[0])] += int(count)
        parts[part_of(frames[1:])] += int(count)
        hot[_short(frames[-1])] += int(count)
    whole = sum(parts.values())
    if not whole:
        return ["No profile: py-spy may not look into the server's process here (it needs ptrace)."]
    wall = RATE * secs
    lines = [
        f"### Profile of the send path, {place}, 64 connections, random keys",
        "",
        f"`py-spy record --rate {RATE}` over {secs} s; shares of the samples in which a thread was at work.",
        "",
        "| part | share |",
        "| --- | --- |",
        *(f"| {part} | {count / whole:.1%} |" for part, count in parts.most_common()),
        "",
        "| thread | at work, of the time that passed | waiting |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {min(1.0, count / wall):.0%} | {max(0.0, 1 - count / wall):.0%} |"
            for name, count in threads.most_common(5)
        ),
        "",
        "| function (innermost) | share |",
        "| --- | --- |",
        *(f"| `{name}` | {count / whole:.1%} |" for name, count in hot.most_common(20)),
    ]
    return [*lines, ""]


def _thread(frame: str) -> str:
    found = re.search(r"(MainThread|narrows-[a-z]+|[\w-]+)\)?$|thread \((.*)\)", frame)
    return (re.sub(r"^thread \(0x\w+\):? ?", "", frame) or "thread").strip('"') if found else frame


def _short(frame: str) -> str:
    return re.sub(r"\(.*/((?:[^/]+/)?[^/]+)\)$", r"(\1)", frame)
