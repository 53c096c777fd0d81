"""`narrows move`, as a person types it: a wait goes on in the other database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from narrows.cli.exits import Exit
from tests.cli.conftest import Shell, start_dev
from tests.postgres.cluster import drop_database, fresh_database


@pytest.fixture
def postgres() -> Iterator[str]:
    url = fresh_database()
    yield url
    drop_database(url)


def test_an_open_wait_moves_there_and_back(shell: Shell, tmp_path: Path, postgres: str) -> None:
    file = f"sqlite:///{tmp_path / 'data' / 'narrows.db'}"
    server = start_dev(shell, tmp_path / "data")
    opened = shell.run("events", "open", "kept", "--timeout", "1h", "--url", server.url)
    assert opened.returncode == 0, opened.stderr
    served = shell.run("move", "--from", file, "--to", postgres)
    assert served.returncode == Exit.STORE
    assert f"(pid {server.process.pid})" in served.stderr
    assert server.stop() == 0

    there = shell.run("move", "--from", file, "--to", postgres)
    assert there.returncode == 0, there.stderr
    assert "of both sides are equal" in there.stdout
    assert str(tmp_path / "data" / "secret.key") in there.stderr
    assert shell.run("verify", "--database", postgres).returncode == 0
    again = shell.run("move", "--from", file, "--to", postgres)
    assert again.returncode == Exit.STORE
    assert "Name an empty database" in again.stderr

    back = shell.run("move", "--from", postgres, "--to", "sqlite:///back/narrows.db")
    assert back.returncode == 0, back.stderr
    (tmp_path / "back" / "secret.key").write_bytes((tmp_path / "data" / "secret.key").read_bytes())
    (tmp_path / "back" / "secret.key").chmod(0o600)
    server = start_dev(shell, tmp_path / "back")
    found = shell.run("events", "get", "kept", "--url", server.url)
    assert json.loads(found.stdout)["id"] == json.loads(opened.stdout)["id"]
    assert shell.run("events", "send", "kept", "--payload", "1", "--url", server.url).returncode == 0
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("sqlite:///a.db", "sqlite:///b/b.db", "One of the two is SQLite"),
        ("a.db", "postgresql://localhost/x", "--from must be sqlite:///"),
        ("sqlite:///a.db", "mysql://localhost/x", "--to must be sqlite:///"),
    ],
)
def test_what_is_no_move_is_a_wrong_command_line(shell: Shell, source: str, target: str, says: str) -> None:
    done = shell.run("move", "--from", source, "--to", target)
    assert done.returncode == Exit.USAGE
    assert says in done.stderr
    assert list(shell.folder.iterdir()) == []


def test_a_database_that_cannot_be_reached_is_told_without_its_password(shell: Shell) -> None:
    done = shell.run("move", "--from", "postgresql://u:hidden@127.0.0.1:1/x", "--to", "sqlite:///b/b.db")
    assert done.returncode == Exit.STORE
    assert "cannot be used" in done.stderr
    assert "hidden" not in done.stderr
    assert not (shell.folder / "b" / "b.db").exists()
