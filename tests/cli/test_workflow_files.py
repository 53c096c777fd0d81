"""Files of definitions: what YAML means here, where its faults are, and what counts as a change."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from narrows.cli import yaml_texts
from narrows.cli.workflow_files import Document, changes, read
from narrows.cli.yaml_texts import YamlInvalid, json_texts


def value(text: str) -> Any:
    (found,) = json_texts(text)
    return json.loads(found)


# ---- YAML is JSON, written otherwise ---------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("1.5e3", 1500.0),
        # What other readers make something else of.
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("2030-01-31", "2030-01-31"),
        ("2030-01-31T09:00:00Z", "2030-01-31T09:00:00Z"),
        ("007", "007"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        (".5", ".5"),
        ("+1", "+1"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1.4.0", "1.4.0"),
        ("=", "="),
        ("aml:{{payload.user_id}}", "aml:{{payload.user_id}}"),
        ("'true'", "true"),
        ('"12"', "12"),
        ('"\\u00e9\\n"', "é\n"),
        ("outputs.a.b == \"x\" && true", 'outputs.a.b == "x" && true'),
        ("[1, no, {a: 2}]", [1, "no", {"a": 2}]),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)  # fmt: skip
def test_a_word_is_what_json_takes_it_for_or_a_text(word: str, meant: object) -> None:
    found = value(f"a: {word}")["a"]
    assert found == meant
    assert type(found) is type(meant)


def test_numbers_keep_their_spelling_and_names_are_texts() -> None:
    assert json_texts("a: 1.50\n2: 1e400\nno: 12345678901234567890.0\n'x y': -0") == [
        '{"a":1.50,"2":1e400,"no":12345678901234567890.0,"x y":-0}'
    ]


def test_several_documents_and_empty_ones() -> None:
    assert json_texts("# nothing\n---\na: 1\n---\n---\nb: 2\n...\n") == ['{"a":1}', '{"b":2}']
    assert json_texts("") == json_texts("# only this\n") == []


def test_anchors_stand_for_what_they_name() -> None:
    text = "a: &s {type: object}\nb: *s\nc: [*s, &n 1.50, *n]\n---\nd: 1"
    assert json_texts(text) == [
        '{"a":{"type":object},"b":{"type":object},"c":[{"type":object},1.50,1.50]}'.replace(
            "object", '"object"'
        ),
        '{"d":1}',
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: True", 2, 4, 'write true, or "True"'),
        ("a: ~", 1, 4, "write null"),
        ("a: 1\nb: {c: 2, c: 3}", 2, 11, "'c' stands twice"),
        ("a: {{payload.x}}", 1, 5, "must stand in quotes"),
        ("a:\n  - {{x}}-y", 2, 6, "must stand in quotes"),
        ("a: {{x}}:y", 1, 5, "must stand in quotes"),
        ("a: !!str 5", 1, 4, "tags like tag:yaml.org,2002:str"),
        ("a: !python/object:os.system x", 1, 4, "tags like !python"),
        ("? [a]\n: 1", 1, 3, "a name must be a text"),
        ("a: &x 1\n*x : 2", 2, 1, "a name must be a text"),
        ("a: *x", 1, 4, "names nothing before it"),
        ("a: &x [*x]", 1, 8, "stands within what it names"),
        ("a: &x 1\n---\nb: *x", 3, 4, "names nothing before it"),
        ("<<: {a: 1}", 1, 1, "<< is not read"),
        ("a: b: c", 1, 5, "not allowed"),
        ("a: 1\n\tb: 2", 2, 1, "tab character"),
        ("a: [1,\nb", 3, 1, "flow sequence"),
        ("a: @b", 1, 4, "cannot start any token"),
        ("a: 1\nb: \x01", 2, 4, "character"),
        ("a: " + "[" * 200, 1, 103, "nested deeper than 100"),
    ],
)
def test_a_fault_has_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(YamlInvalid) as refused:
        json_texts(text)
    assert (refused.value.line, words in refused.value.problem) == (line, True), refused.value.problem
    # The two parsers of PyYAML count the column of what ends too early otherwise.
    assert abs(refused.value.column - column) <= 1


def test_a_short_text_that_stands_for_a_long_one_is_refused() -> None:
    lines = ["a0: &a0 [" + ", ".join(["x"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 9)]
    with pytest.raises(YamlInvalid, match="longer than 4 MiB"):
        json_texts("\n".join(lines))


# ---- files -----------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_json_and_yaml_say_the_same(write: Any) -> None:
    (one,) = read(write("w.json", '{"slug": "w", "steps": [{"payload": {"n": 1.50}}]}'))
    (other,) = read(write("w.yaml", "slug: w\nsteps:\n  - payload: {n: 1.50}\n"))
    assert one.slug == other.slug == "w"
    assert msgspec.json.encode(other.members) == b'{"slug":"w","steps":[{"payload":{"n":1.50}}]}'
    assert changes(one, msgspec.json.encode(other.members)) == {}


def test_a_file_may_hold_several(write: Any) -> None:
    for name, text in (
        ("several.json", '[{"slug": "a"}, {"slug": "b"}]'),
        ("several.yaml", "slug: a\n---\nslug: b\n"),
        ("list.yaml", "- slug: a\n- slug: b\n"),
    ):
        found = read(write(name, text))
        assert [document.slug for document in found] == ["a", "b"]
        assert found[1].where.endswith(f"{name}, number 2")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("w.json", '{"slug": "w",\n  steps: []}', "w.json:2:3: "),
        ("w.json", "[" * 100_000, "no JSON"),
        ("w.json", "[1]", "a definition is an object"),
        ("w.yaml", "slug: w\nsteps: {{x}}", "w.yaml:2:9: "),
        ("w.yaml", "just words", "a definition is an object"),
        ("w.yaml", "", "holds no definition"),
        ("w.yaml", "[]", "holds no definition"),
    ],
)
def test_what_is_wrong_with_a_file(write: Any, name: str, text: str, words: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        read(write(name, text))
    assert words in refused.value.message


def test_a_slug_that_is_none_is_left_to_the_server(write: Any) -> None:
    assert [document.slug for document in read(write("w.yaml", "- {slug: 5}\n- {steps: []}"))] == ["", ""]


def test_without_pyyaml_json_is_read_and_yaml_says_what_is_missing(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert read(write("w.json", '{"slug": "w"}'))[0].slug == "w"
    with pytest.raises(typer.BadParameter, match=r"narrows\[workflows\]"):
        read(write("w.yaml", "slug: w"))


def test_the_slower_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    text = "a: [1, no, {b: &x 'c'}]\nd: *x\ne: |\n  f\n"
    fast = yaml_texts.json_texts(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert yaml_texts.json_texts(text) == fast == ['{"a":[1,"no",{"b":"c"}],"d":"c","e":"f\\n"}']


# ---- what is a change ------------------------------------------------------------------------


def document(**members: str) -> Document:
    return Document("here", {name: msgspec.Raw(text.encode()) for name, text in members.items()})


CURRENT = (
    b'{"id":"1","slug":"w","name":"W","timeout_secs":0,"max_parallel_steps":0,"version":3,'
    b'"tags":{"a":"b"},"steps":[{"step_ref":"s","payload":{"n":1.5,"big":123456789012345678901}}]}'
)
SAME = {
    "slug": '"w"',
    "name": '"W"',
    "tags": '{"a":"b"}',
    "steps": '[{"payload": {"big": 123456789012345678901, "n": 1.50}, "step_ref": "s"}]',
}


def test_order_and_spelling_are_no_change() -> None:
    assert changes(document(**SAME), CURRENT) == {}
    assert changes(document(**SAME, timeout_secs="null", description="null"), CURRENT) == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("name", '"V"'),
        ("description", '"new"'),
        ("timeout_secs", "60"),
        ("tags", '{"a":"c"}'),
        ("steps", '[{"step_ref":"s","payload":{"n":1.5,"big":123456789012345678902}}]'),
        ("steps", '[{"step_ref":"s","payload":{"n":"1.5","big":123456789012345678901}}]'),
    ],
)
def test_what_differs_is_a_change(name: str, text: str) -> None:
    found = changes(document(**(SAME | {name: text})), CURRENT)
    assert {name: bytes(found[name])} == {name: text.encode()}
    assert list(found) == [name]


def test_what_is_left_out_is_taken_away() -> None:
    kept = {name: text for name, text in SAME.items() if name not in ("name", "tags")}
    assert {name: bytes(raw) for name, raw in changes(document(**kept), CURRENT).items()} == {
        "name": b"null",
        "tags": b"null",
    }


def test_true_is_not_1() -> None:
    there = b'{"steps":[{"x":1,"y":"1.0"}]}'
    assert "steps" in changes(document(steps='[{"x":true,"y":"1.0"}]'), there)
    assert "steps" in changes(document(steps='[{"x":1,"y":1.0}]'), there)
