"""Recorded HTTP histories are linearizable, by a checker that is itself shown to refuse bad ones: planted
ones, and recorded ones with one answer changed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.linearizability import bad_early_events, bad_histories, good_histories
from tests.linearizability.brute_force import beginning, is_linearizable
from tests.linearizability.campaign import Report
from tests.linearizability.checker import check
from tests.linearizability.history import History
from tests.linearizability.mutations import MUTATIONS, mutate
from tests.linearizability.nodes import NODES, running
from tests.linearizability.notation import read
from tests.linearizability.planted_bugs import SOME, hunt
from tests.linearizability.recorder import record

HISTORIES = 300
BAD = bad_histories.BAD | bad_early_events.BAD
#: Of histories with one answer changed; what is left has an order in spite of the change.
LEAST_REFUSED = 0.93


@pytest.fixture(scope="module", params=NODES)
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The base URLs of the servers, all of one database."""
    database = request.param
    with running(tmp_path_factory.mktemp("linearizability"), database, NODES[database]) as servers:
        yield [server.url for server in servers]


@pytest.fixture(scope="module")
def histories(urls: list[str]) -> list[History]:
    recording = asyncio.run(record(urls, "linearizability", HISTORIES, seed=1))
    assert recording.faults == []
    return recording.histories


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused(name: str) -> None:
    history = read(name, BAD[name])
    verdict = check(history)
    assert not verdict.is_ok
    assert "cannot" in verdict.text
    assert not is_linearizable(history)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_bad_for_one_answer(name: str) -> None:
    """Were one answer never given, the rest would be right: it is refused for that, not for a slip."""
    history = read(name, BAD[name])
    operations = history.operations
    without = [
        History(name, (*operations[:place], each._replace(outcome=None), *operations[place + 1 :]))
        for place, each in enumerate(operations)
    ]
    assert any(check(each).is_ok for each in without)


@pytest.mark.parametrize("name", good_histories.GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    verdict = check(read(name, good_histories.GOOD[name]))
    assert verdict.is_ok, verdict.text


@pytest.mark.slow
def test_recorded_histories_are_linearizable(histories: list[History]) -> None:
    report = Report()
    report.take(histories)
    assert not report.faults, "\n\n".join(report.faults[:3])
    assert report.histories >= HISTORIES
    # What never happened has not been shown to be right.
    assert min(report.ended[each] for each in ("received", "timed_out", "canceled")) >= 20, report.ended
    assert report.unknown >= 20
    for answer in (
        "start 201",
        "send 202",
        "send by prefix 200",
        "extend 200",
        "open 409",
        "open 200",
        "cancel 404",
    ):
        assert report.answers[answer] >= 5, report.answers


@pytest.mark.slow
def test_a_history_with_one_answer_changed_is_refused(
    histories: list[History], record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(1)
    made, refused = Counter[str](), Counter[str]()
    for mutation in MUTATIONS:
        name = mutation.__name__
        for history in histories[::2]:
            wrong = mutate(history, mutation, dice)
            if wrong is not None:
                made[name] += 1
                refused[name] += not check(wrong).is_ok
    shares = {name: round(refused[name] / made[name], 3) for name in made}
    assert refused.total() >= LEAST_REFUSED * made.total(), shares
    record_property("bad histories refused", f"{refused.total()} of {made.total()}: {shares}")


@pytest.mark.slow
def test_the_checker_says_what_trying_every_order_says(histories: list[History]) -> None:
    """On the beginnings of recorded histories, right and with an answer changed."""
    dice = random.Random(1)
    said = Counter[bool]()
    for history in histories:
        short = beginning(history, 6)
        wrong = mutate(short, dice.choice(MUTATIONS), dice)
        for each in (short, wrong):
            if each is not None and len(each.operations) <= 10:
                is_ok = is_linearizable(each)
                assert check(each).is_ok == is_ok, check(each).text
                said[is_ok] += 1
    assert min(said[True], said[False]) >= 50, said


@pytest.mark.slow
def test_bugs_planted_into_a_server_are_found(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    found = hunt(tmp_path, SOME)
    assert all(found.values()), found
    record_property("planted bugs found after so many histories", found)
