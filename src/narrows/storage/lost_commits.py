"""Finding out whether a commit on PostgreSQL took place whose answer never came."""

from __future__ import annotations

import asyncio
from typing import Final

from narrows.storage.backend import BackendFailure
from narrows.storage.line import Line

#: How long that may take.
RESOLVE_SECS: Final = 25.0


async def find_out(line: Line, batch: str, now: int, lost: BackendFailure) -> None:
    """Return if the batch with this id was committed. Raises BackendFailure where it was not and never can be
    (`retry`), or where nobody knows (`unknown`).

    To insert the same id waits for the end of that transaction, if it goes on; where the id is there already, it was
    committed, else it never can be any more. The answer to this may be lost as well, so that what is inserted here
    says so, by a time below zero; and it is a commit in any case, behind the one in question on a standby too.
    """
    statement = line.statements["resolve_batch"].sql
    clock = asyncio.get_running_loop().time
    until = clock() + RESOLVE_SECS
    pause_secs = 0.05
    while (left_secs := until - clock()) > 0:
        try:
            async with asyncio.timeout(left_secs):
                ((at,),) = await line.fetch(statement, batch, -now)
        except Exception:  # noqa: BLE001 - whatever it is: ask again, until the time is over
            line.drop()
            await asyncio.sleep(min(pause_secs, left_secs))
            pause_secs = min(2 * pause_secs, 1.0)
        else:
            if at > 0:
                return
            raise BackendFailure(str(lost), retry=True) from lost
    raise BackendFailure("the answer to a commit never came", unknown=True) from lost
