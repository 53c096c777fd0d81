"""Python's collector of cycles, kept out of the way of requests.

Requests, streams and commits leave no cycles behind: reference counts free them. But each is made of
hundreds of objects, thousands of streams of hundreds of thousands, and a collection that looks through all
of these stops the server for as long: 0.2 s with 5,000 streams, and most likely while an event goes to
all of them, since that is when most objects are made. So on its own the collector looks only at what is
young, a few milliseconds at most; at the rest it looks when it is told to, now and then.

What was alive in the young collection and was left behind as a cycle after it (the traceback of a fault,
as a rule) stays in memory until then, or until so much has outlived young collections that it may be a leak.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

#: So many objects more than before begin a young collection. With Python's own 700 there would be thousands a second.
YOUNG: Final = 20_000
#: So many young collections begin one of what outlived them: beyond ten thousand streams, or a leak.
#: A twentieth as often of all.
YOUNG_COLLECTIONS: Final = 60
ALL: Final = 20
LOOK_SECS: Final = 600


def settle() -> None:
    """After the start: what is there now is there to stay, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, YOUNG_COLLECTIONS, ALL)


async def look_now_and_then() -> None:
    """For as long as the server runs."""
    while True:
        await asyncio.sleep(LOOK_SECS)
        look()


def look() -> int:
    """Free what was left behind as cycles. Returns how many objects that were."""
    survived_young_collections = gc.get_count()[1]
    return gc.collect() if survived_young_collections else 0
