"""`narrows verify` finds every fault that it looks for: each is planted into a sound store, in which it
finds nothing."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from narrows.storage import sqlite
from narrows.storage.verify import CHECKS, verify
from tests.storage.everything import fill
from tests.storage.kit import SqliteBackend, opened


def _copied(kind: str) -> str:
    """A statement that says once more what facts of a kind say."""
    return (
        "insert into facts"
        " select project_id, 'copy', kind, subject_id, root_id, previous_id, actor, version, at, detail"
        f" from facts where kind = '{kind}' limit 1"
    )


#: check -> statements, each of which plants the fault alone.
FAULTS: dict[str, tuple[str, ...]] = {
    "verify_one_waiting_per_key": (
        "update triggers set status = 'waiting', settled_at = null where event_key = 'twice' and ordinal = 1",
    ),
    "verify_settled_once": (_copied("trigger.received"),),
    "verify_never_early": ("update triggers set expires_at = settled_at + 1 where status = 'timed_out'",),
    "verify_received_times": ("update triggers set received_at = received_at + 1 where status = 'received'",),
    "verify_facts_chain": (
        "update triggers set version = version + 1 where status = 'received'",
        "update triggers set status = 'waiting' where status = 'received'",
        "delete from facts where kind = 'trigger.received'",
    ),
    "verify_payloads": (
        "delete from payloads where id in (select request_payload_id from triggers)",
        "delete from payloads where id in (select response_payload_id from triggers)",
        "delete from payloads where id in (select expected_schema_id from triggers)",
        "delete from payloads where id in (select payload_id from held_events)",
    ),
    "verify_payload_holders": (
        "update payloads set holders = holders + 1",
        "update triggers set request_payload_id = null",
        "update triggers set response_payload_id = null",
        "update triggers set expected_schema_id = null",
        "update held_events set payload_id = null",
        "update runs set payload_id = null",
        "update runs set result_id = null",
        "update runs set state_id = null",
    ),
    "verify_projects": ("delete from projects",),
    "verify_counters": ("update counters set received = received + 1",),
    "verify_held": (
        """update held_events set trigger_id = (select id from triggers where status = 'waiting')
        where status = 'delivered'""",
    ),
    "verify_leftovers": (
        "delete from triggers where tags is not null",
        "delete from triggers where id in (select trigger_id from callback_urls)",
        "delete from triggers where wait_group_id is not null",
    ),
    "verify_run_counters": (
        "update run_counters set waiting = waiting + 1",
        "delete from run_counters",
        "delete from runs where status = 'queued'",
    ),
    "verify_jobs": ("delete from jobs where slug = 'build'", "delete from projects"),
    "verify_deleted_jobs": (
        "update jobs set deleted_at = 1 where slug = 'build'",
        "insert into messages values ('default', 'm', 'cancel_runs_of_job', 'no-such-job', null, 0, 1)",
    ),
    "verify_waiting_runs": (
        "update runs set wait_group_id = null where status = 'waiting'",
        "delete from wait_groups",
        "update triggers set status = 'received', settled_at = 1, received_at = 1 where event_key = 'wait:1'",
        "update triggers set status = 'canceled', settled_at = 1 where event_key like 'wait:%'",
        "update wait_groups set needed = 3",
    ),
    "verify_waits_of_runs": (
        "update runs set status = 'canceled', finished_at = 1 where status = 'waiting'",
        "update runs set wait_group_id = 'other' where status = 'waiting'",
    ),
    "verify_run_due": (
        "update runs set due_at = null where status = 'executing'",
        "update runs set due_at = null where status = 'delayed'",
        "update runs set due_at = 1 where status = 'queued'",
        "update runs set finished_at = null where status = 'completed'",
        "update runs set holder = null where status = 'executing'",
    ),
    "verify_run_roots": (
        "update roots set ended_at = 1 where ended_at is null",
        "update roots set ended_at = null",
        "delete from roots",
    ),
    "verify_run_payloads": (
        "delete from payloads where id in (select payload_id from runs)",
        "delete from payloads where id in (select result_id from runs)",
        "update runs set state_id = 'gone'",
    ),
    "verify_run_newest_fact": (
        "update runs set version = version + 1 where status = 'waiting'",
        "delete from facts where kind = 'run.completed'",
        "update runs set status = 'queued' where status = 'waiting'",
        """update runs set last_fact_id = (select last_fact_id from runs where status = 'waiting')
        where status = 'completed'""",
    ),
    "verify_run_facts": (
        # What was set down ends, and is resumed all the same.
        "update facts set kind = 'run.completed' where kind = 'run.waiting'",
        "update facts set kind = 'run.waiting' where kind = 'run.dispatched'",
        "update facts set version = version + 1 where kind = 'run.resumed'",
    ),
    "verify_run_changed_once": (_copied("run.resumed"),),
    "verify_dispatches": (
        "update runs set dispatch = dispatch + 1 where status = 'executing'",
        "update runs set attempt = 4 where status = 'queued'",
        "update runs set dispatched_at = 1 where status = 'queued'",
        "update facts set detail = '{\"dispatch\":1}' where kind = 'run.dispatched'",
    ),
    "verify_run_answers": (
        """insert into run_answers select project_id, id, dispatch, 'complete', 'h', '1', 1
        from runs where status = 'executing'""",
        "update run_answers set dispatch = dispatch + 5",
        "delete from runs where status = 'completed'",
    ),
    "verify_deliveries": (
        "update deliveries set due_at = null",
        "update deliveries set finished_at = 1",
        "delete from triggers where notify_url is not null",
    ),
    "verify_notified": ("delete from deliveries",),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which there is something of everything, and nothing wrong."""
    backend = SqliteBackend(tmp_path_factory.mktemp("sound"))
    asyncio.run(_filled(backend))
    assert verify(backend.path) == []
    return backend.path


async def _filled(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await fill(bench)


def test_every_check_has_a_planted_fault() -> None:
    assert list(FAULTS) == list(CHECKS)


@pytest.mark.parametrize(
    ("check", "planting"), [(check, planting) for check, many in FAULTS.items() for planting in many]
)
def test_a_planted_fault_is_found(sound: Path, tmp_path: Path, check: str, planting: str) -> None:
    path = tmp_path / "narrows.db"
    shutil.copy(sound, path)
    connection = sqlite.connect(path)
    connection.execute("pragma ignore_check_constraints = 1")
    connection.execute(planting)
    assert connection.changes() > 0
    connection.close()
    assert [fault for fault in verify(path) if fault.startswith(f"{CHECKS[check]}: ")] != []
