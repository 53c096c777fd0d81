"""A node whose way to the database breaks while its clients are at it: by a proxy that closes it, and by a network
that swallows everything. They are told to come again later, streams stay open, and afterwards all goes on by itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.namespace import Namespace, NoNamespaces
from tests.postgres.proxy import Proxy
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import Elsewhere, node
from tests.storage.nodes.served import out_of_reach_and_back, served


async def test_while_connections_are_refused_clients_are_put_off_and_streams_stay_open(
    database: PostgresBackend, tmp_path: Path
) -> None:
    async with Proxy(database.url) as proxy, node(database) as other, served(tmp_path, proxy.dsn) as http:

        def cut() -> None:
            proxy.refuse()
            proxy.cut()

        await out_of_reach_and_back(http, other, cut, proxy.heal)


@pytest.mark.slow
async def test_a_node_in_a_network_that_loses_the_database_goes_on_when_that_is_back(tmp_path: Path) -> None:
    """Nothing answers, and nothing is refused: only the node's own watchdogs notice."""
    with contextlib.ExitStack() as stack:
        try:
            network = stack.enter_context(Namespace())
        except NoNamespaces as error:
            pytest.skip(f"network namespaces cannot be made here (they need root): {error}")
        cluster = stack.enter_context(Cluster(link=network.link))
        database = cluster.create_database()
        way = cluster.dsn_by_link(database)
        async with node(Elsewhere(database)) as other, served(tmp_path, way, network.command) as http:
            await out_of_reach_and_back(http, other, network.cut, network.heal)
