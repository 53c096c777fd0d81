"""A request goes to the very addresses that were checked, whatever name servers and proxies say."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from narrows.outgoing.caller import Caller
from narrows.outgoing.guard import Guard
from tests.outgoing.kit import GENEROUS_SECS, Names, Run, failed, post
from tests.outgoing.servers import (
    answer,
    saying,
    saying_once,
    target,
)

# ---- the address that was checked ------------------------------------------------------------


def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once(run: Run) -> None:
    """A name server that gives a public address to the check and an inner one to the connection."""

    async def story() -> None:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        mine = Caller(Guard(["127.0.0.1"], resolve=names))
        async with target(saying(answer(b"1"))) as made:
            inner = socket.create_server(("127.0.0.2", made.port))
            inner.setblocking(False)
            with inner:
                found = await mine.post(
                    made.url(host="rebinding.example"), b"", {}, timeout_secs=GENEROUS_SECS
                )
                with pytest.raises(BlockingIOError):
                    inner.accept()
        assert found.body == b"1"
        assert names.asked == 1
        assert f"host: rebinding.example:{made.port}".encode() in made.requests[0][0].lower()

    run(story())


def test_every_new_connection_is_checked_anew() -> None:
    async def story() -> None:
        names = Names(["127.0.0.1"], ["127.0.0.1", "10.0.0.1"])
        mine = Caller(Guard(["127.0.0.1"], resolve=names))
        async with target(saying_once(answer(b"1", "200 OK", "Connection: close"))) as made:
            url = made.url(host="rebinding.example")
            assert (await mine.post(url, b"", {}, timeout_secs=GENEROUS_SECS)).status == 200
            failed(await mine.post(url, b"", {}, timeout_secs=GENEROUS_SECS), "refused", "is private")
        assert made.connections == 1

    asyncio.run(story())


def test_any_inner_address_keeps_the_request_from_all_of_them() -> None:
    async def story() -> None:
        async with target(saying(answer())) as made:
            for found in (["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]):
                mine = Caller(Guard(["127.0.0.1"], resolve=Names(found)))
                said = await mine.post(made.url(host="a.example"), b"", {}, timeout_secs=GENEROUS_SECS)
                failed(said, "is private")
        assert made.connections == 0

    asyncio.run(story())


def test_the_next_address_is_tried_where_one_does_not_answer(run: Run) -> None:
    async def story() -> None:
        async with target(saying(answer(b"1"))) as made:
            with socket.create_server(("127.0.0.3", made.port), backlog=0), contextlib.ExitStack() as others:
                for _ in range(4):
                    other = others.enter_context(socket.socket())
                    other.setblocking(False)
                    other.connect_ex(("127.0.0.3", made.port))
                # The first refuses, the second hangs, the third answers.
                names = Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
                mine = Caller(Guard(allow_loopback=True, resolve=names), connect_secs=0.4)
                found = await mine.post(made.url(host="a.example"), b"", {}, timeout_secs=GENEROUS_SECS)
                await mine.close()
        assert found.body == b"1"

    run(story())


def test_this_machine_behind_a_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 127.0.0.1 were a public address of this machine: nothing is sent."""
    monkeypatch.setattr("narrows.outgoing.networks.why_not_public", lambda text: None)

    async def story() -> None:
        async with target(saying(answer())) as made:
            mine = Caller(Guard())
            failed(await mine.post(made.url(), b"", {}, timeout_secs=GENEROUS_SECS), "is this machine")
        assert made.requests == []

    asyncio.run(story())


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with target(saying(answer(b"proxy"))) as proxy, target(saying(answer(b"target"))) as made:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, proxy.url(""))
                monkeypatch.setenv(name.upper(), proxy.url(""))
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            found = await post(made)
        assert found.body == b"target"
        assert proxy.connections == 0

    asyncio.run(story())
