"""A node of a race in a process of its own: `python -m tests.races.node DATA DATABASE`. It is asked over its
standard input, many things at once, and answers over its standard output."""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path
from typing import Any

from narrows.config import Config
from narrows.operations.service import Service
from tests.races import race

_SIZE_BYTES = 4


def write(writer: asyncio.StreamWriter, message: Any) -> None:
    data = pickle.dumps(message)
    writer.write(len(data).to_bytes(_SIZE_BYTES) + data)


async def read(reader: asyncio.StreamReader) -> Any:
    """A message; None at the end."""
    try:
        size = int.from_bytes(await reader.readexactly(_SIZE_BYTES))
        return pickle.loads(await reader.readexactly(size))
    except asyncio.IncompleteReadError:
        return None


async def serve(config: Config) -> None:
    """Answer what is asked until nobody can ask any more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    async with race.engaged(config) as service, asyncio.TaskGroup() as tasks:
        write(writer, "ready")
        while (asked := await read(reader)) is not None:
            tasks.create_task(_answer(service, writer, *asked))


async def _answer(
    service: Service, writer: asyncio.StreamWriter, number: int, name: str, arguments: tuple[Any, ...]
) -> None:
    write(writer, (number, await getattr(race, name)(service, *arguments)))


if __name__ == "__main__":
    asyncio.run(serve(Config(data=Path(sys.argv[1]), database=sys.argv[2])))
