"""Every option of the server, once: its name, what is allowed, its default, its unit and its help.

A value comes from the first that has one: a flag, `NARROWS_<NAME>` in the environment, the TOML
file, the default; `Config.sources` remembers which. The reference of the options in the docs and
`narrows doctor` are made from `OPTIONS`. Not here: how a client finds a server (`cli/reach.py`),
and what the options do.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from narrows.errors import NarrowsError
from narrows.option_rules import (
    DATABASE,
    FOLDER,
    KEYS,
    LISTENING,
    POSTGRES_PREFIXES,
    SQLITE_PREFIX,
    TARGETS,
    TEXT,
    WEB_ADDRESS,
    WEB_ADDRESSES,
    Rule,
    one_of,
    whole,
    without_password,
)

ENVIRONMENT_PREFIX: Final = "NARROWS_"
FILE_NAME: Final = "narrows.toml"


class ConfigInvalid(NarrowsError):
    """An option that is unknown or has a value that is not allowed. Nothing was started."""

    code = "invalid_request"


class Option(NamedTuple):
    """One row of the table of options."""

    name: str
    rule: Rule
    default: Any
    unit: str
    help: str
    #: A secret has no flag and is shown nowhere: not by `narrows doctor`, not in an error, not in a log.
    is_secret: bool = False

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


#: Addresses that somebody on this machine calls localhost; nothing is bound to them by this.
_HERE: Final = frozenset({"127.0.0.1", "0.0.0.0", "::", "::1"})  # noqa: S104 - compared with, see above
_RULE, _UNIT, _HELP, _SECRET = "rule", "unit", "help", "secret"


def _about(rule: Rule, help_text: str, unit: str = "", *, is_secret: bool = False) -> dict[str, Any]:
    return {_RULE: rule, _UNIT: unit, _HELP: help_text, _SECRET: is_secret}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The options in force. Made by `load`; tests may make one directly."""

    data: Path = field(
        default=Path(".narrows"),
        metadata=_about(
            FOLDER,
            "Folder of the database, the lock file and the local socket. Where only `database` is given,"
            " its folder.",
        ),
    )
    database: str = field(
        default="",
        metadata=_about(
            DATABASE,
            "Database that keeps the waits: SQLite for one process, PostgreSQL for many nodes. Where it is not"
            " given, narrows.db in `data`.",
        ),
    )
    database_pooler: str = field(
        default="auto",
        metadata=_about(
            one_of("auto", "transaction"),
            "transaction: a pooler lends database connections per transaction (pgbouncer); auto finds it out.",
        ),
    )
    database_listen: str | None = field(
        default=None,
        metadata=_about(
            LISTENING,
            "Where to listen for news of other nodes, past the pooler; off asks the tables four times a second"
            " instead. Where it is not given, at `database`.",
        ),
    )
    database_writers: int = field(
        default=2,
        metadata=_about(whole(1, 8), "Connections of this node that write to PostgreSQL.", "connections"),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=_about(TEXT, "Address to listen on. Any but loopback needs an API key first."),
    )
    port: int = field(
        default=8080, metadata=_about(whole(0, 65_535), "Port to listen on; 0 takes a free one.")
    )
    public_url: str | None = field(
        default=None,
        metadata=_about(
            WEB_ADDRESS,
            "Address under which others reach this server; callback URLs begin with it. Where it is not"
            " given, http://<host>:<port>.",
        ),
    )
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata=_about(WEB_ADDRESSES, "Origins of web pages that may call the API from a browser."),
    )
    retention_days: int = field(
        default=30,
        metadata=_about(whole(1, 36_500), "How long settled waits and their history are kept.", "days"),
    )
    waiting_per_project: int = field(
        default=20_000_000,
        metadata=_about(whole(1, 1_000_000_000), "Waits that may be open in one project.", "waits"),
    )
    held_per_key: int = field(
        default=1000,
        metadata=_about(whole(1, 1_000_000), "Early events that are held for one event key.", "events"),
    )
    held_per_project: int = field(
        default=100_000,
        metadata=_about(whole(1, 100_000_000), "Early events that are held in one project.", "events"),
    )
    streams_per_project: int = field(
        default=10_000,
        metadata=_about(whole(1, 100_000), "Streams and long polls open at once in one project.", "streams"),
    )
    dispatches: int = field(
        default=200,
        metadata=_about(
            whole(1, 100_000), "Runs that this server dispatches to endpoints at once.", "dispatches"
        ),
    )
    dispatches_per_host: int = field(
        default=50,
        metadata=_about(
            whole(1, 100_000), "Requests that this server has open to one host at once.", "requests"
        ),
    )
    allow_targets: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            TARGETS,
            "Targets that may be called although they are not public; a name may lead anywhere."
            " `narrows dev` allows loopback.",
        ),
    )
    secret_key: str | None = field(
        default=None,
        repr=False,
        metadata=_about(
            KEYS,
            "Keys that encrypt secrets at rest and make run tokens, the newest first. Where it is not given,"
            " the file secret.key in `data`, made at the first start. Give it by the environment.",
            is_secret=True,
        ),
    )
    max_queue: int = field(
        default=10_000,
        metadata=_about(
            whole(1, 1_000_000), "Changes that may queue for a commit; beyond, 503.", "operations"
        ),
    )
    cache_mib: int = field(
        default=64, metadata=_about(whole(1, 65_536), "Memory for the database's page cache.", "MiB")
    )
    shutdown_secs: int = field(
        default=10,
        metadata=_about(whole(1, 3600), "How long open requests may take to end after SIGTERM.", "seconds"),
    )
    log_format: str = field(
        default="auto",
        metadata=_about(
            one_of("auto", "human", "logfmt", "json"),
            "Form of the log lines; auto is human on a terminal and logfmt elsewhere.",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about(one_of("debug", "info", "warning", "error"), "The least grave log lines to write."),
    )
    #: Where each value came from: "flag --port", "environment NARROWS_PORT", "narrows.toml", "default".
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.database:
            object.__setattr__(self, "database", f"{SQLITE_PREFIX}{self.data / 'narrows.db'}")

    @property
    def is_shared(self) -> bool:
        """Whether several nodes may serve the database."""
        return self.database.startswith(POSTGRES_PREFIXES)

    @property
    def database_name(self) -> str:
        """The database as it is shown to people: never with a password."""
        return without_password(self.database) if self.is_shared else str(self.database_path)

    @property
    def database_path(self) -> Path:
        """The file of an embedded database."""
        return Path(self.database.removeprefix(SQLITE_PREFIX)).expanduser()

    @property
    def socket_path(self) -> Path:
        """The local socket of the process that holds the database."""
        return self.data / "narrows.sock"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def base_url(self) -> str:
        """The address that callers use: `public_url`, else made from host and port."""
        if self.public_url:
            return self.public_url
        host = "localhost" if self.host in _HERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


OPTIONS: Final[tuple[Option, ...]] = tuple(
    Option(
        row.name,
        row.metadata[_RULE],
        row.default,
        row.metadata[_UNIT],
        row.metadata[_HELP],
        row.metadata[_SECRET],
    )
    for row in fields(Config)
    if _RULE in row.metadata
)
_BY_NAME: Final = {option.name: option for option in OPTIONS}


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Config:
    """The configuration in force. A flag that is None was not given; `file` is what `--config`
    named, which must exist, while `narrows.toml` in the working directory need not."""
    environ = os.environ if environ is None else environ
    path, settings = _read_file(file, environ)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        flag = (flags or {}).get(option.name)
        if flag is not None:
            raw, source = flag, f"flag --{option.name.replace('_', '-')}"
        elif environ.get(option.variable):
            raw, source = environ[option.variable], f"environment {option.variable}"
        elif option.name in settings:
            raw, source = settings[option.name], str(path)
        else:
            sources[option.name] = "default"
            continue
        values[option.name] = _checked(option, raw, source)
        sources[option.name] = source
    if values.get("database", "").startswith(SQLITE_PREFIX) and "data" not in values:
        values["data"] = Path(values["database"].removeprefix(SQLITE_PREFIX)).expanduser().parent
        sources["data"] = f"the folder of database ({sources['database']})"
    return Config(**values, sources=sources)


def nearest(name: str, known: list[str]) -> str | None:
    """What somebody who wrote `name` probably meant."""
    found = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return found[0] if found else None


def unknown_variables(
    environ: Mapping[str, str], also_known: tuple[str, ...]
) -> list[tuple[str, str | None]]:
    """Variables that look like ours and are not, each with the nearest that is: a misspelt one is
    silently without effect, which `narrows doctor` points out."""
    known = [option.variable for option in OPTIONS] + list(also_known)
    strays = [name for name in sorted(environ) if name.startswith(ENVIRONMENT_PREFIX) and name not in known]
    return [(name, next(iter(difflib.get_close_matches(name, known, n=1)), None)) for name in strays]


def _checked(option: Option, raw: object, source: str) -> Any:
    try:
        return option.rule.read(raw)
    except (ValueError, TypeError):
        shown = (
            "not valid" if option.is_secret else repr(without_password(raw) if isinstance(raw, str) else raw)
        )
        raise ConfigInvalid(
            f"{option.name} is {shown} ({source}); it must be {option.rule.allowed}."
        ) from None


def _read_file(named: Path | None, environ: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    wanted = named or (Path(environ["NARROWS_CONFIG"]) if environ.get("NARROWS_CONFIG") else None)
    path = wanted or Path(FILE_NAME)
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted is None:
            return path, {}
        raise ConfigInvalid(f"The configuration file {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"The configuration file {path} cannot be read: {error}.") from None
    for key in settings:
        if key not in _BY_NAME:
            meant = nearest(key, list(_BY_NAME))
            hint = f"did you mean {meant}?" if meant else "known are " + ", ".join(_BY_NAME) + "."
            raise ConfigInvalid(f"{path} has an unknown option, {key}; {hint}")
    return path, settings
