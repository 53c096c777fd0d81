"""What whoever owns the machine may do: keys and projects with a server and without, serve, verify,
backup, doctor, the demo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from narrows.cli.exits import Exit
from tests.cli.conftest import Server, Shell, environment, free_port, read_until, start_dev


def make_key(shell: Shell, *more: str) -> dict[str, str]:
    done = shell.run("keys", "create", *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_keys_without_a_server(shell: Shell) -> None:
    made = make_key(shell, "--scope", "events:read", "--name", "reader")
    assert made["project_id"] == "default"
    assert made["key"].startswith("nrw_")
    admin = make_key(shell, "--admin", "--to-file", "admin.key")
    assert "key" not in admin
    assert (shell.folder / "admin.key").stat().st_mode & 0o777 == 0o600
    listed = [json.loads(line) for line in shell.run("keys", "list").stdout.splitlines()]
    assert {key["id"] for key in listed} == {made["id"], admin["id"]}
    assert all("key" not in key for key in listed)
    assert shell.run("keys", "revoke", made["id"]).returncode == Exit.USAGE
    assert json.loads(shell.run("keys", "revoke", made["id"], "--yes").stdout)["revoked_at"]
    assert json.loads(shell.run("keys", "rotate", admin["id"], "--overlap", "0").stdout)["key"]


def test_projects_without_a_server(shell: Shell) -> None:
    assert shell.run("projects", "create", "shop", "--name", "The shop").returncode == 0
    assert "shop" in [json.loads(line)["id"] for line in shell.run("projects", "list").stdout.splitlines()]


def test_serve_asks_for_keys_and_the_socket_needs_none(shell: Shell) -> None:
    port = free_port()
    process = shell.start("serve", "--port", str(port))
    read_until(process.stderr, "narrows keys create")
    url = f"http://localhost:{port}"
    assert shell.run("events", "list", "--url", url).returncode == Exit.UNAUTHORISED
    made = make_key(shell, "--scope", "events:read")
    assert shell.run("events", "list", "--url", url, NARROWS_API_KEY=made["key"]).returncode == 0
    (shell.folder / "key").write_text(made["key"] + "\n")
    denied = shell.run("events", "open", "k", "--url", url, "--api-key-file", "key")
    assert denied.returncode == Exit.UNAUTHORISED
    assert "events:write" in denied.stderr
    assert shell.run("events", "open", "by:socket").returncode == 0
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_serve_refuses_the_world_without_keys(shell: Shell) -> None:
    done = shell.run("serve", "--host", "0.0.0.0", "--port", str(free_port()))
    assert done.returncode == Exit.UNAUTHORISED
    assert "narrows keys create" in done.stderr


def test_dev_stays_on_loopback(shell: Shell) -> None:
    assert shell.run("dev", "--host", "0.0.0.0").returncode == Exit.USAGE


def test_the_lines_that_dev_prints_work(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    port = free_port()
    process = shell.start("dev", "--port", str(port))
    lines: list[str] = []
    while len(lines) < 3:
        said = read_until(process.stderr, "curl").splitlines()[-1].strip()
        lines.append(said)
    answers = [
        json.loads(subprocess.run(["sh", "-c", f"{line} -s"], capture_output=True, check=True).stdout)
        for line in lines
    ]
    assert [answer["status"] for answer in answers] == ["waiting", "received", "received"]
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_port_in_use_is_a_sentence(server: Server, shell: Shell) -> None:
    done = shell.run("dev", "--port", server.url.rpartition(":")[2])
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_verify_and_backup_of_a_running_server(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    running = start_dev(shell, tmp_path / ".narrows")
    shell.run("events", "open", "kept")
    assert shell.run("verify").returncode == 0
    done = shell.run("backup", "copy.db")
    assert done.returncode == 0, done.stderr
    assert shell.run("backup", "copy.db").returncode == Exit.USAGE
    assert running.stop() == 0
    restored = tmp_path / "restored"
    restored.mkdir()
    (tmp_path / "copy.db").rename(restored / "narrows.db")
    assert shell.run("verify", "--data", "restored").returncode == 0
    again = start_dev(shell, restored)
    found = shell.run("events", "get", "kept", "--data", "restored")
    assert json.loads(found.stdout)["status"] == "waiting"
    assert again.stop() == 0


def test_verify_finds_a_flipped_byte(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell.run("projects", "create", "shop").returncode == 0
    path = tmp_path / ".narrows" / "narrows.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 + 100] ^= 0x10
    path.write_bytes(content)
    done = shell.run("verify")
    assert done.returncode == Exit.STORE
    assert "error:" in done.stderr


def test_doctor_says_what_is_in_force_and_why(server: Server, shell: Shell) -> None:
    (shell.folder / "narrows.toml").write_text("retention_days = 7\n")
    done = shell.run("doctor", "-o", "json", "--url", server.url, NARROWS_CACHE_MIB="32", NARROWS_PROT="1")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    options = {option["name"]: option for option in report["options"]}
    assert options["retention_days"] == {"name": "retention_days", "value": "7 days", "from": "narrows.toml"}
    assert options["cache_mib"]["from"] == "environment NARROWS_CACHE_MIB"
    says = " ".join(finding["says"] for finding in report["findings"])
    assert "NARROWS_PORT" in says
    assert "ready" in says


def test_the_demo_tells_stories_that_hold(shell: Shell) -> None:
    done = shell.run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The story held" in done.stdout
    assert "byte for byte" in done.stdout
    assert "the handler completed it" in done.stdout
    assert done.stdout.count("SIGKILL") == 2


def test_the_demo_fails_if_anything_is_not_as_told(shell: Shell) -> None:
    """Told to expect another timeline than there is."""
    tampered = (
        "import narrows.cli.demo_run as story\n"
        "story.KINDS = story.KINDS[:-1]\n"
        "from narrows.cli.main import app\n"
        "app(['demo'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", tampered],
        cwd=shell.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == Exit.UNEXPECTED
    assert "The story did not hold" in done.stderr
    assert "The story held" not in done.stdout


def test_the_secret_of_a_project_is_shown_once(shell: Shell) -> None:
    made = shell.run("projects", "create", "signed")
    assert json.loads(made.stdout)["signing_secret"].startswith("whsec_")
    assert "only time" in made.stderr
    rotated = shell.run("projects", "rotate-secret", "signed", "--overlap", "2h")
    assert rotated.stdout.startswith("whsec_")
    assert len(rotated.stdout.splitlines()) == 1
    assert "whsec_" not in shell.run("projects", "list").stdout
