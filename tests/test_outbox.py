"""How replies go out: together at the end of a turn, each in one piece, none lost by the fault of another."""

from __future__ import annotations

import asyncio
import logging

import pytest

from narrows.outbox import MAX_IN_OUTBOX, MAX_KEPT_BYTES, Gathering, Outbox


class Wire:
    """What uvloop's transport is to the listener."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.written: list[bytes] = []
        self.ended = ""
        self.is_lost = False
        self._is_broken = is_broken

    def is_closing(self) -> bool:
        return self.is_lost or bool(self.ended)

    def write(self, data: bytes) -> None:
        if self._is_broken:
            raise RuntimeError("broken")
        self.written.append(data)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"
        if self._is_broken:
            raise RuntimeError("broken as well")

    def get_extra_info(self, name: str) -> None:
        return None


async def test_what_is_written_in_a_turn_goes_out_after_it_each_connection_in_one_piece() -> None:
    outbox, wires = Outbox(), [Wire() for _ in range(3)]
    for wire in wires:
        connection = Gathering(wire, outbox)
        connection.write(b"head ")
        connection.write(b"body")
    assert [wire.written for wire in wires] == [[], [], []]
    await asyncio.sleep(0)
    assert [wire.written for wire in wires] == [[b"head body"]] * 3


async def test_a_connection_is_written_again_in_the_next_turn() -> None:
    wire = Wire()
    connection = Gathering(wire, Outbox())
    for number in range(3):
        connection.write(b"%d" % number)
        await asyncio.sleep(0)
    assert wire.written == [b"0", b"1", b"2"]


async def test_many_do_not_wait_for_the_end_of_a_long_turn() -> None:
    outbox, wires = Outbox(), [Wire() for _ in range(MAX_IN_OUTBOX + 1)]
    for wire in wires:
        Gathering(wire, outbox).write(b"reply")
    assert [len(wire.written) for wire in wires] == [1] * MAX_IN_OUTBOX + [0]
    await asyncio.sleep(0)
    assert wires[-1].written == [b"reply"]


async def test_much_is_not_kept() -> None:
    wire = Wire()
    connection = Gathering(wire, Outbox())
    connection.write(b"head")
    connection.write(b"x" * MAX_KEPT_BYTES)
    connection.write(b"tail")
    assert [len(each) for each in wire.written] == [MAX_KEPT_BYTES + 4]
    await asyncio.sleep(0)
    assert wire.written[1:] == [b"tail"]


async def test_a_close_sends_what_is_kept_and_an_abort_forgets_it() -> None:
    outbox, closed, aborted = Outbox(), Wire(), Wire()
    for wire, end in ((closed, "close"), (aborted, "abort")):
        connection = Gathering(wire, outbox)
        connection.write(b"reply")
        getattr(connection, end)()
    await asyncio.sleep(0)
    assert (closed.written, closed.ended) == ([b"reply"], "closed")
    assert (aborted.written, aborted.ended) == ([], "aborted")


async def test_a_fault_of_one_connection_loses_no_other_reply(caplog: pytest.LogCaptureFixture) -> None:
    outbox, broken, sound = Outbox(), Wire(is_broken=True), Wire()
    with caplog.at_level(logging.ERROR):
        for wire in (broken, sound):
            Gathering(wire, outbox).write(b"reply")
        await asyncio.sleep(0)
        assert sound.written == [b"reply"]
        await asyncio.sleep(0)
    assert broken.ended == "aborted"
    assert "could not be written" in caplog.text


async def test_what_is_kept_for_a_connection_that_was_lost_is_dropped() -> None:
    outbox, lost, sound = Outbox(), Wire(is_broken=True), Wire()
    connections = [Gathering(wire, outbox) for wire in (lost, sound)]
    for connection in connections:
        connection.write(b"reply")
    lost.is_lost = True
    await asyncio.sleep(0)
    connections[1].write(b"another")
    await asyncio.sleep(0)
    assert (lost.ended, sound.written) == ("", [b"reply", b"another"])
