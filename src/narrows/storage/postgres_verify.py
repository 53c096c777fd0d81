"""What `narrows verify` asks a shared database: the same checks as of an embedded one, at one moment, beside
running nodes. Whether PostgreSQL's own files are sound, PostgreSQL says (`pg_amcheck`)."""

from __future__ import annotations

from typing import Any

from narrows.storage.line import Line
from narrows.storage.postgres_schema import check_server, pending
from narrows.storage.verify import CHECKS, sentence_of


async def verify(line: Line) -> list[str]:
    """What is wrong, a sentence each; nothing is changed by looking. Raises what the connection raises."""
    await check_server(line)
    if await pending(line):
        return ["The database has not been migrated to this version yet; run `narrows migrate`."]
    # One moment for all checks; tables are read from end to end, so the usual limits would be in the way.
    await line.run(
        "begin isolation level repeatable read read only; set local statement_timeout = 0; "
        "set local enable_seqscan = on; set local enable_hashjoin = on; set local enable_mergejoin = on"
    )
    faults: list[str] = []
    for name in CHECKS:
        rows: list[Any] = await line.guarded(
            (await line.open()).fetch(line.statements[name].sql), secs=86_400
        )
        faults += [sentence_of(name, text, count) for text, count in rows]
    await line.run("rollback")
    return faults
