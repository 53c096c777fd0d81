"""A second server that follows a cluster, and takes over when it is told to."""

from __future__ import annotations

import time

from tests.postgres.cluster import PATIENCE_SECS, USER, Cluster
from tests.postgres.session import Target

NAME = "standby"


class Standby(Cluster):
    """A copy of `primary` that streams its log; of the same version and settings.

    `synchronous`: the primary answers no commit before it is on the standby too, so that none is lost when this
    one takes over. While it is down, the primary's commits then wait.
    """

    def __init__(self, primary: Cluster, *, synchronous: bool = True) -> None:
        self.primary = primary
        super().__init__(primary.binaries, durable=primary.durable, tcp=not Target.of(primary.dsn()).path)
        self._wait_until("state = 'streaming'")
        if synchronous:
            primary.configure(synchronous_standby_names=f"'{NAME}'")
            self._wait_until("sync_state = 'sync'")

    def promote(self) -> None:
        """Take over; answers when it takes writes. The old primary must be gone, or there are two."""
        self.sql(f"select pg_promote(true, {PATIENCE_SECS:.0f})")

    def either(self, database: str = "postgres") -> str:
        """A dsn of both servers, by which a driver finds the one that takes writes."""
        hosts = ",".join(f"{server.host}:{server.port}" for server in (self.primary, self))
        return f"postgresql://{USER}@{hosts}/{database}?target_session_attrs=read-write"

    def _make(self) -> None:
        """The primary's data, and where to get more of it; last come our own settings, which win."""
        source = f"host={self.primary.host} port={self.primary.port} user={USER} application_name={NAME}"
        self.run(
            "pg_basebackup", "-d", source, "-D", str(self.data), "-R", "-N", "-c", "fast", "-X", "stream"
        )
        self._settings["synchronous_standby_names"] = "''"
        self._write_settings()

    def _wait_until(self, condition: str) -> None:
        """Until the primary sees it in that state."""
        until = time.monotonic() + PATIENCE_SECS
        seen = f"select 1 from pg_stat_replication where application_name = '{NAME}' and {condition}"
        while not self.primary.sql(seen):
            if time.monotonic() > until:
                raise TimeoutError(f"the standby did not get to {condition}")
            time.sleep(0.01)
