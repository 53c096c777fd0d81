"""Real PostgreSQL servers for the tests: each in a temporary folder, of its own port or socket, gone with the tests.

`fresh_database()` is what most tests need: an empty database on a server that this process shares.
A `Cluster` of one's own can be crashed and started again, and has standbys that take over (`standby.py`).
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Self

from tests.postgres.binaries import Binaries, debian, wheel
from tests.postgres.guard import Guarded, give_away, identity
from tests.postgres.session import Row, Session, SqlError, Target

USER = "narrows"
PATIENCE_SECS = 30.0
#: What every server here has. The zone is an odd one, so that nothing is right by luck.
_SETTINGS = {
    "max_connections": "200",
    "timezone": "'Asia/Kathmandu'",
    "log_timezone": "'UTC'",
    "log_line_prefix": "'%m [%p] %d '",
    "shared_buffers": "'64MB'",
    "hot_standby": "on",
    "wal_receiver_timeout": "'5s'",
    "wal_retrieve_retry_interval": "'50ms'",
}
#: A crash of the server loses nothing by these, only one of the machine would.
_QUICK = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


def free_port() -> int:
    """A port of loopback that nobody listens on, below those that outgoing connections are given."""
    dice = Random(os.urandom(8))
    while True:
        port = dice.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def scratch(name: str) -> Path:
    """A new folder that servers own; its name is short, since a socket's path may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix=f"narrows-{name}-"))
    give_away(folder)
    return folder


class Cluster:
    """One server with its data.

    `durable`: as in production, with fsync; else as quick as it gets, and still safe from `crash()`.
    `tcp`: listens on loopback too, and `dsn` says so; else only on a socket in its folder.
    `link`: an address with its mask (198.18.0.1/30) at which it listens too, for whoever is on that network.
    """

    def __init__(
        self,
        binaries: Binaries | None = None,
        *,
        durable: bool = False,
        tcp: bool = False,
        link: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.binaries = binaries or debian()
        self.durable = durable
        self.folder = scratch("pg")
        self.data = self.folder / "data"
        self.port = free_port() if tcp else 5432
        self.host = "127.0.0.1" if tcp else str(self.folder)
        self._link = link
        self._settings = {**_SETTINGS, **({} if durable else _QUICK), **(settings or {})}
        self._numbers = itertools.count(1)
        self._prepared: dict[Callable[[str], None], str] = {}
        self._server: Guarded | None = None
        atexit.register(self.close)
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise

    # ---- the server ----------------------------------------------------------------------------

    def start(self) -> float:
        """Start it and wait until it takes connections; answers after how many seconds it did."""
        began = time.monotonic()
        command = [self.binaries.program("postgres"), "-D", str(self.data)]
        self._server = Guarded(self.folder, command, signal.SIGQUIT)
        while not self._ready():
            if not self._server.alive or time.monotonic() - began > PATIENCE_SECS:
                raise RuntimeError((self.folder / "log").read_text()[-4000:])
            time.sleep(0.005)
        return time.monotonic() - began

    def stop(self) -> None:
        """End it in order: open transactions are rolled back, everything is written."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it at once, with nothing written any more; `start` then recovers from the log."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """End it and remove its folder."""
        atexit.unregister(self.close)
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- databases -----------------------------------------------------------------------------

    def dsn(self, database: str = "postgres") -> str:
        return Target(self.host, self.port, USER, database).dsn

    def dsn_by_link(self, dsn: str) -> str:
        """The way to the same database by the network of `link`."""
        assert self._link is not None
        return Target.of(dsn)._replace(host=self._link.partition("/")[0], port=self.port).dsn

    def create_database(self, prepare: Callable[[str], None] | None = None) -> str:
        """A new database, empty, or as `prepare` once made one: it is called with a dsn the first time only."""
        template = self._template(prepare) if prepare else "template1"
        return self._create(template)

    def drop_database(self, dsn: str) -> None:
        """Remove it, whoever is still connected."""
        self.sql(f'drop database if exists "{Target.of(dsn).database}" with (force)')

    def sql(self, statement: str, database: str = "postgres") -> list[Row]:
        """Run it, outside of any transaction; the rows as text."""
        with Session(self.dsn(database)) as session:
            return session.run(statement)

    def configure(self, **settings: str) -> None:
        """Change settings that need no restart."""
        for name, value in settings.items():
            self.sql(f"alter system set {name} = {value}")
        self.sql("select pg_reload_conf()")

    # ---- inside --------------------------------------------------------------------------------

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        done = subprocess.run(
            [self.binaries.program(program), *arguments],
            capture_output=True, text=True, check=False, cwd=self.folder, **identity(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")

    def _make(self) -> None:
        """The data of an empty cluster. Its programs trust whoever reaches the socket."""
        self.run(
            "initdb", "-D", str(self.data), "-U", USER, "-A", "trust", "-N", "-E", "UTF8",
            *self.binaries.collation,
        )  # fmt: skip
        self._write_settings()

    def _write_settings(self) -> None:
        addresses = ["127.0.0.1"] if self.host == "127.0.0.1" else []
        if self._link is not None:
            addresses.append(self._link.partition("/")[0])
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._link} trust\n")
        settings = {
            **self._settings,
            "port": str(self.port),
            "listen_addresses": f"'{','.join(addresses)}'",
            "unix_socket_directories": f"'{self.folder}'",
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.writelines(lines)

    def _ready(self) -> bool:
        try:
            Session(self.dsn(), timeout_secs=1).close()
        except (OSError, SqlError):
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._server.end(number)
            self._server = None

    def _template(self, prepare: Callable[[str], None]) -> str:
        if prepare not in self._prepared:
            dsn = self._create("template1")
            prepare(dsn)
            self._prepared[prepare] = Target.of(dsn).database
        return self._prepared[prepare]

    def _create(self, template: str) -> str:
        """Copying files is three times as quick as logging each page, but waits for checkpoints."""
        strategy = "wal_log" if self.durable else "file_copy"
        name = f"narrows_{os.getpid()}_{next(self._numbers)}"  # a forked process counts on from here
        self.sql(f"create database {name} template {template} strategy {strategy}")
        return self.dsn(name)


@cache
def shared() -> Cluster:
    """The server of this process, started when the first test asks for it."""
    return Cluster(wheel())


def fresh_database(prepare: Callable[[str], None] | None = None) -> str:
    """The dsn of a new database on the shared server: empty, or a copy of what `prepare` made once."""
    return shared().create_database(prepare)


def drop_database(dsn: str) -> None:
    """Remove a database of the shared server."""
    shared().drop_database(dsn)
