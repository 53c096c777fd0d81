"""The schema of a shared database: what the server must be, and migrations, by one node at a time.

Additive migrations come first, so that nodes of the version before go on working while one of the new
version migrates. A migration says in its first line whether it is (`-- additive`); over others an older
node refuses to start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import asyncpg

from narrows.errors import SchemaUnknown, StorageError
from narrows.storage.line import Line
from narrows.storage.migrations import MOVING, Migration, half_moved, read_all
from narrows.storage.postgres_errors import sentence

log = logging.getLogger("narrows.storage")

OLDEST_SERVER: Final = 140_000
LONGEST_SECS: Final = 86_400.0
#: The advisory lock of whoever migrates.
MIGRATING: Final = 7021806481350104694
_TABLE: Final = (
    "create table if not exists schema_migrations (number bigint primary key, name text not null,"
    " checksum text not null, additive boolean not null, applied_at bigint not null)"
)


@cache
def all_migrations() -> tuple[Migration, ...]:
    """Those of this version, in order."""
    return read_all(files("narrows.storage").joinpath("migrations", "postgres"))


async def check_server(line: Line) -> None:
    """Raise StorageError where the server cannot keep waits."""
    ((version, encoding, is_standby),) = await line.fetch(
        "select current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery()"
    )
    if version < OLDEST_SERVER:
        raise StorageError(f"PostgreSQL {version // 10_000} is too old. Use version 14 or newer.")
    if encoding != "UTF8":
        raise StorageError(f"The database's encoding is {encoding}. Create one with encoding UTF8.")
    if is_standby:
        raise StorageError("This server is a standby, which takes no changes. Name the primary.")


async def pending(line: Line) -> tuple[Migration, ...]:
    """What is still to be applied. Raises SchemaUnknown for a schema that is not ours, or newer and not
    made so that this version can go on with it."""
    ((has_table,),) = await line.fetch("select to_regclass('schema_migrations') is not null")
    if not has_table:
        ((foreign,),) = await line.fetch("select to_regclass('triggers') is not null")
        if foreign:
            raise SchemaUnknown("The database has tables of another program. Name an empty one.")
        return all_migrations()
    applied = await line.fetch("select number, checksum, additive from schema_migrations order by number")
    known = all_migrations()
    for number, checksum, additive in applied:
        if number > len(known):
            if not additive:
                raise SchemaUnknown(
                    f"The database has schema version {number}, this Narrows knows up to {len(known)}. "
                    "Install the newer Narrows on this node too."
                )
        elif known[number - 1].checksum != checksum:
            raise SchemaUnknown(
                f"Migration {number:04} of the database is not the one of this Narrows. "
                "Use the version that made the database, or restore a backup."
            )
    return known[len(applied) :]


async def migrate(line: Line) -> list[str]:
    """Bring the schema up to date, all of it or nothing, while other nodes that would do so wait; answers the
    names of those applied. Raises StorageError where the role may not, SchemaUnknown as `pending` does."""
    if not await pending(line):
        return []
    try:
        return await _migrate(line)
    except asyncpg.InsufficientPrivilegeError as error:
        raise StorageError(
            f"This role may not migrate the database: {sentence(error)}. Run `narrows migrate` as the role that "
            "owns it and its tables; then start again."
        ) from error


async def _migrate(line: Line) -> list[str]:
    done = []
    # A migration of large tables takes its time, and so does waiting for one.
    no_hurry = "set local statement_timeout = 0; set local lock_timeout = 0"
    async with line.transaction(
        f"begin; {no_hurry}; select pg_advisory_xact_lock({MIGRATING})", LONGEST_SECS
    ):
        await line.run(_TABLE)
        for migration in await pending(line):
            log.info("migrating the database: %04d %s", migration.number, migration.name)
            await line.run(migration.sql, LONGEST_SECS)
            await line.fetch(
                "insert into schema_migrations values ($1, $2, $3, $4,"
                " cast(extract(epoch from clock_timestamp()) * 1000000 as bigint))",
                migration.number,
                migration.name,
                migration.checksum,
                migration.is_additive,
            )
            done.append(migration.name)
    return done


async def is_half_moved(line: Line) -> bool:
    """Whether a move into this database has begun and not ended."""
    ((found,),) = await line.fetch("select to_regclass($1) is not null", MOVING)
    return bool(found)


async def refuse_half_moved(line: Line) -> None:
    """Raise SchemaUnknown for a database that is not all there yet."""
    if await is_half_moved(line):
        raise half_moved()


async def agree_on_keys(line: Line, fingerprints: Sequence[str]) -> None:
    """Let nodes in that share a secret key with those before: others could neither read their secrets nor
    take their tokens. Raises StorageError for one that shares none."""
    known = {row[0] for row in await line.fetch(line.statements["installed"].sql, "secret key")}
    if fingerprints and known and not known.intersection(fingerprints):
        raise StorageError(
            "This node's secret key is not the one of the other nodes. Give all of them the same"
            " NARROWS_SECRET_KEY (a new key goes in front of the old one), or the same secret.key file."
        )
    for each in fingerprints:
        await line.fetch(line.statements["install"].sql, "secret key", each)
