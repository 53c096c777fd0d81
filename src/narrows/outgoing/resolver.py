"""Names to addresses by the system's resolver, on threads of our own: the event loop's few threads are
not to be held up by names whose servers never answer. Not here: what the addresses are used for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Final

#: A name and a port to all its addresses, in the order in which they should be tried. Raises OSError.
Resolve = Callable[[str, int], Awaitable[list[str]]]

#: Threads that may wait for the name system at once. Who asks for the same name shares one.
_MAX_THREADS: Final = 32


class SystemResolver:
    """`getaddrinfo`, each time anew: nothing is kept, so that a changed name is followed at once."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], asyncio.Future[list[str]]] = {}
        self._free = asyncio.Semaphore(_MAX_THREADS)

    async def __call__(self, host: str, port: int) -> list[str]:
        if (host, port) not in self._asked:
            await self._free.acquire()
            if (host, port) in self._asked:  # another was faster
                self._free.release()
        asked = self._asked.get((host, port)) or self._ask(host, port)
        # One who gives up waiting does not take the answer from the others.
        return await asyncio.shield(asked)

    def _ask(self, host: str, port: int) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[str]] = loop.create_future()
        self._asked[host, port] = asked

        def done(found: list[str] | Exception) -> None:
            self._free.release()
            self._asked.pop((host, port), None)
            if isinstance(found, Exception):
                asked.set_exception(found)
                asked.exception()  # whoever asked may have gone
            else:
                asked.set_result(found)

        def run() -> None:
            try:
                found: list[str] | Exception = _look_up(host, port)
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done, found)

        try:
            # A daemon: a name server that never answers must not hold up the end of the process.
            threading.Thread(target=run, name="narrows-resolve", daemon=True).start()
        except RuntimeError as error:
            done(OSError(f"no thread could be started: {error}"))
        return asked


def _look_up(host: str, port: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))
