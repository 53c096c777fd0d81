"""The composition root: the one place where store, service, engine and listeners are put together,
and where they are stopped in the right order. It holds no rule."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows import collector
from narrows.api.app import create_app
from narrows.api.deliveries import body_of
from narrows.api.settings import ApiSettings
from narrows.clock import Clock, SystemClock
from narrows.config import Config, ConfigInvalid
from narrows.engine.endpoint import Endpoints
from narrows.engine.feed import Feed
from narrows.engine.loop import Engine
from narrows.engine.roles import Outgoing, all_roles
from narrows.engine.unmatched import UnmatchedBuffer
from narrows.errors import StorageError
from narrows.keyring import FILE_NAME as KEY_FILE
from narrows.keyring import Keyring, signing_secrets
from narrows.listener import Listener, is_answered, tcp_socket, unix_socket
from narrows.operations.service import Service
from narrows.option_rules import OFF
from narrows.outgoing.caller import Caller
from narrows.outgoing.guard import Guard
from narrows.storage import files
from narrows.storage import verify as checks
from narrows.storage.moving.move import Move, Moved, Report
from narrows.storage.store import Store
from narrows.storage.transaction import Limits
from narrows.wire import signatures
from narrows.wire.payloads import compact

if TYPE_CHECKING:
    from narrows.storage.connecting import Access
    from narrows.storage.postgres_store import PostgresStore

log = logging.getLogger("narrows.server")

#: A commit whose outcome only the next start can tell: the process must not go on.
EXIT_DISK = 74
#: A writer thread that needs Python's lock waits for a busy event loop at most so long. A third of it
#: hands the lock to and fro so often that a send costs more; with three times of it batches wait.
SWITCH_INTERVAL_SECS = 0.0003


@contextlib.asynccontextmanager
async def open_service(
    config: Config, clock: Clock, *, on_fatal: Callable[[str], None] = lambda reason: None, **store: Any
) -> AsyncIterator[Service]:
    """The service over the configured database, without engine or listeners.

    Raises StoreLocked where another process holds it, SchemaUnknown, StoreCorrupt, StorageError.
    """
    feed = Feed()
    opening = _shared if config.is_shared else _embedded
    async with opening(config, clock, feed, on_fatal=on_fatal, **store) as opened:
        opened.start()
        service = Service(opened, feed, opened.clock, UnmatchedBuffer())
        try:
            yield service
        finally:
            await service.close()
            await opened.close()


@contextlib.asynccontextmanager
async def _embedded(
    config: Config, clock: Clock, feed: Feed, *, on_fatal: Callable[[str], None], **store: Any
) -> AsyncIterator[Store]:
    """The one process that writes the file."""
    lock = files.DataLock(config.data)
    try:
        config.database_path.parent.mkdir(parents=True, exist_ok=True)
        files.refuse_network_file_system(config.database_path.parent)
        yield Store(
            config.database_path,
            clock,
            limits=_limits(config),
            max_queue=config.max_queue,
            cache_mib=config.cache_mib,
            on_commit=feed.publish,
            on_fatal=on_fatal,
            **store,
        )
    finally:
        lock.release()


@contextlib.asynccontextmanager
async def _shared(
    config: Config, clock: Clock, feed: Feed, *, on_fatal: Callable[[str], None], **store: Any
) -> AsyncIterator[PostgresStore]:
    """One of the nodes. What became of a commit, the database can tell; only a fault of ours is fatal."""
    from narrows.storage.postgres_store import PostgresStore  # noqa: PLC0415 - asyncpg is an extra

    opened = PostgresStore(
        access_of(config),
        clock,
        limits=_limits(config),
        max_queue=config.max_queue,
        on_commit=feed.publish,
        on_fatal=on_fatal,
        interests=feed.interests,
        **store,
    )
    await opened.open(Keyring.open(config.data, config.secret_key).fingerprints)
    yield opened


def _limits(config: Config) -> Limits:
    return Limits(config.waiting_per_project, config.held_per_key, config.held_per_project)


def access_of(config: Config) -> Access:
    """How the shared database is reached. Raises StorageError where its driver is not installed."""
    try:
        from narrows.storage.connecting import Access  # noqa: PLC0415 - see above
    except ImportError as error:
        raise StorageError("PostgreSQL needs a driver: pip install 'narrows[postgres]'.") from error
    return Access(
        config.database,
        pooled=config.database_pooler == "transaction",
        listen_url="" if config.database_listen == OFF else config.database_listen,
        writers=config.database_writers,
    )


def create_host_app(service: Service, config: Config) -> Any:
    """The API for whoever owns the machine, as the socket in the data folder serves it."""
    return create_app(service, _api_settings(config, dev=False)).as_host


def _api_settings(config: Config, *, dev: bool) -> ApiSettings:
    return ApiSettings(
        dev=dev,
        cors_origins=config.cors_origins,
        public_url=config.public_url,
        listen_url=config.base_url,
        keyring=Keyring.open(config.data, config.secret_key),
        guard=Guard(config.allow_targets, allow_loopback=dev),
        max_streams_per_project=config.streams_per_project,
    )


def _outgoing(config: Config, settings: ApiSettings, clock: Clock) -> Outgoing:
    """What the roles need that call others: dispatches and deliveries share one caller and its limits."""
    keyring = settings.keyring

    def sign(kept: str, message_id: str, now: int, body: bytes) -> Mapping[str, str]:
        return signatures.headers(signing_secrets(keyring, kept, now), message_id, now // 1_000_000, body)

    caller = Caller(settings.guard, per_host=config.dispatches_per_host, clock=clock)
    return Outgoing(
        caller=caller,
        endpoints=Endpoints(clock, caller, keyring, sign, compact),
        render=body_of,
        sign=sign,
        dispatches=config.dispatches,
        dispatches_per_host=config.dispatches_per_host,
    )


def run(
    config: Config,
    *,
    dev: bool,
    ready: Callable[[int], None] = lambda port: None,
    max_batch: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. `ready(port)` is called once requests are answered.

    `max_batch` is a switch of the benchmark: 1 makes each operation a commit of its own.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_serve(config, dev, ready, {} if max_batch is None else {"max_batch": max_batch}))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - not needed by whoever only imports this module

    return uvloop.new_event_loop()


async def _serve(config: Config, dev: bool, ready: Callable[[int], None], store: dict[str, Any]) -> None:
    stop, closing = asyncio.Event(), asyncio.Event()
    clock = SystemClock()
    with _signals(stop), tcp_socket(config.host, config.port) as tcp:
        async with open_service(config, clock, on_fatal=_die, **store) as service:
            settings = _api_settings(config, dev=dev)
            api = create_app(service, settings)
            outgoing = _outgoing(config, settings, service.clock)
            engine = Engine(service, all_roles(service, service.unmatched, config.retention_days, outgoing))
            api.engine = engine
            engine.start()
            with _host_socket(config) as local:
                pace = service.store.pace
                listeners = [Listener(api, tcp, config, pace)]
                listeners += [] if local is None else [Listener(api.as_host, local, config, pace)]
                collector.settle()
                tasks = [asyncio.create_task(listener.serve_until(closing)) for listener in listeners]
                collecting = asyncio.create_task(collector.look_now_and_then())
                try:
                    await _until(tasks, *(listener.is_ready() for listener in listeners))
                    ready(tcp.getsockname()[1])
                    await _until(tasks, stop.wait())
                    log.info("stopping: what was dispatched ends or is given back")
                    # Handlers may still call the run plane.
                    await engine.drain(config.shutdown_secs)
                finally:
                    log.info("stopping: open requests end, streams are told")
                    closing.set()
                    api.close()
                    service.feed.close()
                    collecting.cancel()
                    ended = await asyncio.gather(*tasks, return_exceptions=True)
                    await engine.stop()
                    await outgoing.caller.close()
    if failures := [end for end in ended if isinstance(end, BaseException)]:
        raise StorageError(f"A listener ended with a fault: {failures[0]!r}.") from failures[0]
    log.info("stopped")


def _host_socket(config: Config) -> contextlib.AbstractContextManager[socket.socket | None]:
    """The socket in the data folder. Of several nodes with one data folder the first has it."""
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if config.is_shared and is_answered(config.socket_path):
        return contextlib.nullcontext()
    return unix_socket(config.socket_path)


async def _until(listening: list[asyncio.Task[None]], *awaited: Coroutine[Any, Any, Any]) -> None:
    """Wait for all of `awaited`. Raises StorageError if a listener ends before: then they never come."""
    waiting = asyncio.ensure_future(asyncio.gather(*awaited))
    try:
        await asyncio.wait((waiting, *listening), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            (ended, *_) = (task for task in listening if task.done())
            fault = None if ended.cancelled() else ended.exception()
            reason = "it ended by itself" if fault is None else f"{type(fault).__name__}: {fault}"
            raise StorageError(f"The server cannot listen: {reason}. Start it again.") from fault
    finally:
        waiting.cancel()


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT stops gracefully; a second one at once, which is safe: what was
    acknowledged is on the disk."""
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _die(reason: str) -> None:
    """After a failed sync nobody can tell what is on the disk but recovery at the next start."""
    log.critical("%s", reason)
    logging.shutdown()
    os._exit(EXIT_DISK)


async def has_api_keys(config: Config) -> bool:
    """Whether the database holds an API key that is not revoked."""
    if not config.is_shared and not config.database_path.exists():
        return False
    async with open_service(config, SystemClock()) as service:
        return bool(await service.has_api_keys())


def verify(config: Config) -> list[str]:
    """What is wrong with the database, a sentence each; also beside running servers."""
    if config.is_shared:
        return asyncio.run(_verify_shared(config))
    return checks.verify(config.database_path)


async def _verify_shared(config: Config) -> list[str]:
    access_of(config)
    from narrows.storage import postgres_verify  # noqa: PLC0415 - asyncpg is an extra
    from narrows.storage.connecting import using  # noqa: PLC0415 - see above

    async with using(config.database) as line:
        return await postgres_verify.verify(line)


def migrate(config: Config, *, plan: bool) -> list[str]:
    """Bring a shared database's schema up to date, or tell by which migrations that would be done."""
    if not config.is_shared:
        raise StorageError(f"{config.database_name} is migrated by the server that opens it, at its start.")
    return asyncio.run(_migrate(config, plan))


async def _migrate(config: Config, plan: bool) -> list[str]:
    access_of(config)
    from narrows.storage import postgres_schema  # noqa: PLC0415 - asyncpg is an extra
    from narrows.storage.connecting import using  # noqa: PLC0415 - see above

    async with using(config.database) as line:
        await postgres_schema.check_server(line)
        if plan:
            return [each.described for each in await postgres_schema.pending(line)]
        return await postgres_schema.migrate(line)


def move(source: Config, target: Config, report: Report) -> Moved:
    """Copy everything from an embedded to a shared database or back, while nobody serves either."""
    if source.is_shared == target.is_shared:
        raise ConfigInvalid(
            "One of the two is SQLite and the other PostgreSQL. A copy of the same kind is made by"
            " `narrows backup`, or by pg_dump."
        )
    access_of(source if source.is_shared else target)
    return asyncio.run(_move(source, target, report))


async def _move(source: Config, target: Config, report: Report) -> Moved:
    from narrows.storage.moving import embedded, shared  # noqa: PLC0415 - asyncpg is an extra

    file, other = (target, source) if source.is_shared else (source, target)
    keys = keyring_of(file)
    kept = other.database, other.database_name, () if keys is None else keys.fingerprints
    place = file.database_path, {file.data.resolve(), file.database_path.parent.resolve()}
    if source.is_shared:
        async with shared.source(*kept) as old, embedded.target(*place, SystemClock().now()) as new:
            return await Move(old, new, report).run()
    async with embedded.source(*place) as old, shared.target(*kept) as new:
        return await Move(old, new, report).run()


def keyring_of(config: Config) -> Keyring | None:
    """The keys that are there already: nothing is made by looking."""
    if config.secret_key or (config.data / KEY_FILE).exists():
        return Keyring.open(config.data, config.secret_key)
    return None


def backup(config: Config, destination: Path, report: Callable[[int, int], None]) -> None:
    """A consistent copy of the database, also of a running server."""
    if config.is_shared:
        raise StorageError(
            "PostgreSQL makes its own backups: pg_dump --format=custom for a copy of one moment, pg_basebackup "
            "with an archive of the WAL to come back to any. See docs/several-nodes.md. Nothing was copied."
        )
    files.backup(config.database_path, destination, report)
