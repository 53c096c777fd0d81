"""Connections are kept for the next request where that is safe, and only so many go to one host."""

from __future__ import annotations

import asyncio

import pytest

from narrows.outgoing.caller import Caller
from tests.outgoing.kit import GENEROUS_SECS, Run, caller, failed
from tests.outgoing.servers import (
    Reader,
    Target,
    Writer,
    answer,
    saying,
    saying_once,
    silent,
    target,
)

# ---- connections that are kept ---------------------------------------------------------------


def test_a_connection_is_used_again(run: Run) -> None:
    async def story() -> None:
        mine = caller()
        async with target(saying(answer(b"1"), answer(b"2", "404 X"), answer(b"3"))) as made:
            bodies = [
                (await mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS)).body for _ in range(3)
            ]
            assert (bodies, made.connections) == ([b"1", b"2", b"3"], 1)
            await mine.close()
            await made.gone.wait()

    run(story())


def test_a_connection_that_was_closed_meanwhile_is_not_used_again(run: Run) -> None:
    async def story() -> None:
        mine = caller()
        async with target(saying_once(answer(b"1"))) as made:
            for number in (1, 2):
                found = await mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS)
                assert found.body == b"1"
                assert made.connections == number
                await made.gone.wait()
                while not _has_noticed(mine):
                    await asyncio.sleep(0)

    run(story())


def _has_noticed(mine: Caller) -> bool:
    return all(line.connection.has_expired() for lines in mine._idle.values() for line in lines)


def test_bytes_that_nobody_asked_for_answer_no_later_request(run: Run) -> None:
    """A second answer behind the first must not become the answer to somebody else's request."""

    async def story() -> None:
        mine = caller()
        async with target(saying(answer(b"1") + answer(b"planted"), answer(b"2"))) as made:
            first = await mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS)
            second = await mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS)
            await mine.close()
        assert first.body == b"1"
        assert second.body != b"planted"
        assert made.connections == 2

    run(story())


def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narrows.outgoing.caller.KEEP_SECS", 0.01)

    async def story() -> None:
        mine = caller()
        async with target(saying(answer())) as made:
            await mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS)
            await made.gone.wait()
        assert mine._idle == {}

    asyncio.run(story())


def test_who_gives_up_leaves_no_connection_and_no_turn_taken(run: Run) -> None:
    async def story() -> None:
        mine = caller(per_host=1)
        async with target(silent) as made:
            task = asyncio.ensure_future(mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS))
            while not made.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await made.gone.wait()
            assert mine.room(made.url()) == 1
            assert (mine._idle, mine._hosts) == ({}, {})

    run(story())


# ---- how many at once ------------------------------------------------------------------------


def test_only_so_many_requests_go_to_one_host_at_once() -> None:
    async def story() -> None:
        go = asyncio.Event()
        most = 0

        async def counting(made: Target, reader: Reader, writer: Writer) -> None:
            nonlocal most
            while True:
                await made.request(reader)
                most = max(most, made.open)
                await go.wait()
                await made.send(writer, answer())

        mine = caller(per_host=2)
        async with target(counting) as made, target(saying(answer()), host="127.0.0.2") as other:
            calls = [
                asyncio.ensure_future(mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS))
                for _ in range(7)
            ]
            while len(made.requests) < 2:
                await asyncio.sleep(0)
            assert mine.room(made.url()) <= 0
            # Another host is not held up by it.
            assert (
                await mine.post(other.url(host="127.0.0.2"), b"", {}, timeout_secs=GENEROUS_SECS)
            ).status == 200
            assert len(made.requests) == 2
            go.set()
            assert [found.status for found in await asyncio.gather(*calls)] == [200] * 7
            assert mine.room(made.url()) == 2
            await mine.close()
        assert most == 2
        assert mine._hosts == {}

    asyncio.run(story())


def test_waiting_for_a_turn_counts_towards_the_time() -> None:
    async def story() -> None:
        mine = caller(per_host=1)
        async with target(silent) as made:
            first = asyncio.ensure_future(mine.post(made.url(), b"", {}, timeout_secs=0.3))
            while not made.requests:
                await asyncio.sleep(0)
            failed(await mine.post(made.url(), b"", {}, timeout_secs=0.05), "within 0.05 s")
            assert made.connections == 1
            await first

    asyncio.run(story())


def test_room_of_a_url_that_is_none_is_no_error() -> None:
    assert caller(per_host=3).room("nonsense") == 3
