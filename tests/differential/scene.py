"""What the next step is chosen from: chance, what the model knows to be there, and what was asked before.

Nothing here comes from a database, so that the same seed makes the same sequence whatever is compared. Few
keys, few projects, few names: what is asked has to meet what is there.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeVar

from narrows.operations.base import DEV, Actor
from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import Purge
from narrows.testing import START_US
from tests.differential.oracle import Oracle
from tests.simulation.run_values import ModelRun
from tests.simulation.values import Wait

T = TypeVar("T")
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

PROJECTS = ("default", "default", "south", "North_2")
NOWHERE = "nowhere"
#: Of one family and of none; with what SQL, patterns, collations and JSON take amiss.
KEYS = (
    "a", "a/1", "a/2", "a_1", "a%", "A/1", "b", "b:1", "é", "e\u0301", "Ж", "日本/1", "\U0001f600", "'\"\\", " a", "a ",
    "z" * 510,
)  # fmt: skip
PREFIXES = ("", "a", "a/", "a_", "a%", "b", "é", "e", "日本", "\U0001f600", "'", " ", "\U0010ffff", "zz")
LONG = '"' + "long " * 300 + '"'
LONG_UNICODE = '"' + "ß日\\n" * 400 + '"'
PAYLOADS = (
    None, "null", "1", "1.0", "2", '{"x":1,"y":2}', '{"y":2,"x":1}', "[]", "true", '""', LONG, LONG_UNICODE,
    '{"é\\u00e9":"\'\\"\\\\"}', "123456789012345678901234567890", "-0.5", '[{"a":[null,{}]}]',
)  # fmt: skip
TEXTS = (None, "plain", 'O\'Brien; drop table "triggers"', "日本 \U0001f600 é", "back\\slash %_ {}[]")
TAGS = (None, None, None, '{"team":"x"}', '{"team":"x","über":"a:b"}', '{"team":"y"}')
TIMEOUTS = (0, 1, 2, 5, 20, 90, 90, 3_600, 3_600, 259_200)
URLS = (None, None, None, "https://example.com/hook", "https://example.org/é?a=b&c='d'")


class Scene:
    """One for a sequence; `rng` is all of its chance."""

    def __init__(self, seed: int, oracle: Oracle) -> None:
        self.rng = random.Random(f"{seed} differential")
        self.oracle = oracle
        self.now = START_US
        self.asked = 0
        self._tables: dict[int, tuple[list[Any], list[int]]] = {}
        self.sent: deque[Any] = deque(maxlen=6)
        self.ended: deque[Any] = deque(maxlen=12)
        self.scopes: deque[Any] = deque(maxlen=12)
        self.prefixes: deque[SendPrefix] = deque(maxlen=6)
        self.purges: deque[Purge] = deque(maxlen=4)
        self.claimed: deque[Any] = deque(maxlen=20)
        self.unmatched: deque[Any] = deque(maxlen=30)
        self.messages: deque[Any] = deque(maxlen=60)
        #: What a read of a record starts from: triggers and runs as they were at some time.
        self.triggers: deque[Any] = deque(maxlen=30)
        self.runs: deque[Any] = deque(maxlen=30)
        self.workflow_runs: deque[Any] = deque(maxlen=30)

    # ---- chance ----

    def happens(self, chance: float) -> bool:
        return self.rng.random() < chance

    def pick(self, among: Sequence[T]) -> T:
        return self.rng.choice(among)

    def some(self, among: Iterable[T], most: int) -> list[T]:
        """A few of them, in an order of chance; perhaps none."""
        all_of_them = list(among)
        return self.rng.sample(all_of_them, min(len(all_of_them), self.rng.randint(0, most)))

    def weighed(self, weights: Mapping[T, int]) -> T:
        """`weights` is a table that never changes."""
        if id(weights) not in self._tables:
            self._tables[id(weights)] = (list(weights), list(accumulate(weights.values())))
        among, sums = self._tables[id(weights)]
        (chosen,) = self.rng.choices(among, cum_weights=sums)
        return chosen  # type: ignore[no-any-return] # of the table that was given

    def number(self) -> int:
        """Another one each time, for what must not be there twice."""
        self.asked += 1
        return self.asked

    def entropy(self) -> int:
        return self.rng.getrandbits(64)

    # ---- who and where ----

    def project(self) -> str:
        return NOWHERE if self.happens(0.01) else self.pick(PROJECTS)

    def actor(self) -> Actor:
        """Mostly one whom nothing can stop; now and then a key, which may be revoked or expired."""
        if self.oracle.keys and self.happens(0.1):
            key_id = self.pick(list(self.oracle.keys))
            return Actor(f"key:{key_id}", key_id)
        return DEV

    def common(self, project_id: str | None = None) -> dict[str, Any]:
        """What the operations within a project begin with."""
        return {
            "actor": self.actor(),
            "project_id": project_id or self.project(),
            "entropy": self.entropy(),
        }

    def elsewhere(self, project_id: str) -> str:
        """The project itself; now and then another one, in which nothing of it may be found."""
        return project_id if self.happens(0.95) else self.project()

    def key(self) -> str:
        return self.pick(KEYS)

    # ---- what is there ----

    def wait(self, fits: Callable[[Wait], bool] = lambda wait: True) -> Wait | None:
        """Mostly one that still waits."""
        found = [each for each in self.oracle.waits.values() if fits(each)]
        waiting = [each for each in found if each.status == "waiting"]
        return self.pick(waiting if waiting and self.happens(0.7) else found) if found else None

    def run(self, *statuses: str) -> ModelRun | None:
        """One in such a state, if there is one; now and then any."""
        found = [each for each in self.oracle.runs.values() if not statuses or each.status in statuses]
        if self.happens(0.1) or not found:
            found = list(self.oracle.runs.values())
        return self.pick(found) if found else None

    def job(self, project_id: str) -> str:
        """A slug or an id, perhaps of none."""
        jobs = [each for each in self.oracle.jobs.values() if each.project_id == project_id]
        if not jobs or self.happens(0.04):
            return "nobody"
        job = self.pick(jobs)
        return job.slug if self.happens(0.6) else job.id

    # ---- what was heard ----

    def hear(self, committed: Any) -> None:
        """A commit, whatever it was of."""
        self.triggers.extend(committed.triggers)
        self.runs.extend(committed.runs)
        self.messages.extend(committed.messages)
        self.workflow_runs.extend(committed.workflow_runs)
        self.claimed.extend(each for each in committed.deliveries if each.attempts)
