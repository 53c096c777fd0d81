"""What a node hears of the others: while nobody listens a poll finds everything, a connection that listened and
was dropped is opened again, and a transaction that somebody holds open delays nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from narrows.storage import news
from narrows.storage.news import Interests
from tests.postgres.proxy import Proxy
from tests.postgres.session import Session
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import end_sessions, node, sql, until

#: What whoever watches on a node was told: (trigger id, status).
_seen: WeakKeyDictionary[Bench, set[tuple[str, str]]] = WeakKeyDictionary()


def _watch(bench: Bench, *ids: str) -> None:
    """As an open stream does."""
    bench.store._news._interests = lambda: Interests(dict.fromkeys(ids, "default"), frozenset())
    if bench not in _seen:
        seen = _seen[bench] = set()
        bench.feed.subscribe(
            lambda committed: seen.update((each.id, each.status) for each in committed.triggers)
        )


def _heard(bench: Bench, trigger_id: str) -> bool:
    return (trigger_id, "received") in _seen[bench]


@asynccontextmanager
async def two_nodes(database: PostgresBackend, **access: Any) -> AsyncIterator[tuple[Bench, Bench]]:
    """Two that know of one another."""
    async with node(database, **access) as one, node(database, **access) as other:
        await until(lambda: one.store.members.has_others and other.store.members.has_others)
        yield one, other


def _listeners(database: PostgresBackend) -> list[str | None]:
    return [row[0] for row in sql(database, "select pid from pg_stat_activity where query ilike 'listen%'")]


async def test_a_listener_that_was_dropped_is_opened_again(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed when it happens, not when a sign of life is due."""
    monkeypatch.setattr(news, "SIGN_OF_LIFE_SECS", 3600)
    async with two_nodes(database) as (one, other):
        await until(lambda: one.store._news.is_listening and other.store._news.is_listening)
        for number in range(3):
            trigger = await one.open(f"k{number}", 0)
            _watch(other, trigger.id)
            assert end_sessions(database, "query ilike 'listen%'") == 2
            await one.send(f"k{number}", "1")
            await until(lambda each=trigger.id: _heard(other, each))  # type: ignore[misc]
            await until(lambda: len(_listeners(database)) == 2)
            await until(lambda: other.store._news.is_listening)


async def test_a_listener_that_is_half_open_shows_no_sign_of_life(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "SIGN_OF_LIFE_SECS", 0.2)
    async with (
        Proxy(database.url) as proxy,
        node(database) as one,
        node(database, listen_url=proxy.dsn) as other,
    ):
        await until(lambda: one.store.members.has_others and other.store._news.is_listening)
        trigger = await one.open("a", 0)
        _watch(other, trigger.id)
        proxy.half_open()
        await one.send("a", "1")
        await until(lambda: _heard(other, trigger.id))
        assert not other.store._news.is_listening
        proxy.heal()
        await until(lambda: other.store._news.is_listening)


async def test_while_a_connection_that_listens_is_sought_a_poll_goes_on(database: PostgresBackend) -> None:
    """The way to where one may listen never answers; that takes seconds to find out each time."""
    async with Proxy(database.url) as proxy, node(database) as one:
        proxy.half_open()
        async with node(database, listen_url=proxy.dsn) as other:
            await until(lambda: proxy.connections)
            for number in range(3):
                trigger = await one.open(f"k{number}", 0)
                _watch(other, trigger.id)
                await one.send(f"k{number}", "1")
                await until(lambda each=trigger.id: _heard(other, each))  # type: ignore[misc]
            assert proxy.connections == 1  # it is still the first attempt


async def test_where_nobody_listens_a_poll_finds_it(database: PostgresBackend) -> None:
    async with two_nodes(database, listen_url="") as (one, other):
        trigger = await one.open("a", 0)
        _watch(other, trigger.id)
        await one.send("a", "1")
        await until(lambda: _heard(other, trigger.id))
        assert _listeners(database) == []


async def test_a_transaction_that_somebody_holds_open_delays_nothing(database: PostgresBackend) -> None:
    """With a snapshot from before, and locks on rows that nobody here needs: all is done while it is open."""
    sql(database, "create table unrelated (number int primary key); insert into unrelated values (1)")
    async with two_nodes(database) as (one, other):
        await until(lambda: other.store._news.is_listening)
        with Session(database.url) as held:
            held.run("begin isolation level repeatable read; select count(*) from triggers")
            held.run("select * from unrelated for update; select pg_current_xact_id()")
            for number in range(20):
                trigger = await one.open(f"k{number}", 0)
                _watch(other, trigger.id)
                assert (await other.send(f"k{number}", "1")).status == 200
                fresh = await one.open(f"again{number}", 0)
                _watch(other, fresh.id)
                await one.send(f"again{number}", "1")
                await until(lambda each=fresh.id: _heard(other, each))  # type: ignore[misc]
            held.run("rollback")
    sql(database, "drop table unrelated")
