"""What retention leaves of a project in which all has ended: its definitions and counts, and not one row
of what has happened in it. And a backup of such a store is the same store."""

from __future__ import annotations

from pathlib import Path

from narrows.engine.consume import ConsumeMessagesRole
from narrows.engine.held import ExpireHeldEventsRole
from narrows.engine.prune import DAY_US, PERIOD_US, PruneRole
from narrows.operations.base import DEV
from narrows.operations.purge import Purge
from narrows.storage import files, sqlite
from narrows.storage.verify import verify
from tests.storage.everything import end, fill
from tests.storage.kit import PROJECT, Bench, SqliteBackend, opened

#: What a project is, as against what happened in it.
DEFINITIONS = {
    "api_keys",
    "counters",
    "jobs",
    "marks",
    "projects",
    "run_counters",
    "schema_migrations",
    "workflow_run_counters",
    "workflow_versions",
    "workflows",
}


def _counts(path: Path) -> dict[str, int]:
    """The number of rows of every table that the schema has."""
    connection = sqlite.connect(path, read_only=True)
    tables = connection.execute(
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite%'"
    )
    counts = {name: connection.execute(f"select count(*) from {name}").get for (name,) in list(tables)}
    connection.close()
    return counts


async def _pruned(bench: Bench) -> None:
    """What the roles do in 31 days."""
    bench.clock.advance(us=31 * DAY_US)
    await ExpireHeldEventsRole(bench.service).round()
    role, now = PruneRole(bench.service, retention_days=30), bench.clock.now()
    while (await role.round() or 0) < now + PERIOD_US:
        pass


async def test_nothing_is_left_of_what_has_ended(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path)
    async with opened(backend) as bench:
        await fill(bench)
        empty = {name for name, count in _counts(backend.path).items() if count == 0}
        assert empty <= {"api_keys", "marks"}, "there is something of everything"
        consume = ConsumeMessagesRole(bench.service)
        consume.wakes(bench.commits[-1])
        await consume.round()
        await end(bench)
        assert backend.faults() == []
        await _pruned(bench)
        # What says that it went, goes the next time.
        await _pruned(bench)
        left = {name for name, count in _counts(backend.path).items() if count > 0}
        assert left <= DEFINITIONS
    assert backend.faults() == []


async def test_a_purge_leaves_no_row_of_a_settled_trigger(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path)
    async with opened(backend) as bench:
        await fill(bench)
        await end(bench)
        count = len(await bench.listed())
        bench.clock.advance(us=DAY_US)
        assert (await bench.service.purge(Purge(DEV, PROJECT, 0, False, 1))).deleted == count
        counts = _counts(backend.path)
        of_triggers = ("triggers", "trigger_tags", "callback_urls", "deliveries", "wait_groups")
        assert {name: counts[name] for name in of_triggers} == dict.fromkeys(of_triggers, 0)
    assert backend.faults() == []


async def test_a_backup_of_jobs_runs_and_deliveries_is_the_same_store(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path)
    copy = tmp_path / "copy.db"
    async with opened(backend) as bench:
        await fill(bench)
        files.backup(backend.path, copy, lambda done, pages: None)
        assert verify(copy) == []
        assert _counts(copy) == _counts(backend.path)
