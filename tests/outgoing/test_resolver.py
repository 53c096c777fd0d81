"""Names are asked for on threads of our own: a name server that never answers holds up only those who
asked for its names."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from narrows.outgoing import resolver
from narrows.outgoing.resolver import SystemResolver


class Slow:
    """A system whose name servers are slow for names that begin with `slow`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.go.wait(20)
        if host.endswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ["127.0.0.1"]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(resolver, "_look_up", slow)
    return slow


def test_who_asks_for_the_same_name_at_once_shares_the_answer_and_who_asks_later_asks_anew(
    system: Slow,
) -> None:
    async def story() -> None:
        resolve = SystemResolver()
        asked = [asyncio.ensure_future(resolve("slow.example", 80)) for _ in range(5)]
        while not system.asked:
            await asyncio.sleep(0)
        asked[0].cancel()  # who gives up does not take it from the others
        system.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [["127.0.0.1"]] * 4
        assert system.asked == ["slow.example"]
        await resolve("slow.example", 80)
        assert len(system.asked) == 2

    asyncio.run(story())


def test_slow_names_do_not_hold_up_others(system: Slow) -> None:
    async def story() -> None:
        resolve = SystemResolver()
        slow = [asyncio.ensure_future(resolve(f"slow{n}.example", 80)) for n in range(20)]
        assert await resolve("fast.example", 80) == ["127.0.0.1"]
        system.go.set()
        await asyncio.gather(*slow)

    asyncio.run(story())


def test_only_so_many_threads_wait_at_once(system: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        resolve = SystemResolver()
        asked = [asyncio.ensure_future(resolve(f"slow{n}.example", 80)) for n in range(50)]
        while len(system.asked) < 32:
            await asyncio.sleep(0)
        named = [thread for thread in threading.enumerate() if thread.name == "narrows-resolve"]
        assert len(named) == 32
        assert all(thread.daemon for thread in named)
        system.go.set()
        assert await asyncio.gather(*asked) == [["127.0.0.1"]] * 50

    asyncio.run(story())


def test_who_waits_for_a_thread_shares_too(system: Slow) -> None:
    async def story() -> None:
        resolve = SystemResolver()
        slow = [asyncio.ensure_future(resolve(f"slow{n}.example", 80)) for n in range(32)]
        same = [asyncio.ensure_future(resolve("same.example", 80)) for _ in range(10)]
        while len(system.asked) < 32:
            await asyncio.sleep(0)
        system.go.set()
        await asyncio.gather(*slow, *same)
        assert resolve._asked == {}
        assert resolve._free._value == 32

    asyncio.run(story())


def test_an_unknown_name_is_an_error_for_all_who_asked(system: Slow) -> None:
    async def story() -> None:
        resolve = SystemResolver()
        found = await asyncio.gather(*(resolve("unknown", 80) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, socket.gaierror) for each in found)

    asyncio.run(story())


def test_an_answer_after_the_end_of_the_loop_is_no_error(system: Slow) -> None:
    async def story() -> None:
        asked = asyncio.ensure_future(SystemResolver()("slow.example", 80))
        while not system.asked:
            await asyncio.sleep(0)
        asked.cancel()

    asyncio.run(story())
    system.go.set()
    for thread in threading.enumerate():
        if thread.name == "narrows-resolve":
            thread.join(20)


def test_the_system_knows_localhost() -> None:
    assert set(asyncio.run(SystemResolver()("localhost", 80))) <= {"127.0.0.1", "::1"}
