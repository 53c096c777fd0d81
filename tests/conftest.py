"""What all tests share: coroutine tests run by themselves, hypothesis' profile, the time per suite.

Not here: fixtures of one suite; they live beside it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
from collections import Counter
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "narrows", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("narrows")


#: What takes longest begins first, so that no worker is left alone with it when all else is done.
LONGEST = (
    "examples",
    "kill",
    "cli",
    "simulation",
    "model",
    "linearizability",
    "differential",
    "streams",
    "fuzz",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(_suite(item.nodeid), len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: to look through it for garbage, now and whenever the collector does, is in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def test_...` in an event loop of its own; no plugin needed for that."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("anyio"):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


def _suite(nodeid: str) -> str:
    parts = nodeid.partition("::")[0].split("/")
    return "/".join(parts[:2])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds of each suite (a folder of tests, or a file beside them), longest first.

    With several workers the sum is a multiple of the time that passed.
    """
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    properties: set[str] = set()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[_suite(report.nodeid)] += report.duration  # type: ignore[assignment]
                tests[_suite(report.nodeid)] += report.when == "call"
                properties.update(f"{name}: {value}" for name, value in report.user_properties)
    for line in sorted(properties):
        terminalreporter.write_line(line)
    if len(seconds) < 2:
        return
    terminalreporter.section(f"time per suite ({os.cpu_count()} cores)", sep="-")
    for suite, spent in seconds.most_common():
        terminalreporter.write_line(f"{spent:8.1f} s  {tests[suite]:6d} tests  {suite}")
