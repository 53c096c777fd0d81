"""The PostgreSQL server of the benchmark: one that stays between runs with the databases prepared in it, and runs
only while the benchmark does. Its settings are those that a user gives a server of this size."""

from __future__ import annotations

import atexit
import os
from functools import cache
from pathlib import Path

from benchmarks.places import WORK
from tests.postgres.binaries import debian
from tests.postgres.cluster import Cluster
from tests.postgres.guard import give_away

FOLDER = WORK / "postgres"
#: What differs from PostgreSQL's defaults, and is said so in the results. Durable: fsync, full pages, and
#: autovacuum are on.
SETTINGS = {
    "shared_buffers": "'1GB'",
    "max_wal_size": "'4GB'",
    "autovacuum": "on",
    "timezone": "'UTC'",
}
_TICKS = os.sysconf("SC_CLK_TCK")


class Kept(Cluster):
    """A server whose data stay where they are when it ends."""

    def _make(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        give_away(FOLDER)
        self.data = FOLDER / "data"
        if not (self.data / "PG_VERSION").exists():
            super()._make()
            return
        (self.data / "postgresql.auto.conf").write_text("")
        self._write_settings()

    def cpu_secs(self) -> float:
        """User and system time so far of all its processes, those included that have ended."""
        main = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return sum(_cpu_secs(int(child)) for child in children) + _cpu_secs(main, also_ended=True)

    @property
    def version(self) -> str:
        return str(self.sql("show server_version")[0][0])


def _cpu_secs(process: int, *, also_ended: bool = False) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return 0.0
    return sum(map(int, fields[11 : 15 if also_ended else 13])) / _TICKS


@cache
def cluster() -> Kept:
    """The running server, started when the first asks for it, stopped in order at the end."""
    found = Kept(debian(), durable=True, tcp=True, settings=SETTINGS)
    atexit.register(found.stop)
    return found
