"""One trigger by key and by id, payloads of its own row, its timeline, all under a prefix, and what
retention and the roles look for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.ids import first_id_at
from narrows.core.keys import prefix_end
from narrows.core.records import NEVER, ApiKey, Counters
from narrows.errors import InvalidRequest, NotFound
from narrows.operations import reads as r
from narrows.operations.reads import retention
from tests.operations.reads_kit import NOW, SECOND, Reads, make_trigger


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    return Reads(tmp_path / "store.db")


def test_by_key_means_the_newest(reads: Reads) -> None:
    reads.trigger("k", status="canceled")
    newest = reads.trigger("k", ordinal=2)
    assert reads.read(r.GetTrigger("p", "k")) == newest
    assert reads.read(r.GetTriggerById("p", newest.id)) == newest
    for read in (r.GetTrigger("q", "k"), r.GetTriggerById("q", newest.id), r.GetTriggerById("p", "x")):
        with pytest.raises(NotFound):
            reads.read(read)


def test_not_found_names_what_waits_nearby(reads: Reads) -> None:
    reads.trigger("Approval:1")
    reads.trigger("APPROVAL:1", status="canceled")
    with pytest.raises(NotFound) as refusal:
        reads.read(r.GetTrigger("p", "approval:1"))
    assert refusal.value.details == (
        "A wait is open under 'Approval:1': it differs by upper and lower case.",
    )


def test_large_payloads_are_put_back(reads: Reads) -> None:
    ids = [reads.new_id(NOW) for _ in range(3)]
    reads.insert("payloads", [("p", payload_id, f'"{number}"', 1) for number, payload_id in enumerate(ids)])
    reads.trigger(
        "k",
        status="received",
        request_payload_id=ids[0],
        response_payload_id=ids[1],
        expected_schema_id=ids[2],
    )
    trigger = reads.read(r.GetTrigger("p", "k"))
    assert (trigger.request_payload, trigger.response_payload) == ('"0"', '"1"')
    assert reads.read(r.LoadSchema("p", ids[2])) == '"2"'
    at_hand = trigger._replace(response_payload=None, request_payload="kept")
    (again,) = reads.read(r.LoadBodies((at_hand,)))
    assert (again.request_payload, again.response_payload) == ("kept", '"1"')
    assert reads.read(r.LoadBodies(())) == ()
    with pytest.raises(NotFound):
        reads.read(r.LoadSchema("q", ids[2]))


def test_the_timeline_is_the_chain_oldest_first(reads: Reads) -> None:
    previous = None
    facts = []
    for number in range(250):
        fact = reads.fact("trigger.extended", "t", previous, NOW + number)
        facts.append(fact)
        previous = fact.id
    trigger = reads.trigger("k", last_fact_id=previous)
    assert reads.read(r.Timeline("p", trigger.id)) == facts[-200:]
    other = reads.trigger("l", last_fact_id=facts[2].id)
    assert reads.read(r.Timeline("p", other.id)) == facts[:3]
    assert reads.read(r.Timeline("p", reads.trigger("m").id)) == []


keys = st.text(st.sampled_from("ab%_\\*?/:ä\U0010ffff\ue000\ud7ff😀"), min_size=1, max_size=4)


@given(st.sets(keys, max_size=12), keys)
def test_a_prefix_counts_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, found: set[str], prefix: str
) -> None:
    reads = Reads(tmp_path_factory.mktemp("prefix") / "store.db")
    triggers = [make_trigger(reads.new_id(NOW), key) for key in sorted(found, reverse=True)]
    reads.insert("triggers", triggers)
    expected = [t.id for t in triggers if t.event_key.encode().startswith(prefix.encode())]
    assert reads.read(r.WaitingUnderPrefix("p", prefix)) == expected
    listed = reads.read(r.ListTriggers(project_id="p", key_prefix=prefix)).items
    assert [trigger.id for trigger in listed] == expected[::-1]
    reads.connection.close()


def test_only_waits_for_events_of_this_project_count_under_a_prefix(reads: Reads) -> None:
    wait = reads.trigger("a:1")
    reads.trigger("a:2", status="received")
    reads.trigger("a:3", trigger_type="sleep")
    reads.trigger("a:4", project_id="q")
    assert reads.read(r.WaitingUnderPrefix("p", "a:")) == [wait.id]
    assert reads.read(r.WaitingUnderPrefix("p", "b")) == []
    plan = reads.plan("waiting_under_prefix", prefix="a", prefix_end=prefix_end("a"))
    assert "INDEX triggers_key (project_id=? AND event_key>? AND event_key<?)" in " ".join(plan)


def test_settled_triggers_go_in_looks_that_lose_none(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOOK", 7)
    reads.insert("roots", [("p", "live", "run", NOW, None), ("p", "ended", "run", NOW, NOW)])
    before = NOW + 1_000 * SECOND
    expected = []
    for number in range(60):
        at = NOW + number * 20 * SECOND
        root_id = (None, "live", "ended")[number % 3]
        status = ("waiting", "received", "canceled", "timed_out")[number % 4]
        trigger = reads.trigger(f"k{number}", at, status=status, root_id=root_id)
        if status != "waiting" and root_id != "live" and at + SECOND < before:
            expected.append(trigger.id)
    for limit in (1, 3, 100):
        found: list[str] = []
        last: str | None = first_id_at(0)
        while last is not None:
            ids, last = reads.read(r.SettledTriggers("p", before, last, limit))
            assert len(ids) <= limit
            found += ids
        assert found == expected
    assert reads.read(r.CountSettled("p", before)) == len(expected) > 10
    assert reads.read(r.SettledTriggers("q", before, "", 10)) == ([], None)
    for statement in ("settled_ceiling", "settled_triggers"):
        assert "(project_id=? AND id>? AND id<?)" in reads.plan(statement)[0]


def test_old_rows(reads: Reads) -> None:
    reads.insert("projects", [("p", None, NOW), ("q", None, NOW)])
    old = [reads.fact("project.created", "p", None, NOW + n) for n in range(3)]
    admin = old[0]._replace(project_id="-", id=reads.new_id(NOW))
    reads.insert("facts", [admin])
    reads.fact("project.created", "p", None, NOW + 10)
    unmatched = reads.unmatched("k", NOW)
    reads.unmatched("k", NOW + 10)
    for n in (0, 10):
        reads.insert("stream_tokens", [(f"token{n}", "p", "t", None, NOW + n, None)])
        reads.insert("idempotency_records", [(f"scope{n}", "p", "b", 200, None, None, None, NOW + n)])
    found = reads.read(r.OldRows("facts", NOW + 10, 100))
    assert sorted(found) == sorted((fact.project_id, fact.id) for fact in (*old, admin))
    assert len(reads.read(r.OldRows("facts", NOW + 10, 2))) == 2
    assert reads.read(r.OldRows("unmatched_events", NOW + 10, 100)) == [("p", unmatched.id)]
    assert reads.read(r.OldRows("stream_tokens", NOW + 10, 100)) == [("token0",)]
    assert reads.read(r.OldRows("idempotency_records", NOW + 10, 100)) == [("scope0",)]
    with pytest.raises(ValueError, match="retention"):
        reads.read(r.OldRows("triggers", NOW, 1))
    assert not [line for line in reads.plan("old_facts") if "SCAN f" in line]
    assert not [line for line in reads.plan("old_stream_tokens") if "SCAN" in line]
    assert not [line for line in reads.plan("old_idempotency_records") if "SCAN" in line]


def test_due_triggers_are_read_from_a_place_in_their_order(reads: Reads) -> None:
    for number in range(9):
        reads.trigger(f"k{number}", expires_at=NOW + number // 3, project_id="pq"[number % 2])
    reads.trigger("settled", status="canceled", expires_at=NOW)
    reads.trigger("later", expires_at=NOW + 50)
    reads.trigger("never", timeout_secs=0, expires_at=NEVER)
    everything = reads.read(r.DueTriggers((0, "", ""), NOW + 49, 100))
    assert len(everything) == 9
    assert everything == sorted(everything)
    for place, due in enumerate(everything):
        assert reads.read(r.DueTriggers(due, NOW + 49, 3)) == everything[place + 1 : place + 4]
    plan = reads.plan("due_triggers", after_at=1, until=2, most=1)
    assert "INDEX triggers_due" in plan[0]
    assert ">" in plan[0]
    assert "<" in plan[0]
    assert len(plan) == 1


def test_marks_counts_and_the_oldest_wait(reads: Reads) -> None:
    assert reads.read(r.ReadMark("expire")) is None
    reads.insert("marks", [("expire", 5)])
    assert reads.read(r.ReadMark("expire")) == 5
    assert reads.read(r.OldestWaiting()) is None
    assert reads.read(r.SchemaVersion()) >= 1
    assert reads.read(r.GetStats("p")) == Counters("p", "", 0, 0, 0, 0, 0, 0, 0)
    reads.trigger("k0", NOW - 5, status="received")
    reads.trigger("k1", NOW + 3)
    reads.trigger("k2", NOW + 7, project_id="q")
    counters = [
        ("p", "local", 1, 1, 0, 0, 9, 0),
        ("q", "local", 2, 0, 3, 4, 0, 0),
        ("q", "b", -1, 0, 0, 0, 0, 1),
    ]
    reads.insert("counters", counters)
    assert reads.read(r.OldestWaiting()) == NOW + 3
    assert reads.read(r.CountByStatus()) == {"waiting": 2, "received": 1, "timed_out": 3, "canceled": 4}
    assert reads.read(r.GetStats("q")) == Counters("q", "", 1, 0, 3, 4, 0, 1, 0)


def test_the_oldest_wait_behind_many_settled_ones(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narrows.operations.reads.due._LOOK_IN_PROJECT", 3)
    reads.insert("counters", [("p", "local", 1, 5, 0, 0, 9, 0)])
    for number in range(5):
        reads.trigger(f"k{number}", NOW + number, status="received")
    reads.trigger("k", NOW + 9)
    assert reads.read(r.OldestWaiting()) == NOW + 9
    monkeypatch.setattr("narrows.operations.reads.due._LOOK_AT_DUE_TIMES", 3)
    assert reads.read(r.OldestWaiting()) is None


def test_projects_and_api_keys_page(reads: Reads) -> None:
    reads.insert("projects", [(f"p{number}", None, NOW) for number in range(5)])
    keys = [
        ApiKey(f"0{number}", ("p", None)[number % 2], None, "[]", "", NOW, None, None, None, None)
        for number in range(6)
    ]
    reads.insert("api_keys", keys)
    page = reads.read(r.ListProjects(limit=3))
    rest = reads.read(r.ListProjects(limit=3, cursor=page.next_cursor))
    assert [project.id for project in (*page.items, *rest.items)] == ["p0", "p1", "p2", "p3", "p4"]
    assert not rest.has_more
    page_of_keys = reads.read(r.ListApiKeys(None, limit=4))
    rest_of_keys = reads.read(r.ListApiKeys(None, limit=4, cursor=page_of_keys.next_cursor))
    assert [*page_of_keys.items, *rest_of_keys.items] == keys[::-1]
    assert reads.read(r.ListApiKeys("p")).items == tuple(
        keys[::-2][1:] if keys[-1].project_id == "p" else keys[-2::-2]
    )
    assert reads.read(r.GetApiKey("00")) == keys[0]
    assert reads.read(r.GetApiKey("zz")) is None
    assert reads.read(r.GetProject("p0")) is not None
    assert reads.read(r.GetProject("none")) is None
    for read in (r.ListProjects(cursor="/"), r.ListApiKeys(None, cursor="/")):
        with pytest.raises(InvalidRequest):
            reads.read(read)


def test_held_events_are_listed_until_they_are_delivered_or_outdated(reads: Reads) -> None:
    payload_id = reads.new_id(NOW)
    reads.insert("payloads", [("p", payload_id, '"large"', 1)])
    held = [reads.held("k", NOW + n, payload=None, payload_id=payload_id) for n in range(3)]
    other = reads.held("l")
    reads.held("k", status="delivered", payload=None)
    reads.held("k", held_until=NOW)
    of_key = reads.read(r.ListHeldEvents("p", "k", limit=2))
    assert [event.id for event in of_key.items] == [held[2].id, held[1].id]
    assert of_key.items[0].payload == '"large"'
    rest = reads.read(r.ListHeldEvents("p", "k", limit=2, cursor=of_key.next_cursor))
    assert ([event.id for event in rest.items], rest.has_more) == ([held[0].id], False)
    everything = reads.read(r.ListHeldEvents("p")).items
    assert {event.id for event in everything} == {other.id, *(event.id for event in held)}
    assert (
        "INDEX held_events_key (project_id=? AND event_key=? AND id<?)" in reads.plan("list_held_key_page")[0]
    )


def test_due_held_events_are_read_in_their_order(reads: Reads) -> None:
    held = [reads.held("k", held_until=NOW + at) for at in (3, 1, 2)]
    assert [row[2] for row in reads.read(r.DueHeldEvents(NOW + 2, 10))] == [held[1].id, held[2].id]
    assert "COVERING INDEX held_events_due" in reads.plan("due_held_events")[0]


def test_unmatched_events_page(reads: Reads) -> None:
    came = [reads.unmatched("kl"[n % 2], NOW + n) for n in range(5)]
    page = reads.read(r.ListUnmatched("p", limit=3))
    rest = reads.read(r.ListUnmatched("p", limit=3, cursor=page.next_cursor))
    assert [*page.items, *rest.items] == came[::-1]
    assert reads.read(r.ListUnmatched("p", "l")).items == (came[3], came[1])
    assert "unmatched_events_key (project_id=? AND event_key=? AND id<?)" in " ".join(
        reads.plan("list_unmatched_key_page")
    )
