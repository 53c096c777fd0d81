"""`narrows verify`: every page, every promise that a query can ask about, every count anew."""

from __future__ import annotations

from pathlib import Path

import apsw

from narrows.errors import NarrowsError, StorageError
from narrows.storage import migrations, sqlite
from narrows.storage.statements import for_sqlite

#: statement -> what it means when it finds a row. Each answers (text, count).
CHECKS = {
    "verify_one_waiting_per_key": "more than one trigger, or not the newest, waits under a key",
    "verify_settled_once": "a trigger was settled more than once",
    "verify_never_early": "a trigger was timed out before its time",
    "verify_received_times": "a trigger was received before it was requested, or twice dated",
    "verify_facts_chain": "a trigger's newest fact is gone, or not of its version and state",
    "verify_payloads": "a trigger or a held event names a payload that is gone",
    "verify_payload_holders": "a payload is counted wrongly",
    "verify_projects": "a trigger belongs to a project that does not exist",
    "verify_counters": "the statistics of a project differ from its triggers",
    "verify_held": "a delivered event's trigger did not receive it",
    "verify_leftovers": "what belongs to a trigger is there without one",
    "verify_run_counters": "the counts of a job's runs differ from its runs",
    "verify_jobs": "a run is of a job, or a job of a project, that does not exist",
    "verify_deleted_jobs": "nobody cancels the live runs of a deleted job, or a message is of no such job",
    "verify_waiting_runs": "a run waits for what can no longer come",
    "verify_waits_of_runs": "a trigger waits for a run that does not wait for it",
    "verify_run_due": "a run is not due although it must be, or has no end although it has ended",
    "verify_run_roots": "a root has not ended together with its run",
    "verify_run_payloads": "a run names a payload that is gone",
    "verify_run_newest_fact": "a run's newest fact is gone, or not of its version and state",
    "verify_run_facts": "a change of a run does not follow from the one before it",
    "verify_run_changed_once": "a run went on twice from one of its versions",
    "verify_dispatches": "the dispatches of a run are not counted one by one",
    "verify_run_answers": "a dispatch goes on that was answered, or an answer is of no run",
    "verify_deliveries": "a delivery is not due although it must be, or its trigger is gone",
    "verify_notified": "a trigger shows a delivery as pending that is not there",
    "verify_workflow_run_counters": "the counts of a workflow's runs differ from its runs",
    "verify_live_workflow_runs": "the statistics of a project differ from its workflow runs",
    "verify_descendants": "more workflow runs descend from one than are counted",
    "verify_workflows": "a workflow run's version, a version's workflow or a workflow's project does not exist",
    "verify_workflow_run_roots": "a workflow run's root is not there, or has not ended together with it",
    "verify_workflow_run_states": "a workflow run has nothing to wait for, or lives on although it has ended",
    "verify_steps": "a step is not as its workflow run says",
    "verify_step_rows": "a workflow run has other steps than it says",
    "verify_running_steps": "a step waits for what does not go on",
    "verify_waiting_steps": "a step waits for what can no longer come",
    "verify_waits_of_steps": "a trigger waits for a step that does not wait for it",
    "verify_runs_of_steps": "a run goes on whose step does not wait for it",
    "verify_sub_workflows": "a sub-workflow goes on that no step waits for, or is not where it belongs",
    "verify_workflow_payloads": "a workflow run, a step or a message names a payload that is gone",
    "verify_workflow_facts": "the newest fact of a workflow run or a step is gone, or not of its version and state",
    "verify_workflow_runs_ended_once": "something happened to a workflow run after its end",
}


def verify(path: Path) -> list[str]:
    """What is wrong with the database, a sentence each; nothing is changed by looking.

    Raises StorageError where there is no database to look at.
    """
    if not path.exists():
        raise StorageError(f"There is no database {path}. Name its folder with --data.")
    try:
        connection = sqlite.connect(path, read_only=True)
    except NarrowsError as error:
        return [error.message]
    try:
        return _verify(connection)
    except apsw.Error as error:
        return [sqlite.explain(error, path).message]
    finally:
        connection.close()


def _verify(connection: apsw.Connection) -> list[str]:
    connection.execute("begin")
    applied = list(connection.execute("select number, checksum from schema_migrations"))
    if migrations.pending(applied):
        return ["The database has not been migrated to this version yet; start the server once."]
    faults = [
        f"The file is damaged: {line}."
        for (line,) in connection.execute("pragma integrity_check(20)")
        if line != "ok"
    ]
    statements = for_sqlite()
    for name in CHECKS:
        faults += [sentence_of(name, text, count) for text, count in connection.execute(statements[name])]
    return faults


def sentence_of(check: str, text: str, count: int) -> str:
    """A fault as a sentence."""
    return f"{CHECKS[check]}: {text} ({count})."
