"""Secrets at rest, run tokens, and the key file: made once, kept closed, and told apart from a wrong one."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.clock import SystemClock
from narrows.errors import StorageError
from narrows.keyring import FILE_NAME, Keyring, RunTicket, signing_secrets

OLD, NEW = b"o" * 32, b"n" * 32
RUN = "0192f0c1-7c1e-7000-8000-000000000001"


def text_of(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


# ---- secrets ---------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_a_secret_comes_back_and_is_not_to_be_seen(secret: str) -> None:
    kept = Keyring.of(NEW).encrypt(secret)
    assert kept.isascii()
    assert len(secret) < 4 or secret not in kept
    assert Keyring.of(NEW).decrypt(kept) == secret


def test_an_older_key_opens_what_it_closed_and_the_newest_closes() -> None:
    kept = Keyring.of(OLD).encrypt("whsec_x")
    assert Keyring.of(NEW, OLD).decrypt(kept) == "whsec_x"
    assert Keyring.of(NEW).decrypt(Keyring.of(NEW, OLD).encrypt("whsec_y")) == "whsec_y"


@pytest.mark.parametrize(
    "kept",
    [Keyring.of(OLD).encrypt("x"), "", "gAAAA", "no base64 ü", "\0"],
    ids=["of another key", "empty", "cut", "no base64", "NUL"],
)
def test_what_no_key_opens_says_what_to_do(kept: str) -> None:
    with pytest.raises(StorageError, match="cannot be decrypted") as refused:
        Keyring.of(NEW).decrypt(kept)
    assert "Bring back the key" in refused.value.message


def test_a_changed_secret_is_refused() -> None:
    kept = Keyring.of(NEW).encrypt("whsec_abc")
    for place in range(0, len(kept), 7):
        changed = kept[:place] + ("A" if kept[place] != "A" else "B") + kept[place + 1 :]
        with pytest.raises(StorageError):
            Keyring.of(NEW).decrypt(changed)


def test_only_secrets_that_are_still_valid_sign_newest_first() -> None:
    ring = Keyring.of(NEW)
    rows = [[ring.encrypt("new"), None], [ring.encrypt("old"), 100], [ring.encrypt("older"), 50]]
    assert signing_secrets(ring, json.dumps(rows), 49) == ["new", "old", "older"]
    assert signing_secrets(ring, json.dumps(rows), 50) == ["new", "old"]
    assert signing_secrets(ring, json.dumps(rows), 100) == ["new"]


def test_a_secret_that_is_over_need_not_be_readable() -> None:
    rows = [[Keyring.of(NEW).encrypt("new"), None], [Keyring.of(OLD).encrypt("old"), 100]]
    assert signing_secrets(Keyring.of(NEW), json.dumps(rows), 100) == ["new"]


# ---- run tokens ------------------------------------------------------------------------------


def test_a_run_token_opens_for_its_run_and_says_its_dispatch() -> None:
    ring = Keyring.of(NEW)
    token = ring.run_token("shop", RUN, 12)
    assert token.startswith("nrt_")
    assert token == ring.run_token("shop", RUN, 12)
    assert ring.open_run_token(token, RUN) == RunTicket("shop", RUN, 12)
    assert ring.open_run_token(token, RUN[:-1] + "2") is None


def test_a_run_token_of_an_older_key_holds_and_of_a_foreign_one_does_not() -> None:
    token = Keyring.of(OLD).run_token("shop", RUN, 1)
    assert Keyring.of(NEW, OLD).open_run_token(token, RUN) is not None
    assert Keyring.of(NEW).open_run_token(token, RUN) is None


def test_no_changed_character_of_a_run_token_is_accepted() -> None:
    ring = Keyring.of(NEW)
    token = ring.run_token("shop", RUN, 1)
    for place in range(len(token)):
        for other in "A_b9":
            changed = token[:place] + other + token[place + 1 :]
            assert changed == token or ring.open_run_token(changed, RUN) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nrt_",
        "nrt__",
        "nrt_" + "A" * 43,
        "nrt_" + "A" * 87,
        "nrt_c2hvcA_" + "A" * 43,
        "nrt_c2hvcAAx_" + "é" * 43,
        "nrt_" + "A" * 5_000 + "_" + "A" * 43,
        " " + Keyring.of(NEW).run_token("shop", RUN, 1),
        Keyring.of(NEW).run_token("shop", RUN, 1) + "\n",
        Keyring.of(NEW).run_token("shop", RUN, 1) + "=",
        Keyring.of(NEW).run_token("shop", RUN, 0),
    ],
)
def test_what_is_no_run_token_is_none(token: str) -> None:
    assert Keyring.of(NEW).open_run_token(token, RUN) is None


@given(st.text(max_size=120))
def test_any_text_is_refused_and_never_an_error(text: str) -> None:
    assert Keyring.of(NEW).open_run_token(text, RUN) is None
    assert Keyring.of(NEW).open_run_token("nrt_" + text, RUN) is None


def test_project_and_run_cannot_be_moved_into_one_another() -> None:
    ring = Keyring.of(NEW)
    made = {ring.run_token(project, run, 1) for project in ("a", "a\0b", "ab") for run in ("c", "b\0c", "bc")}
    signatures = {token[-43:] for token in made}
    assert len(made) == 9
    # A project's id holds no NUL; even so only those two would be alike.
    assert len(signatures) >= 8


def test_callback_tokens_are_the_same_again_and_differ_by_every_part() -> None:
    ring = Keyring.of(NEW)
    made = [ring.callback_token(ticket, number) for ticket, number in _parts()]
    assert len(set(made)) == len(made)
    assert made == [Keyring.of(NEW).callback_token(*parts) for parts in _parts()]
    assert all(len(token) == 43 for token in made)


def test_a_repeat_gets_the_same_callback_token_after_a_newer_key_has_come() -> None:
    """Only its hash is stored: another one in the repeated answer would open nothing."""
    before, after = Keyring.of(OLD), Keyring.of(NEW, OLD)
    token = before.run_token("shop", RUN, 1)
    first, repeated = before.open_run_token(token, RUN), after.open_run_token(token, RUN)
    assert first is not None
    assert repeated is not None
    assert after.callback_token(repeated, 0) == before.callback_token(first, 0)


def _parts() -> list[tuple[RunTicket, int]]:
    return [
        (RunTicket(p, r, d), n) for p in ("a", "b") for r in ("1", "2") for d in (1, 12) for n in (0, 1, 2)
    ]


def test_keys_of_different_purposes_differ() -> None:
    """A token of one kind tells nothing about another kind or about the key itself."""
    ring = Keyring.of(NEW)
    run = ring.run_token("a", "b", 1)[-43:]
    assert len({run, ring.callback_token(RunTicket("a", "b", 1), 0)}) == 2
    assert base64.b64encode(NEW).decode() not in repr(ring)


# ---- the key file ----------------------------------------------------------------------------


def test_a_missing_key_file_is_made_for_its_owner_only_and_found_again(tmp_path: Path) -> None:
    kept = Keyring.open(tmp_path / "data", None).encrypt("whsec_x")
    path = tmp_path / "data" / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert Keyring.open(tmp_path / "data", None).decrypt(kept) == "whsec_x"
    assert [each.name for each in path.parent.iterdir()] == [FILE_NAME]


def test_the_key_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Keyring.open(tmp_path, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_draft_of_a_process_that_died_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / f".{FILE_NAME}.{os.getpid()}.{threading.get_ident()}").write_text("half")
    Keyring.open(tmp_path, None)
    assert [each.name for each in tmp_path.iterdir()] == [FILE_NAME]


def test_who_comes_second_takes_the_key_of_the_first(tmp_path: Path) -> None:
    class Late(SystemClock):
        """Between this process's look and its own file another makes one."""

        def random_bytes(self, count: int) -> bytes:
            if not (tmp_path / FILE_NAME).exists():
                (tmp_path / FILE_NAME).touch(0o600)
                (tmp_path / FILE_NAME).write_text(text_of(OLD))
            return NEW

    ring = Keyring.open(tmp_path, None, Late())
    assert ring.run_token("p", RUN, 1) == Keyring.of(OLD).run_token("p", RUN, 1)


def test_threads_that_start_together_get_one_key(tmp_path: Path) -> None:
    made: list[str] = []
    start = threading.Barrier(2)

    def go() -> None:
        start.wait()
        made.append(Keyring.open(tmp_path, None).run_token("p", RUN, 1))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert len(set(made)) == 1


def test_configured_keys_count_before_the_file_which_still_opens(tmp_path: Path) -> None:
    by_file = Keyring.open(tmp_path, None).encrypt("x")
    moved = Keyring.open(tmp_path, text_of(NEW, OLD))
    assert moved.decrypt(by_file) == "x"
    assert Keyring.of(NEW).decrypt(moved.encrypt("y")) == "y"
    assert moved.decrypt(Keyring.of(OLD).encrypt("z")) == "z"


def test_configured_keys_make_no_file(tmp_path: Path) -> None:
    Keyring.open(tmp_path, text_of(NEW))
    assert list(tmp_path.iterdir()) == []


def test_url_safe_spelling_and_white_space_are_taken(tmp_path: Path) -> None:
    key = b"\xfb\xff" * 16
    spelt = base64.urlsafe_b64encode(key).decode()
    assert "-" in spelt or "_" in spelt
    ring = Keyring.open(tmp_path, f" {spelt} ,\n{text_of(OLD)}\n")
    assert ring.run_token("p", RUN, 1) == Keyring.of(key).run_token("p", RUN, 1)


@pytest.mark.parametrize(
    "given_key", ["secret", "x" * 44, text_of(b"k" * 16), text_of(NEW) + ",short", "ü" * 44]
)
def test_a_bad_configured_key_is_refused_and_never_repeated(tmp_path: Path, given_key: str) -> None:
    with pytest.raises(StorageError, match="openssl rand") as refused:
        Keyring.open(tmp_path, given_key)
    assert "NARROWS_SECRET_KEY" in refused.value.message
    assert given_key not in refused.value.message


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / FILE_NAME
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"", b"\n", b"garbage", b"\xff\xfe\x00", text_of(NEW)[:-9].encode()])
def test_a_key_file_without_keys_says_so(tmp_path: Path, content: bytes) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(StorageError, match="key file") as refused:
        Keyring.open(tmp_path, None)
    assert str(path) in refused.value.message


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
def test_a_key_file_open_to_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    _file(tmp_path, text_of(NEW).encode(), mode)
    with pytest.raises(StorageError, match="chmod 600"):
        Keyring.open(tmp_path, None)


def test_a_group_may_read_the_key_file(tmp_path: Path) -> None:
    _file(tmp_path, text_of(NEW).encode(), 0o660)
    Keyring.open(tmp_path, None)


def test_a_key_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        Keyring.open(tmp_path, None)


def test_a_key_file_that_cannot_be_made_says_what_else_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be (read|made)"):
        Keyring.open(tmp_path / "file", None)


def test_a_lost_key_file_is_told_by_the_first_secret(tmp_path: Path) -> None:
    kept = Keyring.open(tmp_path, None).encrypt("x")
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(StorageError, match="was missing and made at this start"):
        Keyring.open(tmp_path, None).decrypt(kept)
