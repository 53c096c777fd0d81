"""The transform of an output: what a JSONPath finds, spelled as it was, and what is refused."""

from __future__ import annotations

import json
import time

import pytest

from narrows.operations.json_paths import JsonPaths

OUTPUT = '{"user":{"id":7,"rate":1.50},"items":[{"n":1e3,"ok":true},{"n":2,"ok":false}],"none":null}'


@pytest.fixture(scope="module")
def paths() -> JsonPaths:
    return JsonPaths()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.user.rate", "1.50"),
        ("$['user']", '{"id":7,"rate":1.50}'),
        ("$.none", "null"),
        ("$.items[-1].n", "2"),
        ("$", OUTPUT),
        ("$.items[*].n", "[1e3,2]"),
        ("$.items[?@.ok == true].n", "[1e3]"),
        ("$.items[?@.n > 5].n", "[1e3]"),
        ("$..n", "[1e3,2]"),
        ("$.items[0:1]", '[{"n":1e3,"ok":true}]'),
        ("$.user['id','rate']", "[7,1.50]"),
        ("$.items[?length(@.ok) == 1]", "[]"),
        ("$.items[?@.x]", "[]"),
    ],
)
def test_what_a_path_finds(paths: JsonPaths, path: str, found: str) -> None:
    assert paths.check(path) is None
    assert paths.transform(path, OUTPUT) == (found, None)


@pytest.mark.parametrize("path", ["$.nobody", "$.items[7]", "$.user.id.x"])
def test_a_path_to_one_value_must_find_it(paths: JsonPaths, path: str) -> None:
    assert paths.transform(path, OUTPUT) == (None, "finds nothing")
    assert paths.transform("$", None) == ("null", None)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("user.id", "no JSONPath"),
        ("$.", "no JSONPath"),
        ("$.a ", "no JSONPath"),
        ("$.a | $.b", "no JSONPath"),
        ("$[?match(@.a, 'a+')]", "match"),
        ("$[?search(@.a, 'a+')]", "search"),
        ("$..a..b", "'..'"),
        ("$[?@..a]", "filter"),
        ("$[?count(@.*) > 1]", "filter"),
        ("$[?@[?@.a]]", "filter"),
        ("$[*][*][*][*]", "several members"),
        ("$" + "[0,0]" * 20, "too many selectors"),
        ("$[" + "0," * 10 + "0]", "too many selectors"),
        ("$[?" + "(" * 900 + "@.a" + ")" * 900 + "]", "no JSONPath"),
    ],
)
def test_what_is_refused_when_a_definition_is_saved(paths: JsonPaths, path: str, fault: str) -> None:
    found = paths.check(path)
    assert found is not None
    assert fault in found
    assert paths.transform(path, OUTPUT).fault == found


def test_too_much_is_not_handed_on(paths: JsonPaths) -> None:
    assert paths.transform("$[*]", json.dumps([1] * 10_000)).fault is None
    assert paths.transform("$[*]", json.dumps([1] * 10_001)).fault == "finds over 10,000 values"


@pytest.mark.parametrize(
    "path", ["$..[*][*][*,*]", "$..[*,*,*,*,*].b[*,*]", "$..[?@.a > 5 && @.b != @.c].b[*]"]
)
def test_the_worst_that_the_limits_let_through_takes_no_more_than_a_second(
    paths: JsonPaths, path: str
) -> None:
    assert paths.check(path) is None
    output = json.dumps({"l": [{"a": number, "b": [1, 2, 3]} for number in range(2_000)]})
    start = time.process_time()
    paths.transform(path, output)
    assert time.process_time() - start < 4  # a busy machine
