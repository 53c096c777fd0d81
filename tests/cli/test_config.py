"""Where a value comes from, and what is said about a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from narrows import config
from narrows.cli import doctor


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "narrows.toml"
    path.write_text('port = 7001\nhost = "127.0.0.2"\nretention_days = 7\n')
    return path


def test_flags_win_over_the_environment_over_the_file_over_the_default(file: Path) -> None:
    environ = {"NARROWS_PORT": "7002", "NARROWS_HOST": "127.0.0.3"}
    found = config.load({"port": 7003, "host": None}, environ, file)
    assert (found.port, found.host, found.retention_days, found.cache_mib) == (7003, "127.0.0.3", 7, 64)
    assert found.sources["port"] == "flag --port"
    assert found.sources["host"] == "environment NARROWS_HOST"
    assert found.sources["retention_days"] == str(file)
    assert found.sources["cache_mib"] == "default"


def test_the_database_lies_in_the_data_folder_and_the_folder_follows_the_database() -> None:
    assert config.load({"data": Path("/d")}, {}).database_path == Path("/d/narrows.db")
    alone = config.load({"database": "sqlite:////srv/waits.db"}, {})
    assert (alone.data, alone.database_path) == (Path("/srv"), Path("/srv/waits.db"))


def test_an_unknown_option_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "narrows.toml"
    path.write_text("retention-day = 3\n")
    with pytest.raises(config.ConfigInvalid, match="did you mean retention_days"):
        config.load({}, {}, path)


def test_a_misspelt_variable_names_the_nearest() -> None:
    strays = config.unknown_variables(
        {"NARROWS_PROT": "1", "NARROWS_URL": "x", "HOME": "/"}, ("NARROWS_URL",)
    )
    assert strays == [("NARROWS_PROT", "NARROWS_PORT")]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("port", "many", "whole number from 0 to 65535"),
        ("port", True, "whole number"),
        ("retention_days", 0, "from 1 to 36500"),
        ("log_format", "xml", "one of auto, human, logfmt, json"),
        ("database", "mysql://x", "sqlite:///<path"),
        ("database_listen", "sqlite:///x", "postgresql://<user>"),
        ("database", "sqlite:///:memory:", "sqlite:///<path"),
        ("public_url", "narrows.example.com", "https://narrows.example.com"),
        ("cors_origins", "example.com", "addresses such as"),
        ("allow_targets", "10.0.0.0/33", "10.0.0.0/8"),
        ("allow_targets", "10.0.0.1/8", "10.0.0.0/8"),
        ("allow_targets", "http://10.0.0.1", "10.0.0.0/8"),
        ("allow_targets", "name:99999", "10.0.0.0/8"),
        ("allow_targets", 7, "10.0.0.0/8"),
        ("dispatches", 0, "from 1 to 100000"),
        ("dispatches_per_host", "all", "from 1 to 100000"),
        ("secret_key", "  ", "openssl rand -base64 32"),
    ],
)
def test_a_bad_value_says_what_is_allowed(name: str, value: object, allowed: str) -> None:
    with pytest.raises(config.ConfigInvalid, match="it must be") as refused:
        config.load({name: value}, {})
    assert allowed in refused.value.message


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigInvalid, match="does not exist"):
        config.load({}, {"NARROWS_CONFIG": str(tmp_path / "none.toml")})


def test_every_option_has_a_help_and_a_default_that_is_allowed() -> None:
    for option in config.OPTIONS:
        assert option.help.endswith(".")
        if option.default not in (None, "", ()):
            assert option.rule.read(option.default) == option.default


def test_targets_are_separated_by_commas_or_a_list(tmp_path: Path) -> None:
    environ = {"NARROWS_ALLOW_TARGETS": "10.0.0.0/8, *.internal:8080"}
    assert config.load({}, environ).allow_targets == ("10.0.0.0/8", "*.internal:8080")
    path = tmp_path / "narrows.toml"
    path.write_text('allow_targets = ["[fd00::1]:8080"]\n')
    assert config.load({}, {}, path).allow_targets == ("[fd00::1]:8080",)


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load({}, {"NARROWS_SECRET_KEY": "canary-key"})
    assert settings.secret_key == "canary-key"
    assert "canary" not in repr(settings)
    assert "canary" not in str(doctor._options(settings))
    assert {row["name"]: row["value"] for row in doctor._options(settings)}["secret_key"] == "set, not shown"
    with pytest.raises(config.ConfigInvalid) as refused:
        config.load({"secret_key": ["canary-key"]}, {})
    assert "canary" not in refused.value.message


def test_a_secret_has_no_flag() -> None:
    """Arguments are visible to other users of a machine."""
    secrets = [option.name for option in config.OPTIONS if option.is_secret]
    assert secrets == ["secret_key"]
    flags = subprocess.run(
        [sys.executable, "-m", "narrows", "serve", "--secret-key", "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No such option" in flags.stderr
