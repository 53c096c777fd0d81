"""Opening connections to PostgreSQL: how the database is reached, and what a connection is set to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import asyncpg

from narrows.errors import StorageError
from narrows.storage.line import SESSION, Line
from narrows.storage.postgres_errors import NO_CONNECTION, sentence

CONNECT_SECS: Final = 5.0
#: Of a session, or where a pooler lends it, of each transaction. What is a statement by itself reads committed too,
#: whatever the server's default. Statements are lookups by key, whatever
#: the statistics say; planned once, they would stay as they were planned for an empty table.
SETTINGS: Final = {
    "statement_timeout": "10000",
    "lock_timeout": "8000",
    "idle_in_transaction_session_timeout": "10000",
    "default_transaction_isolation": "read committed",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
SET_LOCAL: Final = "".join(f"set local {name} = '{value}'; " for name, value in SETTINGS.items())


class Access(NamedTuple):
    """How the database is reached. `pooled`: a pooler lends a server connection per transaction, so that
    prepared statements do not survive; also found out. `listen_url`: where to listen for the hints of
    other nodes, None for the same place, "" for nowhere."""

    url: str
    pooled: bool = False
    listen_url: str | None = None
    writers: int = 1
    readers: int = 4


@contextlib.asynccontextmanager
async def using(url: str) -> AsyncIterator[Line]:
    """A connection for one command. Raises StorageError where the database cannot be used."""
    line = Line(lambda: open_connection(url, pooled=False))
    try:
        yield line
    except NO_CONNECTION as error:
        raise StorageError(f"The database cannot be used: {sentence(error)}.") from error
    finally:
        await line.close()


async def open_connection(url: str, *, pooled: bool, name: str = SESSION) -> Any:
    """One connection. Sums of integers are integers here."""
    connection = await asyncpg.connect(
        url,
        timeout=CONNECT_SECS,
        statement_cache_size=0 if pooled else 1_000,
        max_cached_statement_lifetime=0,
        server_settings=None if pooled else {"application_name": name, **SETTINGS},
    )
    if getattr(connection.get_settings(), "in_hot_standby", "off") == "on":
        connection.terminate()
        raise OSError("the server is a standby, which takes no changes")
    # The driver asks the server about the type, which for a pooler has to be one transaction.
    async with prepared(connection), connection.transaction():
        await connection.set_type_codec(
            "numeric", schema="pg_catalog", encoder=str, decoder=int, format="text"
        )
    return connection


@contextlib.asynccontextmanager
async def prepared(connection: Any) -> AsyncIterator[None]:
    """Whoever is cut off while he prepares a connection leaves none behind. A half-open one would never
    answer, and the driver bounds only the login."""
    try:
        async with asyncio.timeout(CONNECT_SECS):
            yield
    except BaseException:
        connection.terminate()
        await asyncio.sleep(0)  # the transport closes in a turn of the loop
        raise
