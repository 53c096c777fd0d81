"""`narrows events wait`: its exit code is the outcome and its stdout the payload."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from narrows.cli.demo_stage import webhook_body
from narrows.cli.exits import Exit
from narrows.client import Client
from tests.cli.conftest import Server, Shell, read_until, start_dev


def start_wait(shell: Shell, key: str, *more: str) -> subprocess.Popen[str]:
    """A wait that is open: it has printed its callback URL."""
    process = shell.start("events", "wait", key, "--callback-url", *more)
    process.callback_url = read_until(process.stderr, "/h/").strip()  # type: ignore[attr-defined]
    return process


def test_received_is_0_with_exactly_the_payload(online: Shell) -> None:
    waiting = start_wait(online, "wait:exact")
    payload = '{"b":1.0,"a":123456789012345678901234567890.10,"é":[1e2,null]}'
    assert online.run("events", "send", "wait:exact", "--payload", payload).returncode == 0
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (0, payload + "\n", "")


def test_timed_out_is_3(online: Shell) -> None:
    done = online.run("events", "wait", "wait:late", "--timeout", "1s")
    assert (done.returncode, done.stdout) == (Exit.TIMED_OUT, "")
    assert "error:" in done.stderr


def test_canceled_is_4(online: Shell) -> None:
    waiting = start_wait(online, "wait:canceled")
    assert online.run("events", "cancel", "wait:canceled").returncode == 0
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (Exit.CANCELED, "")
    assert "canceled by user" in err


def test_a_null_payload_and_none_at_all_are_told_apart(online: Shell) -> None:
    waiting = start_wait(online, "wait:null")
    online.run("events", "send", "wait:null", "--payload", "null")
    assert waiting.communicate(timeout=30)[0] == "null\n"
    waiting = start_wait(online, "wait:none")
    online.run("events", "send", "wait:none")
    assert waiting.communicate(timeout=30)[0] == ""
    assert waiting.returncode == 0


def test_it_joins_the_wait_that_is_open(online: Shell, server: Server) -> None:
    opened = json.loads(online.run("events", "open", "wait:join").stdout)
    waiting = start_wait(online, "wait:join")
    online.run("events", "send", "--id", opened["id"], "--payload", "1")
    assert waiting.communicate(timeout=30)[0] == "1\n"


def test_ctrl_c_leaves_the_wait_open_and_says_how_to_go_on(online: Shell) -> None:
    waiting = start_wait(online, "wait:interrupted")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == Exit.INTERRUPTED
    command = next(line.split() for line in err.splitlines() if "events wait --id" in line)
    # Answered while nobody looks: going on by id still gives the payload.
    assert online.run("events", "send", "wait:interrupted", "--payload", '"there"').returncode == 0
    resumed = online.run(*command[1:])
    assert (resumed.returncode, resumed.stdout) == (0, '"there"\n')


@pytest.mark.parametrize(
    "name", ["pull_request.closed", "workflow_run.completed", "pull_request_review.submitted"]
)
def test_a_github_webhook_comes_through_byte_for_byte(online: Shell, server: Server, name: str) -> None:
    import httpx2

    waiting = start_wait(online, f"github:{name}")
    body = webhook_body(name)
    reply = httpx2.post(
        waiting.callback_url,  # type: ignore[attr-defined]
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert reply.status_code == 200, reply.text
    assert waiting.communicate(timeout=30)[0].encode() == body + b"\n"


def test_it_lives_through_a_killed_server(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    running = start_dev(shell, tmp_path / "data")
    shell.variables["NARROWS_URL"] = running.url
    waiting = start_wait(shell, "wait:killed")
    running.process.kill()
    running.process.communicate()
    again = start_dev(shell, tmp_path / "data", int(running.url.rpartition(":")[2]))
    with Client(again.url) as client:
        client.send("wait:killed", {"alive": True})
    assert waiting.communicate(timeout=60)[0] == '{"alive":true}\n'
    assert again.stop() == 0
