"""What nodes tell one another, without a database: how a hint is shortened, and that none is lost for good."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from narrows.storage import hints, news
from narrows.storage.committed import Committed, Elsewhere
from narrows.storage.hints import Gathered, Hint
from narrows.storage.members import Nodes
from narrows.storage.news import Interests, News


def _gathered(triggers: int, jobs: int) -> Gathered:
    gathered = Gathered()
    gathered.add(Committed((), (), (), (), 1, 0, 0.0))
    gathered._subjects["p"] = {f"019b76da-a800-7008-8000-{number:012x}" for number in range(triggers)}
    gathered._queued = Counter({("p", f"job-{number:030}"): 1 for number in range(jobs)})
    gathered._due = {"runs": 7}
    return gathered


def test_a_hint_names_what_was_changed() -> None:
    hint = hints.read(_gathered(200, 1).text("n"))
    assert len(list(hint.ids())) == 200
    assert (hint.many, hint.lost, hint.due) == (False, False, {"runs": 7})


def test_too_many_ids_are_left_out_and_the_rest_is_told() -> None:
    hint = hints.read(_gathered(1_000, 1).text("n"))
    assert (hint.many, hint.lost) == (True, False)
    assert hint.queued == [("p", f"job-{0:030}", 1)]
    assert hint.due == {"runs": 7}


def test_where_even_that_is_too_much_everybody_looks_at_the_tables() -> None:
    text = _gathered(10, 1_000).text("n")
    assert len(text) < hints.MOST_BYTES
    assert hints.read(text).lost


class Failing:
    """A store whose first read fails."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, read: Any) -> Any:
        self.reads += 1
        if self.reads == 1:
            raise OSError("the database restarts")
        return [], [], [], []


async def test_a_hint_that_could_not_be_read_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "POLL_SECS", 0)
    published: list[Elsewhere] = []
    heard = asyncio.Event()

    def publish(committed: Committed) -> None:
        assert committed.elsewhere is not None
        published.append(committed.elsewhere)
        heard.set()

    watched = Interests({"t": "p"}, frozenset())
    store = Failing()
    listener = News(store, "own", Nodes(), publish, lambda: watched, None)
    listener._queue.put_nowait(Hint(node="other", many=True))
    consuming = asyncio.create_task(listener._consume())
    async with asyncio.timeout(10):
        await heard.wait()
    consuming.cancel()
    assert store.reads == 2
    assert published == [Elsewhere(missed=True)]
