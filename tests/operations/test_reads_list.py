"""The list of triggers against a model that filters in Python: every filter, every page size, bounded
looks, and the plans that SQLite makes of its statements."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from narrows.core.ids import make_id
from narrows.core.records import Trigger
from narrows.errors import InvalidRequest
from narrows.operations.reads import ListTriggers, Page, listing, paging
from narrows.operations.reads.times import text_of
from tests.operations.reads_kit import NOW, SECOND, Reads, make_trigger

KEYS = ("a:1", "a:2", "a%:1", "a_", "b", "b/ä", "b/😀")
TAGS = ({"team": "red"}, {"team": "blue", "size:x": "1"}, {'x"team': "red"}, None)


def fill(reads: Reads, count: int) -> list[Trigger]:
    """Triggers over few keys, of all statuses; the newest under each key is the only one waiting."""
    chance = random.Random(7)
    ordinals: dict[str, int] = {}
    triggers = []
    for number in range(count):
        key = chance.choice(KEYS)
        ordinals[key] = ordinals.get(key, 0) + 1
        tags = chance.choice(TAGS)
        trigger = make_trigger(
            make_id(NOW + number // 2, number, 0),
            key,
            NOW + number // 2,
            ordinal=ordinals[key],
            status=chance.choice(("received", "timed_out", "canceled")),
            source_type=chance.choice(("job_run", "workflow_step")),
            job_run_id=chance.choice((None, "run-1", "run-2")),
            tags=None if tags is None else json.dumps(tags, separators=(",", ":")),
        )
        triggers.append(trigger)
    reads.insert("triggers", triggers)
    reads.insert(
        "trigger_tags",
        [
            (trigger.project_id, name, value, trigger.id)
            for trigger in triggers
            for name, value in json.loads(trigger.tags or "{}").items()
        ],
    )
    return triggers


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    return Reads(tmp_path / "store.db")


def pages(reads: Reads, limit: int, **filters: Any) -> Iterator[Page[Trigger]]:
    cursor = None
    while True:
        page = reads.read(ListTriggers(project_id="p", limit=limit, cursor=cursor, **filters))
        yield page
        assert page.has_more == (page.next_cursor is not None)
        if not page.has_more:
            return
        assert cursor is None or page.next_cursor is None or page.next_cursor < cursor
        cursor = page.next_cursor


def matches(trigger: Trigger, filters: dict[str, Any]) -> bool:
    tags = json.loads(trigger.tags or "{}")
    name, colon, value = filters.get("tag", "").partition(":")
    return (
        all(
            getattr(trigger, field) == wanted
            for field, wanted in filters.items()
            if field not in ("tag", "key_prefix")
        )
        and trigger.event_key.encode().startswith(filters.get("key_prefix", "").encode())
        and (not name or (name in tags and (not colon or tags[name] == value)))
    )


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"status": "canceled"},
    {"source_type": "job_run", "status": "received"},
    {"job_run_id": "run-1"},
    {"job_run_id": "run-none"},
    {"workflow_run_id": "none"},
    {"event_key": "a:1"},
    {"event_key": "b/😀", "status": "timed_out"},
    {"event_key": "none"},
    {"event_key": "b", "tag": "team:red"},
    {"key_prefix": "a"},
    {"key_prefix": "a%", "status": "received"},
    {"key_prefix": "a_"},
    {"key_prefix": "b/"},
    {"key_prefix": "none"},
    {"key_prefix": "a", "tag": "team"},
    {"key_prefix": "a", "tag": "team:blue"},
    {"key_prefix": "a", "event_key": "b"},
    {"tag": "team"},
    {"tag": "team:red"},
    {"tag": "team:red", "status": "received"},
    {"tag": "size"},
    {"tag": 'x"team'},
    {"tag": "none:1"},
)


@pytest.mark.parametrize("bounds", ["as shipped", "small looks", "small looks, nothing is few"])
def test_pages_hold_what_the_filters_say(reads: Reads, monkeypatch: pytest.MonkeyPatch, bounds: str) -> None:
    if bounds != "as shipped":
        monkeypatch.setattr(paging, "LOOKS", (5, 23))
    if bounds == "small looks, nothing is few":
        monkeypatch.setattr(listing, "FEW", 3)
    triggers = fill(reads, 240)
    for filters in FILTERS:
        expected = [trigger.id for trigger in reversed(triggers) if matches(trigger, filters)]
        for limit in (1, 7, 100):
            listed = list(pages(reads, limit, **filters))
            assert [trigger.id for page in listed for trigger in page.items] == expected, filters
            assert all(len(page.items) <= limit for page in listed)
            if bounds == "as shipped" and "tag" not in filters:
                assert len(listed) == max(1, -(-len(expected) // limit)), filters


def test_a_look_without_an_index_is_bounded_and_goes_on(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "LOOKS", (10, 50))
    triggers = fill(reads, 120)
    page = reads.read(ListTriggers(project_id="p", job_run_id="run-none"))
    assert page == Page((), True, triggers[-50].id)
    page = reads.read(ListTriggers(project_id="p", job_run_id="run-none", cursor=page.next_cursor))
    assert page == Page((), True, triggers[-100].id)
    page = reads.read(ListTriggers(project_id="p", job_run_id="run-none", cursor=page.next_cursor))
    assert page == Page((), False, None)


def test_a_time_is_a_cursor_and_means_strictly_before(reads: Reads) -> None:
    triggers = fill(reads, 30)
    for at in (NOW, NOW + 5, NOW + 500):
        for filters in ({}, {"event_key": "b"}, {"key_prefix": "a"}, {"tag": "team:red"}):
            page = reads.read(ListTriggers(project_id="p", limit=100, cursor=text_of(at), **filters))
            expected = [t.id for t in reversed(triggers) if t.requested_at < at and matches(t, dict(filters))]
            assert [trigger.id for trigger in page.items] == expected
    assert reads.read(ListTriggers(project_id="p", cursor="0001-01-01T00:00:00Z")).items == ()


@pytest.mark.parametrize("cursor", ["", "x", "2026-13-01T00:00:00Z", "2026-01-01", "a" * 36, "12"])
def test_a_bad_cursor_is_refused(reads: Reads, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        reads.read(ListTriggers(project_id="p", cursor=cursor))


def test_another_project_is_not_seen(reads: Reads) -> None:
    reads.trigger("k", project_id="q", tags='{"a":"b"}')
    for filters in ({}, {"event_key": "k"}, {"key_prefix": "k"}, {"tag": "a"}, {"tag": "a:b"}):
        assert reads.read(ListTriggers(project_id="p", **filters)).items == ()  # type: ignore[arg-type]


def test_limits_are_clamped(reads: Reads) -> None:
    fill(reads, 130)
    assert len(reads.read(ListTriggers(project_id="p", limit=1_000)).items) == 100
    assert len(reads.read(ListTriggers(project_id="p", limit=-3)).items) == 1


def test_a_page_ends_at_eight_mebibytes_and_loses_nothing(reads: Reads) -> None:
    body = json.dumps("x" * 1_000_000)
    wanted = []
    for number in range(20):
        payload_id = reads.new_id(NOW)
        reads.insert("payloads", [("p", payload_id, body, 1)])
        wanted.append(reads.trigger(f"k{number}", NOW + number, request_payload_id=payload_id).id)
    listed = list(pages(reads, 100))
    assert [len(page.items) for page in listed] == [8, 8, 4]
    assert [trigger.id for page in listed for trigger in page.items] == wanted[::-1]
    assert all(trigger.request_payload == body for page in listed for trigger in page.items)


def test_one_row_that_is_larger_than_a_page_is_still_given(reads: Reads) -> None:
    payload_id = reads.new_id(NOW)
    reads.insert("payloads", [("p", payload_id, json.dumps("x" * (9 << 20)), 1)])
    for key in ("one", "two"):
        reads.trigger(key, expected_schema_id=payload_id)
    assert [len(page.items) for page in pages(reads, 100)] == [1, 1]


def test_a_send_between_the_two_looks_cannot_show_a_wrong_status(reads: Reads) -> None:
    trigger = reads.trigger("k")
    load = reads.reader.load

    async def settle_first(statement: str, rows: list[Any]) -> list[Any]:
        if statement == "triggers_by_id":
            reads.connection.execute(
                "update triggers set status = 'canceled', settled_at = ? where id = ?", (NOW, trigger.id)
            )
        return await load(statement, rows)

    reads.reader.load = settle_first  # type: ignore[method-assign]
    assert reads.read(ListTriggers(project_id="p", status="waiting")).items == ()


def test_deep_pages_of_one_key_take_few_probes(reads: Reads) -> None:
    triggers = [
        make_trigger(
            make_id(NOW + n * SECOND, 1, 0), "k", NOW + n * SECOND, ordinal=n * 3 + 1, status="canceled"
        )
        for n in range(3_000)
    ]
    reads.insert("triggers", triggers)
    reads.reader.asked.clear()
    page = reads.read(ListTriggers(project_id="p", event_key="k", limit=2, cursor=triggers[1_000].id))
    assert [trigger.id for trigger in page.items] == [triggers[999].id, triggers[998].id]
    assert len(reads.reader.asked) < 40


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("list_floor", "COVERING INDEX sqlite_autoindex_triggers_1 (project_id=? AND id<?)"),
        ("list_page", "INDEX sqlite_autoindex_triggers_1 (project_id=? AND id>? AND id<?)"),
        ("ordinal_at_most", "INDEX triggers_key (project_id=? AND event_key=? AND ordinal<?)"),
        ("list_key_floor", "INDEX triggers_key (project_id=? AND event_key=? AND ordinal<?)"),
        ("list_key_page", "INDEX triggers_key (project_id=? AND event_key=? AND ordinal>? AND ordinal<?)"),
        ("list_tag_floor", "PRIMARY KEY (project_id=? AND name=? AND value=? AND trigger_id<?)"),
        (
            "list_tag_page",
            "PRIMARY KEY (project_id=? AND name=? AND value=? AND trigger_id>? AND trigger_id<?)",
        ),
        ("prefix_count", "COVERING INDEX triggers_key (project_id=? AND event_key>? AND event_key<?)"),
        ("list_prefix_page", "INDEX triggers_key (project_id=? AND event_key>? AND event_key<?)"),
        ("list_tag_name_page", "PRIMARY KEY (project_id=? AND name=?)"),
    ],
)
def test_plans(reads: Reads, statement: str, index: str) -> None:
    plan = reads.plan(statement)
    assert any(index in line for line in plan), plan
    assert not [line for line in plan if line.startswith("SCAN") and line != "SCAN found"], plan
    if not statement.endswith(("prefix_page", "name_page")):
        assert not [line for line in plan if "TEMP B-TREE" in line], plan
