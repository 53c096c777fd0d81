"""`narrows verify`: every page, every promise that a query can ask about, every count anew."""

from __future__ import annotations

from pathlib import Path

import apsw

from narrows.errors import NarrowsError, StorageError
from narrows.storage import migrations, sqlite
from narrows.storage.statements import all_statements

#: statement -> what it means when it finds a row. Each answers (text, count).
CHECKS = {
    "verify_one_waiting_per_key": "more than one trigger, or not the newest, waits under a key",
    "verify_settled_once": "a trigger has no fact, or more than one, that settled it",
    "verify_never_early": "a trigger was timed out before its time",
    "verify_received_times": "a trigger was received before it was requested, or twice dated",
    "verify_facts_chain": "a trigger's newest fact is not of its version",
    "verify_payloads": "a trigger names a payload that is gone",
    "verify_payload_holders": "a payload is counted wrongly",
    "verify_projects": "a trigger belongs to a project that does not exist",
    "verify_counters": "the statistics of a project differ from its triggers",
    "verify_held": "a delivered event's trigger did not receive it",
}


def verify(path: Path) -> list[str]:
    """What is wrong with the database, a sentence each; nothing is changed by looking.

    Raises StorageError where there is no database to look at.
    """
    if not path.exists():
        raise StorageError(f"There is no database {path}. Name its folder with --data.")
    try:
        connection = sqlite.connect(path, read_only=True)
    except NarrowsError as error:
        return [error.message]
    try:
        return _verify(connection)
    except apsw.Error as error:
        return [sqlite.explain(error, path).message]
    finally:
        connection.close()


def _verify(connection: apsw.Connection) -> list[str]:
    connection.execute("begin")
    applied = list(connection.execute("select number, checksum from schema_migrations"))
    if migrations.pending(applied):
        return ["The database has not been migrated to this version yet; start the server once."]
    faults = [
        f"The file is damaged: {line}."
        for (line,) in connection.execute("pragma integrity_check(20)")
        if line != "ok"
    ]
    statements = all_statements()
    for name, meaning in CHECKS.items():
        for text, count in connection.execute(statements[name]):
            faults.append(f"{meaning}: {text} ({count}).")
    return faults
