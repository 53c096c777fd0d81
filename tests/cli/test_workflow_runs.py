"""`narrows workflow-runs` against a real server: looking, following, steering, deciding."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time

from narrows.cli.exits import Exit
from narrows.client import Client
from tests.cli.conftest import COMMAND, Shell, environment, read_until, start_dev
from tests.cli.runs import found
from tests.cli.test_workflows import applied

PARALLEL = """
slug: {slug}
steps:
  - step_ref: left
    type: wait_for_event
    event_key: {slug}:left
    timeout_secs: {secs}
    on_failure: continue
  - step_ref: right
    type: wait_for_event
    event_key: {slug}:right
    timeout_secs: 600
  - step_ref: after
    type: sleep
    sleep_duration: 1h
    depends_on: [right]
"""
UNKNOWN = "0190b6c2-0000-7000-8000-000000000000"


def begun(shell: Shell, slug: str, number: int = 1) -> str:
    """A run of `tests.cli.test_workflows.WAITS`, which waits for `<slug>:<number>`."""
    run_id: str = found(shell.run("workflows", "run", slug, "--payload", json.dumps({"id": number})))["id"]
    return run_id


def statuses(shell: Shell, run_id: str) -> dict[str, str]:
    lines = shell.run("workflow-runs", "steps", run_id).stdout.splitlines()
    return {step["step_ref"]: step["status"] for step in map(json.loads, lines)}


def until(shell: Shell, run_id: str, step_ref: str, status: str) -> None:
    deadline = time.monotonic() + 30
    while statuses(shell, run_id)[step_ref] != status:
        assert time.monotonic() < deadline, statuses(shell, run_id)


# ---- looking ---------------------------------------------------------------------------------


def test_runs_are_listed_by_workflow_and_status(online: Shell) -> None:
    slug = applied(online)
    first, second = begun(online, slug, 1), begun(online, slug, 2)
    online.run("workflow-runs", "cancel", first, "--yes")
    listed = online.run("workflow-runs", "list", "--workflow", slug).stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == [second, first]
    running = online.run("workflow-runs", "list", "--workflow", slug, "--status", "running")
    assert found(running)["id"] == second
    online.run("workflows", "run", slug, "--payload", '{"id": 3}', "--tag", "a=b")
    tagged = found(online.run("workflow-runs", "list", "--workflow", slug, "--tag", "a:b"))
    assert tagged["payload"] == {"id": 3}
    assert online.run("workflow-runs", "list", "--parent", first).stdout == ""
    narrow = online.run("workflow-runs", "list", "--workflow", slug, "-o", "table", COLUMNS="80").stdout
    assert second in narrow
    assert f"{slug} v1" in narrow
    assert online.run("workflow-runs", "list", "--status", "lost").returncode == Exit.REFUSED
    assert online.run("workflow-runs", "get", UNKNOWN).returncode == Exit.NOT_FOUND
    assert online.run("workflow-runs", "graph", UNKNOWN).returncode == Exit.NOT_FOUND


def test_steps_say_what_they_wait_for_and_what_came(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    assert statuses(online, run_id) == {"wait": "waiting", "sign_off": "pending"}
    table = online.run("workflow-runs", "steps", run_id, "-o", "table").stdout
    assert f"{slug}:1" in table
    online.run("events", "send", f"{slug}:1", "--payload", '{"n": 1.50}')
    steps = online.run("workflow-runs", "steps", run_id).stdout
    assert '"output":{"n":1.50}' in steps.splitlines()[0]
    assert statuses(online, run_id) == {"wait": "completed", "sign_off": "waiting"}
    card = online.run("workflow-runs", "get", run_id, "-o", "table").stdout
    assert "running" in card


def test_the_graph_shows_states_by_signs(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    drawn = online.run("workflow-runs", "graph", run_id).stdout
    assert drawn.split()[:6] == ["(◔", "wait)", "▼", "(·", "sign_off)", "·"]
    nodes = found(online.run("workflow-runs", "graph", run_id, "-o", "json"))["nodes"]
    assert [node["status"] for node in nodes] == ["waiting", "pending"]


def test_the_timeline_is_oldest_first(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    online.run("events", "send", f"{slug}:1")
    lines = [json.loads(line) for line in online.run("workflow-runs", "timeline", run_id).stdout.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "workflow_run.created"
    assert kinds.index("step.waiting") < kinds.index("step.completed")
    assert len(found(online.run("workflow-runs", "timeline", run_id, "-o", "json"))) == len(lines)
    table = online.run("workflow-runs", "timeline", run_id, "-o", "table").stdout.splitlines()
    assert len(table) == len(lines)
    assert any("step.completed" in line and "wait" in line for line in table)


# ---- following -------------------------------------------------------------------------------


def test_watch_prints_the_timeline_in_a_pipe(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    watching = online.start("workflow-runs", "watch", run_id)
    so_far = read_until(watching.stdout, "step.waiting")
    online.run("events", "send", f"{slug}:1")
    until(online, run_id, "sign_off", "waiting")
    online.run("workflow-runs", "approve", run_id, "sign_off")
    rest, _ = watching.communicate(timeout=30)
    assert watching.returncode == 0
    lines = [json.loads(line) for line in (so_far + rest).splitlines()]
    assert [line["kind"] for line in lines][-1] == "workflow_run.completed"
    assert len({line["id"] for line in lines}) == len(lines)
    timeline = online.run("workflow-runs", "timeline", run_id).stdout.splitlines()
    assert [json.loads(line)["id"] for line in timeline] == [line["id"] for line in lines]


def test_watch_draws_the_picture_again_on_a_terminal(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [*COMMAND, "workflow-runs", "watch", run_id],
        cwd=online.folder, env=environment(**online.variables, TERM="xterm-256color"), stdin=theirs,
        stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert "(◔ wait)" in read_screen(ours, "(· sign_off)")
    online.run("events", "send", f"{slug}:1")
    assert "(✓ wait)" in read_screen(ours, "(◔ sign_off)")
    online.run("workflow-runs", "approve", run_id, "sign_off", "--approver", "ada")
    assert "completed" in read_screen(ours, "(✓ sign_off)")
    read_screen(ours, None)
    assert watching.wait(30) == 0
    os.close(ours)


def read_screen(terminal: int, wanted: str | None) -> str:
    """What a terminal was given, up to what is wanted; without a wish up to its end."""
    seen = b""
    deadline = time.monotonic() + 30
    while wanted is None or wanted not in seen.decode("utf-8", "replace"):
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, seen.decode("utf-8", "replace")
        try:
            seen += os.read(terminal, 65_536)
        except OSError:  # its other end is closed
            assert wanted is None, seen.decode("utf-8", "replace")
            break
    return seen.decode("utf-8", "replace")


def test_watch_exits_by_the_outcome_and_ctrl_c_leaves_the_run_alone(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    watching = online.start("workflow-runs", "watch", run_id)
    read_until(watching.stdout, "step.waiting")
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == Exit.INTERRUPTED
    assert f"narrows workflow-runs watch {run_id}" in err
    assert found(online.run("workflow-runs", "get", run_id))["status"] == "running"
    online.run("workflow-runs", "cancel", run_id, "--yes")
    assert online.run("workflow-runs", "watch", run_id).returncode == Exit.CANCELED


def test_watch_lives_through_a_killed_server(shell: Shell) -> None:
    running = start_dev(shell, shell.folder / "data")
    shell.variables["NARROWS_URL"] = running.url
    slug = applied(shell)
    run_id = begun(shell, slug)
    watching = shell.start("workflow-runs", "watch", run_id)
    read_until(watching.stdout, "step.waiting")
    running.process.kill()
    running.process.communicate()
    again = start_dev(shell, shell.folder / "data", int(running.url.rpartition(":")[2]))
    with Client(again.url) as client:
        client.send(f"{slug}:1")
        client.approve_step(run_id, "sign_off")
    rest, _ = watching.communicate(timeout=60)
    assert json.loads(rest.splitlines()[-1])["kind"] == "workflow_run.completed"
    assert watching.returncode == 0
    assert again.stop() == 0


# ---- steering --------------------------------------------------------------------------------


def test_cancel_asks_and_an_ended_run_is_a_conflict(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    refused = online.run("workflow-runs", "cancel", run_id)
    assert refused.returncode == Exit.USAGE
    assert "--yes" in refused.stderr
    assert "would cancel" in online.run("workflow-runs", "cancel", run_id, "--dry-run").stderr
    assert found(online.run("workflow-runs", "cancel", run_id, "--yes"))["status"] == "canceled"
    assert online.run("workflow-runs", "cancel", run_id, "--yes").returncode == Exit.CONFLICT
    assert found(online.run("events", "get", f"{slug}:1"))["status"] == "canceled"


def test_pause_holds_back_what_is_new_and_resume_starts_it(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    assert found(online.run("workflow-runs", "pause", run_id))["status"] == "paused"
    assert found(online.run("events", "send", f"{slug}:1"))["status"] == "received"
    assert statuses(online, run_id) == {"wait": "completed", "sign_off": "queued"}
    assert found(online.run("workflow-runs", "resume", run_id))["status"] == "running"
    assert statuses(online, run_id)["sign_off"] == "waiting"


def test_retry_is_a_new_run_that_keeps_what_was_completed(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    assert online.run("workflow-runs", "retry", run_id).returncode == Exit.CONFLICT
    online.run("events", "send", f"{slug}:1", "--payload", "7")
    online.run("workflow-runs", "reject", run_id, "sign_off")
    again = found(online.run("workflow-runs", "retry", run_id))
    assert (again["retry_of"], again["status"]) == (run_id, "running")
    assert statuses(online, again["id"]) == {"wait": "completed", "sign_off": "waiting"}


def test_steps_are_skipped_and_retried_while_the_run_lives(online: Shell) -> None:
    slug = applied(online, PARALLEL, secs=1)
    run_id: str = found(online.run("workflows", "run", slug))["id"]
    until(online, run_id, "left", "timed_out")
    retried = online.run("workflow-runs", "retry-step", run_id, "left")
    assert retried.returncode == 0, retried.stderr
    assert online.run("workflow-runs", "skip", run_id, "right").returncode == Exit.USAGE
    skipped = found(online.run("workflow-runs", "skip", run_id, "right", "--yes"))
    assert (skipped["step_ref"], skipped["status"]) == ("right", "skipped")
    assert online.run("workflow-runs", "skip", run_id, "right", "--yes").returncode == Exit.CONFLICT
    assert online.run("workflow-runs", "skip", run_id, "nobody", "--yes").returncode == Exit.NOT_FOUND
    online.run("workflow-runs", "cancel", run_id, "--yes")
    assert online.run("workflow-runs", "retry-step", run_id, "left").returncode == Exit.CONFLICT


def test_approvals_say_who_and_why(online: Shell) -> None:
    slug = applied(online)
    run_id = begun(online, slug)
    early = online.run("workflow-runs", "approve", run_id, "sign_off")
    assert early.returncode == Exit.CONFLICT
    online.run("events", "send", f"{slug}:1")
    decided = online.run(
        "workflow-runs", "reject", run_id, "sign_off", "--approver", "ada", "--comment", "no"
    )
    assert decided.returncode == 0, decided.stderr
    ended = found(online.run("workflow-runs", "get", run_id))
    assert ended["status"] == "failed"
    assert "rejected by ada: no" in ended["error"]
    steps = online.run("workflow-runs", "steps", run_id).stdout.splitlines()
    votes = json.loads(steps[1])["votes"]
    assert [(vote["approver"], vote["approved"], vote["comment"]) for vote in votes] == [("ada", False, "no")]
