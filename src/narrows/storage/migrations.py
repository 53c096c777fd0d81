"""Numbered migrations with checksums, applied at start. A database that a newer Narrows wrote, or
whose applied migrations are not ours, is refused with a sentence that says what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from narrows.errors import SchemaUnknown

#: A table of whoever moves a store, there until all of it has been copied (`moving/`).
MOVING = "moving"
#: The first line of a migration that an older version can go on beside.
ADDITIVE = "-- additive"


class Migration(NamedTuple):
    number: int
    name: str
    sql: str
    checksum: str  # SHA-256 of the file, hex

    @property
    def described(self) -> str:
        """Its number and name, and whether nodes of the version before can go on beside it."""
        kind = "additive: older nodes go on" if self.is_additive else "stop older nodes first"
        return f"{self.number:04} {self.name} ({kind})"

    @property
    def is_additive(self) -> bool:
        return self.number == 1 or self.sql.startswith(ADDITIVE)


@cache
def all_migrations() -> tuple[Migration, ...]:
    """The migrations of this version, in order. Raises ValueError where a number is missing."""
    return read_all(files("narrows.storage").joinpath("migrations"))


def read_all(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations of a folder, in order. Raises ValueError where a number is missing."""
    found = []
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            text = file.read_text(encoding="utf-8")
            found.append(Migration(int(number), name, text, hashlib.sha256(text.encode()).hexdigest()))
    found.sort()
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations are numbered 1, 2, 3, ... without a gap")
    return tuple(found)


def half_moved() -> SchemaUnknown:
    """Why a database in which that table stands is not served."""
    return SchemaUnknown(
        "A move into this database has not ended. Run the same `narrows move` again: it goes on where it was."
    )


def latest() -> int:
    """The schema version that this Narrows writes."""
    return all_migrations()[-1].number


def pending(
    applied: Iterable[tuple[int, str]], known: Sequence[Migration] | None = None
) -> tuple[Migration, ...]:
    """What is still to be applied to a database that holds `applied` (number, checksum).

    Raises SchemaUnknown if it holds a migration that this version does not know or knows otherwise.
    """
    known = all_migrations() if known is None else known
    done = dict(applied)
    newest = max(done, default=0)
    if newest > len(known):
        raise SchemaUnknown(
            f"The database has schema version {newest}, this Narrows knows up to {len(known)}. "
            "Install the newer Narrows that wrote it, or go back to a backup from before the upgrade."
        )
    for migration in known[:newest]:
        if done.get(migration.number) != migration.checksum:
            raise SchemaUnknown(
                f"Migration {migration.number:04} of the database is not the one of this Narrows. "
                "Use the version that made the database, or restore a backup."
            )
    return tuple(known[newest:])
