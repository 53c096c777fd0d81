"""Both event loops: the server runs on uvloop, the tools of the client on the standard one."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from tests.outgoing.kit import Run


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]
