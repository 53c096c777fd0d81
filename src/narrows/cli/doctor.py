"""`narrows doctor`: what is in force and where it comes from, and whether this machine can keep its
promises. It changes nothing. Not here: the check of the database's contents (`narrows verify`)."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from narrows import __version__, config
from narrows.cli import output, reach
from narrows.cli.exits import Exit
from narrows.cli.inputs import duration_text
from narrows.cli.serve import ConfigOption, DatabaseOption, DataOption
from narrows.cli.session import Outcome, OutputOption, UrlOption, finish
from narrows.clock import SystemClock
from narrows.errors import NarrowsError
from narrows.option_rules import without_password

#: Variables that no option of the server stands behind.
OTHER_VARIABLES = ("NARROWS_URL", "NARROWS_API_KEY", "NARROWS_CONFIG", "NARROWS_PROJECT")
#: SQLite's locks and its shared memory do not hold on these.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs", "lustre"}
)
_SCARCE_BYTES = 512 << 20
_SKEW_SECS = 5.0


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    state: Literal["ok", "warning", "fault"]
    says: str


def register(app: Any) -> None:
    app.command("doctor", rich_help_panel="Look around")(doctor)


def doctor(
    database: DatabaseOption = None,
    data: DataOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
    output_format: OutputOption = None,
) -> None:
    """Show which options are in force and where they come from, and check this machine."""
    flags = {"database": database, "data": data}
    finish(lambda: _doctor(flags, config_file, reach.Reach(url=url, data=data), output_format))


def _doctor(
    flags: dict[str, Any], file: Path | None, way: reach.Reach, asked: output.Format | None
) -> Outcome:
    settings = config.load(flags, file=file)
    findings = [
        _versions(),
        *_folder(settings),
        _lock_holder(settings),
        *asyncio.run(_server(way)),
        *_strays(os.environ),
    ]
    printer = output.Printer(asked)
    if printer.is_table:
        printer.show(_options_table(settings))
        printer.show(_findings_table(findings))
    else:
        report = {"options": _options(settings), "findings": [finding._asdict() for finding in findings]}
        output.write_json(msgspec.json.encode(report), printer.format)
    return Exit.UNEXPECTED if any(finding.state == "fault" for finding in findings) else Exit.OK


def _options(settings: config.Config) -> list[dict[str, str]]:
    rows = []
    for option in config.OPTIONS:
        value = settings.database_name if option.name == "database" else getattr(settings, option.name)
        if option.name == "database_listen" and value:
            value = without_password(value)
        if option.is_secret:
            value = None if value is None else "set, not shown"
        shown = ", ".join(value) if isinstance(value, tuple) else ("" if value is None else str(value))
        rows.append(
            {
                "name": option.name,
                "value": f"{shown} {option.unit}".strip() if option.unit else shown,
                "from": settings.sources[option.name],
            }
        )
    return rows


def _options_table(settings: config.Config) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in ("option", "value", "from"):
        table.add_column(title, overflow="fold")
    for row in _options(settings):
        style = "dim" if row["from"] == "default" else ""
        table.add_row(*(Text(output.shown(row[name])) for name in ("name", "value", "from")), style=style)
    return table


def _findings_table(findings: list[Finding]) -> Table:
    marks = {"ok": Text("ok", "green"), "warning": Text("warning", "yellow"), "fault": Text("fault", "red")}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in ("check", "", "finding"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, marks[finding.state], Text(output.shown(finding.says)))
    return table


def _versions() -> Finding:
    return Finding(
        "versions",
        "ok",
        f"narrows {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}",
    )


def _folder(settings: config.Config) -> list[Finding]:
    folder = settings.data
    if not folder.exists():
        return [Finding("data folder", "ok", f"{folder.absolute()} is not there yet; a server makes it")]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [Finding("data folder", "fault", f"{folder.absolute()} cannot be written by this user")]
    findings = [Finding("data folder", "ok", str(folder.absolute()))]
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "warning"] = "ok" if free >= _SCARCE_BYTES else "warning"
    findings.append(Finding("disk space", state, f"{free / (1 << 30):.1f} GiB free"))
    file_system = file_system_of(folder)
    if file_system in NETWORK_FILE_SYSTEMS:
        findings.append(
            Finding(
                "file system", "fault", f"{file_system} is a network file system: locks do not hold there"
            )
        )
    else:
        findings.append(Finding("file system", "ok", file_system or "unknown"))
    return findings


def file_system_of(folder: Path, mounts: str | None = None) -> str | None:
    """The type of the file system that a folder is on, by the longest mount point above it."""
    try:
        text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    except OSError:
        return None
    found, depth = None, -1
    for line in text.splitlines():
        _, point, kind, *_ = line.split(" ")
        # The table spells spaces in octal.
        path = Path(point.replace("\\040", " "))
        if folder.resolve().is_relative_to(path) and len(path.parts) > depth:
            found, depth = kind, len(path.parts)
    return found


def _lock_holder(settings: config.Config) -> Finding:
    if settings.is_shared:
        return _shared_database(settings)
    if reach.answers(settings.socket_path):
        return Finding("database", "ok", f"a running server holds {settings.database_path}")
    if settings.database_path.exists():
        return Finding("database", "ok", f"{settings.database_path} is held by nobody")
    return Finding("database", "ok", f"{settings.database_path} is not there yet")


def _shared_database(settings: config.Config) -> Finding:
    from narrows import server  # noqa: PLC0415 - slow to load

    try:
        waiting = server.migrate(settings, plan=True)
    except NarrowsError as error:
        return Finding("database", "fault", f"{settings.database_name}: {error.message}")
    if waiting:
        return Finding("database", "warning", f"{settings.database_name} lacks {', '.join(waiting)}")
    return Finding("database", "ok", f"{settings.database_name} can be reached and is up to date")


async def _server(way: reach.Reach) -> list[Finding]:
    where = reach.where(way)
    clock = SystemClock()
    try:
        async with reach.connect(way) as client:
            started = clock.monotonic()
            version = await client.version()
            took_secs = clock.monotonic() - started
            health = await client.ready()
    except NarrowsError as error:
        return [Finding("server", "warning", f"{where}: {error.message}")]
    state: Literal["ok", "fault"] = "ok" if health.status == "ok" else "fault"
    reasons = "; ".join(health.reasons or ()) or "ready"
    return [
        Finding(
            "server",
            state,
            f"{where}: narrows {version.version}, {reasons}, {duration_text(took_secs)} a request",
        )
    ]


def _strays(environ: Mapping[str, str]) -> list[Finding]:
    findings = []
    for name, meant in config.unknown_variables(environ, OTHER_VARIABLES):
        hint = f"; did you mean {meant}?" if meant else ""
        findings.append(Finding("environment", "warning", f"{name} is no option of ours{hint}"))
    return findings
