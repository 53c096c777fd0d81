"""The other commands of `narrows events`: formats, pipes, questions, exit codes."""

from __future__ import annotations

import json

from narrows.cli.exits import MEANINGS, Exit
from tests.cli.conftest import Shell


def test_a_pipe_gets_json_lines_and_o_chooses(online: Shell) -> None:
    for number in range(3):
        online.run("events", "open", f"list:{number}")
    lines = online.run("events", "list", "--prefix", "list:").stdout.splitlines()
    assert [json.loads(line)["event_key"] for line in lines] == ["list:2", "list:1", "list:0"]
    array = json.loads(online.run("events", "list", "--prefix", "list:", "-o", "json").stdout)
    assert len(array) == 3
    table = online.run("events", "list", "--prefix", "list:", "-o", "table").stdout
    assert "event key" in table
    assert "list:1" in table
    limited = online.run("events", "list", "--prefix", "list:", "--limit", "2")
    assert len(limited.stdout.splitlines()) == 2
    assert limited.stderr == ""


def test_a_reader_that_has_enough_is_no_error(online: Shell) -> None:
    online.run("events", "open", "head:1")
    with online.start("events", "list") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=30)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_payloads_come_from_arguments_files_and_stdin(online: Shell) -> None:
    (online.folder / "p.json").write_text('{"from": "file"}')
    for key, given, stdin in (("p:1", "@p.json", ""), ("p:2", "-", '{"from":"stdin"}'), ("p:3", "[1]", "")):
        online.run("events", "open", key)
        sent = online.run("events", "send", key, "--payload", given, stdin=stdin)
        assert sent.returncode == 0, sent.stderr
        assert json.loads(sent.stdout)["status"] == "received"


def test_exit_codes_of_refusals(online: Shell) -> None:
    assert online.run("events", "get", "no:such").returncode == Exit.NOT_FOUND
    online.run("events", "open", "exit:1")
    again = online.run("events", "open", "exit:1")
    assert again.returncode == Exit.CONFLICT
    assert "request id:" in again.stderr
    assert online.run("events", "open", "exit:2", "--timeout", "400d").returncode == Exit.REFUSED
    assert online.run("events", "open", "exit:2", "--timeout", "soon").returncode == Exit.USAGE
    assert online.run("events", "send", "exit:1", "--payload", "yes").returncode == Exit.USAGE
    assert online.run("events", "wait").returncode == Exit.USAGE


def test_no_server_is_8_and_says_what_to_do(shell: Shell) -> None:
    done = shell.run("events", "list", NARROWS_URL="http://localhost:9")
    assert done.returncode == Exit.NO_CONNECTION
    assert "narrows dev" in done.stderr


def test_hold_send_prefix_extend_watch_stats_explain(online: Shell) -> None:
    held = json.loads(online.run("events", "hold", "early:1", "--payload", "1", "--for", "1h").stdout)
    assert held["held"] is True
    assert json.loads(online.run("events", "open", "early:1").stdout)["status"] == "received"
    for number in range(2):
        online.run("events", "open", f"batch:{number}")
    dry = json.loads(online.run("events", "send-prefix", "batch:", "--dry-run").stdout)
    assert (dry["resolved"], dry["dry_run"]) == (2, True)
    extended = json.loads(online.run("events", "extend", "batch:0", "--timeout", "2h").stdout)
    assert extended["timeout_secs"] >= 7200
    done = json.loads(online.run("events", "send-prefix", "batch:", "--payload", "{}").stdout)
    assert done["resolved"] == 2
    states = online.run("events", "watch", "batch:0").stdout.splitlines()
    assert json.loads(states[-1])["status"] == "received"
    assert json.loads(online.run("events", "stats").stdout)["received_count"] >= 3
    assert online.run("events", "explain", "batch:0", "-o", "table").stdout


def test_nothing_is_destroyed_without_a_yes(online: Shell) -> None:
    for number in range(2):
        online.run("events", "open", f"gone:{number}")
    refused = online.run("events", "cancel", "--prefix", "gone:")
    assert refused.returncode == Exit.USAGE
    assert "--yes" in refused.stderr
    assert json.loads(online.run("events", "cancel", "--prefix", "gone:", "--dry-run").stdout) == {
        "prefix": "gone:",
        "waiting": 2,
        "canceled": 0,
        "dry_run": True,
    }
    done = json.loads(online.run("events", "cancel", "--prefix", "gone:", "--yes").stdout)
    assert done["canceled"] == 2
    assert online.run("events", "purge", "--dry-run").returncode == 0
    assert json.loads(online.run("events", "purge", "--older-than-days", "1", "--yes").stdout)["deleted"] == 0


def test_the_help_lists_every_exit_code(shell: Shell) -> None:
    text = shell.run("--help").stdout
    for code, meaning in MEANINGS.items():
        assert f"{code:>4d}  {meaning}" in text


def test_every_command_has_a_help(shell: Shell) -> None:
    for command in ("dev", "serve", "demo", "doctor", "verify", "backup", "keys", "projects", "events wait"):
        done = shell.run(*command.split(), "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_the_version_is_a_flag_too(shell: Shell) -> None:
    flag = shell.run("--version")
    assert (flag.returncode, flag.stdout) == (0, shell.run("version").stdout)
    assert "--version" in shell.run("--help").stdout
    assert "Durable waits" in shell.run().stdout + shell.run().stderr


def test_version_and_openapi(online: Shell) -> None:
    assert online.run("version").stdout.startswith("narrows ")
    assert json.loads(online.run("version", "--server").stdout)["api_version"] == "v1"
    assert json.loads(online.run("openapi").stdout)["openapi"].startswith("3.1")
