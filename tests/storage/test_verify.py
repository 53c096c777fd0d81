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
        "update workflow_runs set payload_id = null",
        "update steps set output_id = null",
        "update messages set payload_id = null",
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
        """insert into messages (project_id, id, kind, subject_id, hops, created_at)
        values ('default', 'm', 'cancel_runs_of_job', 'no-such-job', 0, 1)""",
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
        "update roots set ended_at = 1 where ended_at is null and kind = 'run'",
        "update roots set ended_at = 1 where ended_at is null and kind = 'workflow_run'",
        "update roots set ended_at = null where kind = 'run'",
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
    "verify_workflow_run_counters": (
        "update workflow_run_counters set paused = paused + 1",
        "delete from workflow_run_counters",
        "delete from workflow_runs where status = 'completed'",
    ),
    "verify_live_workflow_runs": (
        "update counters set workflow_runs = workflow_runs + 1",
        "delete from counters",
    ),
    "verify_descendants": ("update roots set descendants = 0",),
    "verify_workflows": (
        "delete from workflow_versions where version = 1",
        "delete from workflow_versions where version = 2",
        "delete from workflows where slug = 'flow'",
        "delete from projects",
        "update workflows set version = version + 1 where slug = 'w'",
        "update workflow_runs set workflow_version = 3 where status = 'paused'",
    ),
    "verify_workflow_run_roots": (
        "update roots set ended_at = 1 where ended_at is null and kind = 'workflow_run'",
        "update roots set ended_at = null where kind = 'workflow_run'",
        "update roots set kind = 'run'",
        "update roots set kind = 'workflow_run'",
        "delete from roots where kind = 'workflow_run' and ended_at is null",
        "delete from workflow_runs where status = 'paused'",
    ),
    "verify_workflow_run_states": (
        "update workflow_runs set finished_at = null where status = 'completed'",
        "update workflow_runs set finished_at = 1 where status = 'running'",
        "update workflow_runs set due_at = 1 where status = 'canceled'",
        *(
            f"update workflow_runs set steps = replace(steps, 'x', '{letter}') where status = 'canceled'"
            for letter in "pqrwd"
        ),
        # Nothing of it goes on, and nothing will ever make it.
        """update workflow_runs set steps = replace(replace(replace(steps, 'r', 'q'), 'w', 'q'), 'd', 'q')
        where status = 'running'""",
        """update workflow_runs set steps = replace(replace(steps, 'r', 'c'), 'w', 'c')
        where status = 'paused'""",
    ),
    "verify_steps": (
        *(
            f"update steps set status = 'skipped', finished_at = 1 where status = '{status}'"
            for status in ("running", "waiting", "delayed", "completed", "canceled")
        ),
        "update steps set status = 'queued' where status = 'running'",
        "update steps set step = -1 where step = 5",
        "update steps set step = 8 where step = 5",
        "update steps set id = 'other' where status = 'running'",
        "update steps set finished_at = 1 where status = 'waiting'",
        "update steps set finished_at = null where status = 'completed'",
        "delete from workflow_runs where status = 'completed'",
    ),
    "verify_step_rows": (
        *(
            f"delete from steps where status = '{status}'"
            for status in ("running", "waiting", "delayed", "completed")
        ),
        "update workflow_runs set steps = replace(steps, 'p', 's')",
    ),
    "verify_running_steps": (
        "update steps set run_id = 'other' where status = 'running' and run_id is not null",
        "update steps set child_run_id = 'other' where status = 'running' and child_run_id is not null",
        "update runs set finished_at = 1 where workflow_run_id is not null",
        "update runs set workflow_step_run_id = 'other'",
        "delete from messages where kind = 'start_workflow_run'",
        "update workflow_runs set finished_at = 1 where parent_run_id is not null",
        "update workflow_runs set parent_step = 0 where parent_run_id is not null",
        "update workflow_runs set parent_run_id = 'other' where parent_run_id is not null",
    ),
    "verify_waiting_steps": (
        "update steps set wait_group_id = null where status = 'delayed'",
        "update steps set wait_group_id = null where status = 'waiting'",
        "update wait_groups set workflow_run_id = 'other'",
        "update triggers set workflow_step_run_id = 'other'",
        "update triggers set status = 'received', settled_at = 1, received_at = 1 where event_key = 'living:1'",
        "update triggers set status = 'canceled', settled_at = 1 where event_key like 'retry:%'",
        "update wait_groups set needed = 3 where workflow_run_id is not null",
        """update triggers set status = 'received', settled_at = 1, received_at = 1
        where event_key in ('living:1', 'living:2');
        update wait_groups set distinct_by = '[]' where mode = 'any'""",
    ),
    "verify_waits_of_steps": (
        "update workflow_runs set status = 'failed', finished_at = 1 where status = 'paused'",
        "update steps set status = 'canceled', finished_at = 1 where status = 'waiting'",
        "update steps set wait_group_id = 'other' where status = 'delayed'",
        "update triggers set workflow_step_run_id = null where trigger_type = 'sleep'",
        "update triggers set root_id = 'other' where trigger_type = 'approval'",
    ),
    "verify_runs_of_steps": (
        "update workflow_runs set status = 'failed', finished_at = 1 where status = 'paused'",
        "update steps set status = 'delayed' where status = 'running'",
        "update steps set run_id = 'other' where status = 'running'",
        "update runs set root_id = id where workflow_run_id is not null",
        "update runs set workflow_step_run_id = null where workflow_run_id is not null",
    ),
    "verify_sub_workflows": (
        "update workflow_runs set depth = 1 where status = 'paused'",
        "update workflow_runs set depth = 2 where depth = 1",
        "update workflow_runs set parent_step = null where depth = 1 and finished_at is not null",
        "update workflow_runs set top_run_id = null where depth = 1 and finished_at is not null",
        "update workflow_runs set top_run_id = 'other' where depth = 1 and finished_at is not null",
        "update workflow_runs set parent_step = 8 where depth = 1 and finished_at is not null",
        "update steps set status = 'canceled', finished_at = 1 where status = 'running'",
        "update steps set child_run_id = 'other' where status = 'running'",
        "delete from steps where step_ref = 'sub'",
    ),
    "verify_workflow_payloads": (
        "delete from payloads where id in (select payload_id from workflow_runs)",
        "delete from payloads where id in (select output_id from steps)",
        "update messages set payload_id = 'gone' where payload_id is not null",
    ),
    "verify_workflow_facts": (
        "update workflow_runs set version = version + 1 where status = 'paused'",
        "update facts set root_id = 'other' where kind = 'workflow_run.completed'",
        "delete from facts where kind = 'workflow_run.completed'",
        "update workflow_runs set status = 'failed' where status = 'canceled'",
        "update facts set subject_id = 'other' where kind = 'step.started'",
        "update facts set root_id = 'other' where kind = 'step.canceled'",
        "update steps set status = 'failed' where status = 'canceled'",
        "delete from facts where kind = 'step.canceled'",
    ),
    "verify_workflow_runs_ended_once": (
        _copied("workflow_run.canceled"),
        """update facts set kind = 'workflow_run.completed' where kind = 'workflow_run.created'
        and subject_id in (select id from workflow_runs where status = 'paused')""",
    ),
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
