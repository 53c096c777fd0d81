"""`narrows jobs`, `narrows runs` and `narrows deliveries` against a real server, with a handler of our own
where a run is to be executed."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, ClassVar

import pytest

from narrows.cli.exits import Exit
from narrows.client import Client, RunClient
from tests.cli.conftest import Server, Shell, read_until, start_dev

NUMBERS = count(1)


class Endpoint(BaseHTTPRequestHandler):
    """Answers what the run's payload says: a status, a body, lines to log first, a key to wait for."""

    url: ClassVar[str]
    reached: ClassVar[threading.Event]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Client(self.url) as client:
            run = RunClient.from_headers(client, self.headers.items())
            for line in asked.get("log", []):
                run.log(line, level="warning")
            if "wait" in asked and run.resume_trigger is None:
                run.wait_for_event(asked["wait"], timeout_secs=asked.get("timeout_secs", 600))
        body = asked.get("answer", "").encode()
        self.send_response(asked.get("status", 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Iterator[str]:
    handler = type("Handler", (Endpoint,), {"url": server.url})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/"
    running.shutdown()
    running.server_close()


def new_slug() -> str:
    return f"job-{next(NUMBERS)}"


def make_job(shell: Shell, *more: str) -> str:
    slug = new_slug()
    done = shell.run("jobs", "create", slug, *more)
    assert done.returncode == 0, done.stderr
    return slug


def found(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start_run(shell: Shell, job: str, *more: str) -> str:
    run_id: str = found(shell.run("jobs", "trigger", job, *more))["id"]
    return run_id


# ---- jobs ----------------------------------------------------------------------------------------


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


def first_run(shell: Shell, slug: str) -> str:
    """The id of the job's only run, as soon as there is one."""
    for _ in range(100):
        line = shell.run("runs", "list", "--job", slug).stdout
        if line:
            run_id: str = json.loads(line)["id"]
            return run_id
    raise AssertionError(f"there is no run of {slug}")


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


def until_status(shell: Shell, run_id: str, status: str) -> None:
    with Client(shell.variables["NARROWS_URL"]) as client:
        for _ in range(30):
            if client.get_run(run_id).status == status:
                return
            client.wait_for_run_once(run_id, timeout_secs=1)
    raise AssertionError(f"the run {run_id} is not {status}")


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


# ---- runs ----------------------------------------------------------------------------------------


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


# ---- deliveries ----------------------------------------------------------------------------------


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


# ---- help and completion -------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["jobs", "runs", "deliveries"])
def test_every_command_has_a_help_that_says_what_it_does(shell: Shell, group: str) -> None:
    listed = shell.run(group, "--help").stdout
    for line in listed.partition("Commands")[2].splitlines():
        if line.startswith("│ ") and line[2] != " ":
            done = shell.run(group, line.split()[1], "--help")
            assert done.returncode == 0
            assert "Usage" in done.stdout


def test_the_help_of_wait_names_its_exit_codes(shell: Shell) -> None:
    for command in (("jobs", "trigger"), ("runs", "watch")):
        text = shell.run(*command, "--help").stdout
        for code in (Exit.FAILED, Exit.DEAD_LETTER, Exit.TIMED_OUT, Exit.CANCELED):
            assert f"{int(code)}: " in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("narrows ", "jobs"),
        ("narrows jobs ", "rotate-secret"),
        ("narrows runs list --status d", "dead_letter"),
        ("narrows deliveries list --status ", "delivered"),
        ("narrows jobs update x --unset ", "max-concurrency"),
    ],
)
def test_the_shell_completes(shell: Shell, typed: str, offered: str) -> None:
    words = typed.split(" ")
    done = shell.run(_NARROWS_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1))
    assert offered in done.stdout.split()
