"""`narrows runs` and `narrows deliveries` against a real server, with an endpoint where a run is to be
executed."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator

from narrows.cli.exits import Exit
from narrows.client import Client, RunClient
from tests.cli.conftest import Server, Shell, read_until, start_dev
from tests.cli.runs import first_run, found, make_job, start_run, until_status


def test_runs_are_listed_by_job_and_status(online: Shell) -> None:
    slug = make_job(online)
    first, second = start_run(online, slug), start_run(online, slug, "--tag", "a=b")
    online.run("runs", "cancel", first, "--yes")
    listed = [json.loads(line) for line in online.run("runs", "list", "--job", slug).stdout.splitlines()]
    assert [run["id"] for run in listed] == [second, first]
    queued = online.run("runs", "list", "--job", slug, "--status", "queued").stdout.splitlines()
    assert [json.loads(line)["id"] for line in queued] == [second]
    tagged = online.run("runs", "list", "--tag", "a:b", "--job", slug, "-o", "json")
    assert [run["id"] for run in json.loads(tagged.stdout)] == [second]
    narrow = online.run("runs", "list", "--job", slug, "-o", "table", COLUMNS="80").stdout
    assert second in narrow
    assert online.run("runs", "list", "--status", "lost").returncode == Exit.REFUSED
    assert online.run("runs", "get", "0190b6c2-0000-7000-8000-000000000000").returncode == Exit.NOT_FOUND


def test_cancel_asks_and_an_ended_run_is_a_conflict(online: Shell) -> None:
    run_id = start_run(online, make_job(online))
    refused = online.run("runs", "cancel", run_id)
    assert refused.returncode == Exit.USAGE
    assert "--yes" in refused.stderr
    assert "would cancel" in online.run("runs", "cancel", run_id, "--dry-run").stderr
    assert found(online.run("runs", "get", run_id))["status"] == "queued"
    assert online.run("runs", "cancel", run_id, "--yes").returncode == 0
    assert online.run("runs", "cancel", run_id, "--yes").returncode == Exit.CONFLICT


def test_replay_is_a_new_run_of_an_ended_one(online: Shell) -> None:
    run_id = start_run(online, make_job(online), "--payload", "[1]")
    assert online.run("runs", "replay", run_id).returncode == Exit.CONFLICT
    online.run("runs", "cancel", run_id, "--yes")
    replayed = found(online.run("runs", "replay", run_id))
    assert (replayed["replay_of"], replayed["payload"], replayed["status"]) == (run_id, [1], "queued")


def test_watch_follows_the_timeline_to_its_end(online: Shell, endpoint: str) -> None:
    slug = make_job(online, "--endpoint-url", endpoint)
    payload = json.dumps({"wait": f"watch:{slug}", "answer": "7"})
    run_id = start_run(online, slug, "--payload", payload)
    until_status(online, run_id, "waiting")
    watching = online.start("runs", "watch", run_id)
    so_far = read_until(watching.stdout, "run.waiting")
    online.run("events", "send", f"watch:{slug}")
    rest, _ = watching.communicate(timeout=30)
    assert watching.returncode == 0
    kinds = [json.loads(line)["kind"] for line in (so_far + rest).splitlines()]
    assert kinds == [
        "run.created",
        "run.dispatched",
        "run.waiting",
        "run.resumed",
        "run.dispatched",
        "run.completed",
    ]
    table = online.run("runs", "watch", run_id, "-o", "table").stdout
    assert len(table.splitlines()) == len(kinds)
    assert online.run("runs", "watch", run_id, "--result").stdout == "7\n"


def test_watch_lives_through_a_killed_server(shell: Shell) -> None:
    running = start_dev(shell, shell.folder / "data")
    shell.variables["NARROWS_URL"] = running.url
    slug = make_job(shell)
    run_id = start_run(shell, slug)
    watching = shell.start("runs", "watch", run_id)
    read_until(watching.stdout, "run.created")
    running.process.kill()
    running.process.communicate()
    again = start_dev(shell, shell.folder / "data", int(running.url.rpartition(":")[2]))
    with Client(again.url) as client:
        (claimed,) = client.claim_runs([slug]).runs
        RunClient(client, run_id=run_id, run_token=claimed.run_token).complete()
    rest, _ = watching.communicate(timeout=60)
    assert [json.loads(line)["kind"] for line in rest.splitlines()] == ["run.dispatched", "run.completed"]
    assert watching.returncode == 0
    assert again.stop() == 0


def test_ctrl_c_of_watch_leaves_the_run_alone(online: Shell) -> None:
    run_id = start_run(online, make_job(online))
    watching = online.start("runs", "watch", run_id)
    read_until(watching.stdout, "run.created")
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == Exit.INTERRUPTED
    assert f"narrows runs watch {run_id}" in err
    assert found(online.run("runs", "get", run_id))["status"] == "queued"


def test_logs_are_what_the_run_logged_oldest_first(online: Shell, endpoint: str) -> None:
    slug = make_job(online, "--endpoint-url", endpoint)
    lines = [f"line {number}" for number in range(120)]
    payload = json.dumps({"log": [*lines, "a\x1b[31mb"]})
    done = online.run("jobs", "trigger", slug, "--wait", "--payload", payload)
    assert done.returncode == 0, done.stderr
    run_id = json.loads(online.run("runs", "list", "--job", slug).stdout)["id"]
    logged = [json.loads(line) for line in online.run("runs", "logs", run_id).stdout.splitlines()]
    assert [line["detail"]["message"] for line in logged[:-1]] == lines
    last = online.run("runs", "logs", run_id, "--tail", "1", "-o", "table").stdout
    assert len(last.splitlines()) == 1
    assert "warning" in last
    assert "\x1b" not in last
    assert len(json.loads(online.run("runs", "logs", run_id, "--tail", "2", "-o", "json").stdout)) == 2
    assert online.run("runs", "logs", run_id, "--follow", "--tail", "2").returncode == Exit.USAGE


def test_logs_follow_until_the_run_ends(online: Shell, endpoint: str) -> None:
    slug = make_job(online, "--endpoint-url", endpoint)
    payload = json.dumps({"log": ["there"], "wait": f"logs:{slug}"})
    following = online.start("runs", "logs", start_run(online, slug, "--payload", payload), "--follow")
    assert "there" in read_until(following.stdout, "there")
    until_status(online, first_run(online, slug), "waiting")
    online.run("events", "send", f"logs:{slug}")
    rest, _ = following.communicate(timeout=30)
    # Its second dispatch logs it again.
    assert [json.loads(line)["detail"]["message"] for line in rest.splitlines()] == ["there"]
    assert following.returncode == 0


def test_deliveries_are_listed_and_retried(online: Shell, server: Server) -> None:
    assert online.run("deliveries", "list", "--status", "lost").returncode == Exit.REFUSED
    unknown = "0190b6c2-0000-7000-8000-000000000000"
    assert online.run("deliveries", "retry", unknown).returncode == Exit.NOT_FOUND
    with socket_that_refuses() as url, Client(server.url) as client:
        trigger = client.open("delivered:1", notify_url=url)
        listed = found(online.run("deliveries", "list", "--trigger", trigger.id))
        assert (listed["type"], listed["url"]) == ("trigger.opened", url)
        assert found(online.run("deliveries", "retry", listed["id"]))["id"] == listed["id"]
        assert "trigger.opened" in online.run("deliveries", "list", "-o", "table").stdout


@contextlib.contextmanager
def socket_that_refuses() -> Iterator[str]:
    """An address that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
