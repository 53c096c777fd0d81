"""A worker's view of the API, for tests: jobs, runs that are claimed, and the calls of their dispatches."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.config import Config
from tests.api.harness import Answer, Client
from tests.storage.databases import content

#: Only who is alone takes back at its start what was dispatched before; of several nodes the others go on,
#: and what a dead one had comes back with its leases.
ALONE = pytest.mark.parametrize("config", ["sqlite"], indirect=True)


class Dispatch:
    """One handing-out of a run, and what may be asked by its token."""

    def __init__(self, client: Client, claimed: Any) -> None:
        self.client = client
        self.claimed = claimed
        self.run = claimed["run"]
        self.id: str = claimed["run"]["id"]
        self.token: str = claimed["run_token"]

    async def __call__(self, name: str, body: Any = None, *, method: str = "POST", **more: Any) -> Answer:
        path = f"/sdk/v1/runs/{self.id}/{name}"
        return await self.client(method, path, body, key=self.token, **more)

    async def get(self, name: str) -> Answer:
        return await self(name, method="GET")

    async def status(self) -> str:
        return str((await self.client("GET", f"/v1/runs/{self.id}")).json["status"])


async def make_job(client: Client, slug: str = "job", **fields: Any) -> Any:
    answer = await client("POST", "/v1/jobs", {"slug": slug, **fields})
    assert answer.status == 201, answer.body
    return answer.json


async def start(client: Client, slug: str = "job", **fields: Any) -> Any:
    answer = await client("POST", f"/v1/jobs/{slug}/trigger", fields)
    assert answer.status == 201, answer.body
    return answer.json


async def claim(client: Client, *slugs: str, **fields: Any) -> list[Dispatch]:
    body = {"jobs": slugs or ["job"], "wait_secs": 0, **fields}
    answer = await client("POST", "/v1/workers/claim", body)
    assert answer.status == 200, answer.body
    return [Dispatch(client, each) for each in answer.json["runs"]]


async def dispatched(client: Client, slug: str = "job", **fields: Any) -> Dispatch:
    """A run that has just been started and claimed; its job is made where it is missing."""
    if (await client("GET", f"/v1/jobs/{slug}")).status == 404:
        await make_job(client, slug)
    await start(client, slug, **fields)
    (one,) = await claim(client, slug)
    return one


def stored_in(config: Config) -> bytes:
    """All that the database holds."""
    if config.is_shared:
        return content(config.database)
    return b"".join(path.read_bytes() for path in config.data.rglob("*.db*"))
