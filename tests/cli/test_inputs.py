"""Durations, payloads, exit codes, log lines: the pure parts of the command line."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import typer

from narrows import errors
from narrows.cli import doctor, inputs, logs
from narrows.cli.exits import MEANINGS, Exit, exit_of
from narrows.cli.output import shown


@pytest.mark.parametrize(
    ("text", "secs"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("7d", 604_800), ("90", 90), ("1h30m", 5400), ("0", 0)],
)
def test_durations(text: str, secs: int) -> None:
    assert inputs.duration_secs(text) == secs


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5h", "3y", "1h-"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="30s, 10m, 2h, 7d"):
        inputs.duration_secs(text)


def test_when_something_begins() -> None:
    now = 1_893_456_000_000_000  # 2030-01-01
    assert inputs.moment(None, None, now=now) is None
    assert inputs.moment(None, "1h30m", now=now) == datetime(2030, 1, 1, 1, 30, tzinfo=UTC)
    assert inputs.moment("2030-01-31T09:00:00Z", None, now=now) == datetime(2030, 1, 31, 9, tzinfo=UTC)
    assert inputs.moment("2030-01-31T09:00+02:00", None, now=now) == datetime(2030, 1, 31, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "after"),
    [
        ("tomorrow", None),
        ("2030-01-31T09:00", None),
        ("2030-01-31T09:00Z", "1m"),
        (None, "soon"),
        (None, "99999999999w"),
    ],
)
def test_what_is_no_moment(at: str | None, after: str | None) -> None:
    with pytest.raises(typer.BadParameter):
        inputs.moment(at, after, now=0)


def test_a_payload_keeps_its_spelling(tmp_path: Path) -> None:
    text = '{"b": 1.0, "a": 123456789012345678901234567890.10}'
    (tmp_path / "p.json").write_text(text + "\n")
    assert inputs.payload(text) == msgspec.Raw(text.encode())
    assert inputs.payload(f"@{tmp_path}/p.json") == msgspec.Raw(text.encode())
    assert inputs.payload(None) is msgspec.UNSET


def test_a_payload_that_is_no_json_says_how_to_quote() -> None:
    with pytest.raises(typer.BadParameter, match="""'"yes"'"""):
        inputs.payload("yes")


def test_every_error_has_an_exit_code_of_its_own_meaning() -> None:
    assert set(MEANINGS) == set(Exit)
    assert exit_of(errors.NotFound("x")) is Exit.NOT_FOUND
    assert exit_of(errors.SchemaMismatch("x")) is Exit.REFUSED
    assert exit_of(errors.Unavailable("x")) is Exit.NO_CONNECTION
    assert exit_of(errors.StoreCorrupt("x")) is Exit.STORE
    assert exit_of(errors.InvariantViolated("x")) is Exit.UNEXPECTED


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert shown("a\x1b[31mb\x9b\u202e") == "a\\u001b[31mb\\u009b\\u202e"


@pytest.mark.parametrize("formatter", [logs.Human(colour=True), logs.Logfmt(), logs.Json()])
def test_a_log_line_is_one_line(formatter: logging.Formatter) -> None:
    record = logging.makeLogRecord(
        {"name": "narrows", "levelname": "INFO", "msg": "a\nb \x1b[31m", "key": "x\ny"}
    )
    line = formatter.format(record)
    assert "\n" not in line
    assert "\x1b" not in line


def test_an_access_line_is_short_for_people_and_fields_for_machines() -> None:
    line = 'method=POST route=/v1/events path="/v1/a b" status=201 duration_ms=1.24 bytes=3 actor=dev'
    record = logging.LogRecord("narrows.access", logging.INFO, "", 0, line, None, None)
    assert logs.Human(colour=False).format(record).endswith('POST "/v1/a b" 201 1.24 ms')
    assert msgspec.json.decode(logs.Json().format(record))["status"] == "201"
    assert 'path="/v1/a b"' in logs.Logfmt().format(record)


def test_the_file_system_is_that_of_the_longest_mount_point(tmp_path: Path) -> None:
    mounts = f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path.resolve()} nfs4 rw 0 0\n"
    assert doctor.file_system_of(tmp_path / "data", mounts) == "nfs4"
    assert doctor.file_system_of(Path("/"), mounts) == "ext4"
