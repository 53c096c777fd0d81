"""A pgbouncer in front of a cluster, pooling by transaction: each transaction of a client may meet another session."""

from __future__ import annotations

import atexit
import shutil
import signal
import time
from typing import Self

from tests.postgres import binaries
from tests.postgres.cluster import PATIENCE_SECS, USER, Cluster, free_port, scratch
from tests.postgres.guard import Guarded
from tests.postgres.session import Session, SqlError, Target

_CONF = """\
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listens}
unix_socket_dir =
auth_type = any
admin_users = {user}
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 1000
server_login_retry = 0.1
"""


class Pgbouncer:
    """Running while the context is entered."""

    def __init__(self, cluster: Cluster, *, pool: int = 4) -> None:
        """`pool`: how many sessions of the server all clients of a database share."""
        self.port = free_port()
        self.folder = scratch("bouncer")
        conf = self.folder / "pgbouncer.ini"
        conf.write_text(
            _CONF.format(host=cluster.host, port=cluster.port, user=USER, listens=self.port, pool=pool)
        )
        self._server = Guarded(self.folder, [binaries.pgbouncer(), str(conf)], signal.SIGKILL)
        atexit.register(self.close)
        until = time.monotonic() + PATIENCE_SECS
        while not self._ready():
            if not self._server.alive or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text()[-4000:])
            time.sleep(0.005)

    def dsn(self, database: str) -> str:
        return Target("127.0.0.1", self.port, USER, database).dsn

    def close(self) -> None:
        atexit.unregister(self.close)
        self._server.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> bool:
        """Whether its console answers, which needs no server behind it."""
        try:
            Session(self.dsn("pgbouncer"), timeout_secs=1).close()
        except (OSError, SqlError):
            return False
        return True
