"""A scripted server for each test, and both clients behind one blocking face, so that a test that is
written once holds for the two."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from narrows.client import AsyncClient, Client
from tests.client.scripted import ManualPace, ScriptedServer, serve


@pytest.fixture(scope="module")
def listening() -> Iterator[ScriptedServer]:
    with serve() as server:
        yield server


@pytest.fixture
def server(listening: ScriptedServer) -> ScriptedServer:
    listening.play()
    return listening


@pytest.fixture
def pace() -> ManualPace:
    return ManualPace()


class Face:
    """`call(name, ...)` performs a method of either client; `collect` iterates one to its end."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.kind = kind
        self.options = options

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "sync":
            with Client(**self.options) as client:
                return getattr(client, name)(*args, **kwargs)

        async def perform() -> Any:
            async with AsyncClient(**self.options) as client:
                return await getattr(client, name)(*args, **kwargs)

        return asyncio.run(perform())

    def collect(self, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        if self.kind == "sync":
            with Client(**self.options) as client:
                return list(getattr(client, name)(*args, **kwargs))

        async def iterate() -> list[Any]:
            async with AsyncClient(**self.options) as client:
                return [each async for each in getattr(client, name)(*args, **kwargs)]

        return asyncio.run(iterate())


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, server: ScriptedServer, pace: ManualPace) -> Face:
    return Face(request.param, url=server.url, api_key="secret-key", pace=pace)
