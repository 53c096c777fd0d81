"""`narrows jobs`: defining work, and starting it; with `--wait` the exit code is the outcome and stdout
the result."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from narrows.cli.exits import Exit
from narrows.client import Client, RunClient
from tests.cli.conftest import Shell, start_dev
from tests.cli.runs import first_run, found, make_job, new_slug, start_run, until_status


def test_the_secret_stands_alone_on_stdout_of_a_pipe_and_is_shown_once(online: Shell) -> None:
    slug = new_slug()
    made = online.run("jobs", "create", slug)
    assert made.stdout.startswith("whsec_")
    assert len(made.stdout.splitlines()) == 1
    assert "only time" in made.stderr
    assert "signing_secret" not in found(online.run("jobs", "get", slug))
    rotated = online.run("jobs", "rotate-secret", slug, "--overlap", "2h")
    assert rotated.stdout.startswith("whsec_")
    assert rotated.stdout != made.stdout
    again = found(online.run("jobs", "rotate-secret", slug, "-o", "json"))
    assert again["signing_secret"].startswith("whsec_")
    assert again["old_until"]


def test_with_o_json_the_job_comes_with_its_secret(online: Shell) -> None:
    made = found(online.run("jobs", "create", new_slug(), "-o", "json", "--tag", "team=ops"))
    assert made["signing_secret"].startswith("whsec_")
    assert made["tags"] == {"team": "ops"}
    table = online.run("jobs", "create", new_slug(), "-o", "table").stdout
    assert "whsec_" in table
    assert "slug" in table


def test_a_job_is_changed_by_what_is_named(online: Shell) -> None:
    slug = make_job(
        online, "--name", "First", "--max-concurrency", "2", "--timeout", "10m", "--description", "d"
    )
    changed = found(online.run("jobs", "update", slug, "--name", "Second", "--unset", "max-concurrency"))
    assert (changed["name"], changed["timeout_secs"], changed["description"]) == ("Second", 600, "d")
    assert "max_concurrency" not in changed
    renamed = found(online.run("jobs", "update", slug, "--slug", f"{slug}-new", "--max-attempts", "7"))
    assert (renamed["slug"], renamed["max_attempts"]) == (f"{slug}-new", 7)
    assert online.run("jobs", "get", slug).returncode == Exit.NOT_FOUND
    assert online.run("jobs", "update", renamed["id"]).returncode == Exit.USAGE
    assert online.run("jobs", "update", renamed["id"], "--unset", "slug").returncode == Exit.USAGE
    both = online.run("jobs", "update", renamed["id"], "--name", "x", "--unset", "name")
    assert both.returncode == Exit.USAGE


def test_jobs_are_listed_for_people_and_for_programs(online: Shell) -> None:
    slugs = [make_job(online) for _ in range(2)]
    lines = [json.loads(line) for line in online.run("jobs", "list", "--limit", "2").stdout.splitlines()]
    assert [line["slug"] for line in lines] == slugs[::-1]
    table = online.run("jobs", "list", "-o", "table").stdout
    assert slugs[0] in table
    assert "workers" in table


def test_a_taken_slug_is_6_and_a_wrong_one_7(online: Shell) -> None:
    slug = make_job(online)
    assert online.run("jobs", "create", slug).returncode == Exit.CONFLICT
    assert online.run("jobs", "create", "Not A Slug").returncode == Exit.REFUSED
    assert online.run("jobs", "get", "no-such-job").returncode == Exit.NOT_FOUND


def test_deleting_asks_and_live_runs_forbid_it(online: Shell) -> None:
    slug = make_job(online)
    run_id = start_run(online, slug)
    assert online.run("jobs", "delete", slug).returncode == Exit.USAGE
    assert online.run("jobs", "delete", slug, "--yes").returncode == Exit.CONFLICT
    dry = online.run("jobs", "delete", slug, "--cancel-runs", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "")
    assert "1 run that has not ended" in dry.stderr
    assert found(online.run("runs", "get", run_id))["status"] == "queued"
    assert found(online.run("jobs", "delete", slug, "--cancel-runs", "--yes"))["slug"] == slug
    assert online.run("runs", "watch", run_id).returncode == Exit.CANCELED
    assert online.run("jobs", "get", slug).returncode == Exit.NOT_FOUND


# ---- jobs trigger --------------------------------------------------------------------------------


def test_a_run_takes_payload_priority_tags_and_time(online: Shell) -> None:
    slug = make_job(online)
    (online.folder / "p.json").write_text('{"from": "file"}')
    for given, stdin in (("@p.json", ""), ("-", '{"from": "file"}'), ('{"from": "file"}', "")):
        run = found(online.run("jobs", "trigger", slug, "--payload", given, stdin=stdin))
        assert run["payload"] == {"from": "file"}
    more = ("--priority", "-5", "--tag", "team=ops", "--in", "1h")
    later = found(online.run("jobs", "trigger", slug, *more))
    assert (later["status"], later["priority"], later["tags"]) == ("delayed", -5, {"team": "ops"})
    at = found(online.run("jobs", "trigger", slug, "--at", "2031-01-31T09:00:00+02:00"))
    assert at["scheduled_at"] == "2031-01-31T07:00:00Z"
    assert online.run("jobs", "trigger", slug, "--at", "2031-01-31T09:00").returncode == Exit.USAGE
    assert (
        online.run("jobs", "trigger", slug, "--at", "2031-01-31T09:00Z", "--in", "1m").returncode
        == Exit.USAGE
    )
    assert online.run("jobs", "trigger", slug, "--payload", "yes").returncode == Exit.USAGE
    assert online.run("jobs", "trigger", "no-such-job").returncode == Exit.NOT_FOUND


def test_the_same_idempotency_key_is_the_same_run(online: Shell) -> None:
    slug = make_job(online)
    runs = {start_run(online, slug, "--idempotency-key", f"once:{slug}") for _ in range(2)}
    assert len(runs) == 1


def test_wait_is_0_with_exactly_the_result(online: Shell, endpoint: str) -> None:
    slug = make_job(online, "--endpoint-url", endpoint)
    answer = '{"b":1.0,"a":123456789012345678901234567890.10}'
    done = online.run("jobs", "trigger", slug, "--wait", "--payload", json.dumps({"answer": answer}))
    assert (done.returncode, done.stdout, done.stderr) == (0, answer + "\n", "")


@pytest.mark.parametrize(
    ("payload", "more", "code"),
    [
        ({"status": 422}, (), Exit.FAILED),
        ({"status": 500}, ("--max-attempts", "1"), Exit.DEAD_LETTER),
        ({"wait": "never:comes", "timeout_secs": 1}, (), Exit.TIMED_OUT),
    ],
)
def test_wait_exits_by_the_outcome(
    online: Shell, endpoint: str, payload: dict[str, Any], more: tuple[str, ...], code: Exit
) -> None:
    slug = make_job(online, "--endpoint-url", endpoint, *more)
    done = online.run("jobs", "trigger", slug, "--wait", "--payload", json.dumps(payload))
    assert (done.returncode, done.stdout) == (code, "")
    assert "error: the run ended as" in done.stderr
    quiet = online.run("jobs", "trigger", slug, "--wait", "--quiet", "--payload", json.dumps(payload))
    assert (quiet.returncode, quiet.stderr) == (code, "")


def test_wait_of_a_canceled_run_is_4(online: Shell) -> None:
    slug = make_job(online)
    waiting = online.start("jobs", "trigger", slug, "--wait")
    run_id = first_run(online, slug)
    assert found(online.run("runs", "cancel", run_id, "--yes"))["status"] == "canceled"
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (Exit.CANCELED, "")
    assert "canceled by user" in err


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(online: Shell, endpoint: str) -> None:
    slug = make_job(online, "--endpoint-url", endpoint)
    payload = json.dumps({"wait": f"approval:{slug}", "answer": '"done"'})
    waiting = online.start("jobs", "trigger", slug, "--wait", "--payload", payload)
    until_status(online, first_run(online, slug), "waiting")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == Exit.INTERRUPTED
    command = next(line.split() for line in err.splitlines() if "--result" in line)
    assert online.run("events", "send", f"approval:{slug}").returncode == 0
    resumed = online.run(*command[1:])
    assert (resumed.returncode, resumed.stdout) == (0, '"done"\n')


def test_wait_lives_through_a_killed_server(shell: Shell) -> None:
    running = start_dev(shell, shell.folder / "data")
    shell.variables["NARROWS_URL"] = running.url
    slug = make_job(shell)
    waiting = shell.start("jobs", "trigger", slug, "--wait")
    run_id = first_run(shell, slug)
    running.process.kill()
    running.process.communicate()
    again = start_dev(shell, shell.folder / "data", int(running.url.rpartition(":")[2]))
    with Client(again.url) as client:
        (claimed,) = client.claim_runs([slug]).runs
        assert claimed.run.id == run_id
        RunClient(client, run_id=run_id, run_token=claimed.run_token).complete({"alive": True})
    assert waiting.communicate(timeout=60)[0] == '{"alive":true}\n'
    assert waiting.returncode == 0
    assert again.stop() == 0
