"""Plans of workflows, drawn by chance: what a definition says, in forms so plain that the model can tell what comes of
them. Written from the contract and not from the code under test; the product gets the same as JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.core.slow_workflows import SlowStep

Answer = bool | str
MISSING = object()
#: Why a condition could not be answered, in nobody's words.
UNKNOWN = "cannot be told"
MOST_STEPS = 7


def member(text: str | None, name: str) -> Any:
    """A member of a JSON text, or MISSING."""
    value = json.loads(text or "null")
    return value.get(name, MISSING) if isinstance(value, dict) else MISSING


@dataclass(frozen=True, slots=True)
class Key:
    """A template of an event key: a literal, and perhaps a member of the payload or of a step's output behind it."""

    prefix: str
    step: str | None = None
    name: str | None = None

    def text(self) -> str:
        if self.name is None:
            return self.prefix
        path = f"payload.{self.name}" if self.step is None else f"parent_outputs.{self.step}.{self.name}"
        return f"{self.prefix}:{{{{{path}}}}}"

    def filled(self, payload: str | None, outputs: Mapping[str, str | None]) -> str | None:
        """The key, None where it does not resolve."""
        if self.name is None:
            return self.prefix
        value = member(payload if self.step is None else outputs[self.step], self.name)
        if value is MISSING or value is None or isinstance(value, dict | list):
            return None
        return f"{self.prefix}:{value if isinstance(value, str) else json.dumps(value)}"


@dataclass(frozen=True, slots=True)
class Condition:
    """`payload`: its `n` is over 1. `output`: that of a step is. Else the state that a step has."""

    about: str
    step: str = ""

    def text(self) -> str:
        if self.about == "payload":
            return "payload.n > 1"
        if self.about == "output":
            return f"outputs.{self.step}.n > 1"
        return f"statuses.{self.step} == '{self.about}'"

    def answer(
        self, payload: str | None, outputs: Mapping[str, str | None], now: Mapping[str, str]
    ) -> Answer:
        if self.about not in ("payload", "output"):
            return now[self.step] == self.about
        n = member(payload if self.about == "payload" else outputs[self.step], "n")
        return n > 1 if isinstance(n, int | float) and not isinstance(n, bool) else UNKNOWN


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step. What its type does not need is left as it is."""

    ref: str
    type: str
    after: tuple[str, ...] = ()
    condition: Condition | None = None
    on_failure: str = "fail_workflow"
    max_attempts: int | None = None
    backoff: str = "exponential"
    default: str | None = None
    takes_n: bool = False  # output_transform $.n
    emit: Key | None = None
    job: str = ""
    takes_m: bool = False  # the job's own payload: {"m": {{payload.n}}}
    keys: tuple[Key, ...] = ()
    needed: int = 1
    distinct: bool = False
    veto: bool = False
    schema: str | None = None
    timeout_secs: int = 0
    sleep_secs: int | None = None
    approvers: tuple[str, ...] = ()
    min_approvals: int = 1
    workflow: str = ""

    @property
    def attempts(self) -> int:
        return self.max_attempts or 1

    @property
    def executes(self) -> bool:
        return self.type in ("job", "sub_workflow")

    @property
    def is_group(self) -> bool:
        return self.type in ("wait_for_any", "wait_for_all")

    @property
    def named_payload(self) -> list[str]:
        """The members of the workflow run's payload that must be there for its templates."""
        keys = [*self.keys, *([self.emit] if self.emit else [])]
        found = [key.name for key in keys if key.step is None and key.name is not None]
        return [*found, *(["n"] if self.takes_m else [])]

    def slow(self) -> SlowStep:
        return SlowStep(
            self.ref, self.after, self.executes, self.condition is not None, self.on_failure, self.attempts,
            self.default is not None,
        )  # fmt: skip

    def given(self) -> dict[str, Any]:
        """As a definition has it."""
        said = {
            "step_ref": self.ref,
            "type": self.type,
            "depends_on": list(self.after),
            "condition": self.condition and self.condition.text(),
            "on_failure": self.on_failure,
            "retry_max_attempts": self.max_attempts,
            "retry_backoff": self.backoff,
            "on_timeout": None if self.default is None else {"default": json.loads(self.default)},
            "output_transform": "$.n" if self.takes_n else None,
            "event_emit_key": self.emit and self.emit.text(),
            **getattr(self, f"_of_{'group' if self.is_group else self.type}")(),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _of_job(self) -> dict[str, Any]:
        return {"job_slug": self.job, "payload": {"m": "{{payload.n}}"} if self.takes_m else None}

    def _of_sub_workflow(self) -> dict[str, Any]:
        return {"workflow_slug": self.workflow, "payload": "{{payload}}"}

    def _of_sleep(self) -> dict[str, Any]:
        return {"sleep_duration_secs": self.sleep_secs}

    def _of_approval(self) -> dict[str, Any]:
        return {
            "approvers": list(self.approvers),
            "min_approvals": self.min_approvals,
            "timeout_secs": self.timeout_secs,
        }

    def _of_wait_for_event(self) -> dict[str, Any]:
        return {"event_key": self.keys[0].text(), **self._of_any_wait()}

    def _of_group(self) -> dict[str, Any]:
        count = {"count": self.needed, "distinct_by": "voter" if self.distinct else None}
        return {"event_keys": [key.text() for key in self.keys], **count, **self._of_any_wait()}

    def _of_any_wait(self) -> dict[str, Any]:
        return {
            "timeout_secs": self.timeout_secs,
            "veto": "payload.veto == true" if self.veto else None,
            "expected_schema": None if self.schema is None else json.loads(self.schema),
        }


@dataclass(slots=True)
class Plan:
    """A workflow's definition."""

    slug: str
    steps: tuple[StepPlan, ...]
    places: int = 0
    timeout_secs: int = 0
    #: As the product has read it.
    definition: Any = field(default=None, repr=False)

    def text(self) -> str:
        return json.dumps(
            {
                "slug": self.slug,
                "steps": [step.given() for step in self.steps],
                "max_parallel_steps": self.places,
                "timeout_secs": self.timeout_secs,
            }
        )

    def lacks(self, payload: str | None) -> bool:
        """Whether it is known, when it is triggered, that a placeholder does not resolve."""
        for step in self.steps:
            if step.condition is None:
                keys = [*step.keys, *([step.emit] if step.emit else [])]
                if any(key.filled(payload, _ANYTHING) is None for key in keys if key.step is None):
                    return True
                if step.takes_m and member(payload, "n") is MISSING:
                    return True
                if step.type == "sub_workflow" and payload is None:
                    return True
        return False

    def start_itself(self) -> None:
        """Let one step start the workflow anew, and only once: else there were 1,000 of them ten levels deep."""
        place = next((n for n, step in enumerate(self.steps) if step.type == "sub_workflow"), None)
        if place is not None:
            once = replace(self.steps[place], workflow=self.slug, max_attempts=None)
            self.steps = (*self.steps[:place], once, *self.steps[place + 1 :])

    @property
    def last(self) -> list[str]:
        """The steps that no other depends on."""
        before = {ref for step in self.steps for ref in step.after}
        return [step.ref for step in self.steps if step.ref not in before]


class _Anything(dict[str, str | None]):
    def __missing__(self, ref: str) -> str:
        return "{}"


_ANYTHING = _Anything()

TYPES = {
    "job": 8, "wait_for_event": 7, "wait_for_any": 3, "wait_for_all": 3, "sleep": 2, "approval": 3,
    "sub_workflow": 2,
}  # fmt: skip
POLICIES = ("fail_workflow", "skip_dependents", "continue")


class Drawing:
    """Draws plans. `keys` and `jobs` are those that others use too; `prefixes` those of keys with a member behind it."""

    def __init__(
        self,
        rng: random.Random,
        keys: Sequence[str],
        prefixes: Sequence[str],
        jobs: Sequence[str],
        types: Mapping[str, int] | None = None,
    ) -> None:
        self._rng = rng
        self._keys = keys
        self._prefixes = prefixes
        self._jobs = jobs
        self._types = TYPES if types is None else types

    def plan(self, slug: str, children: Sequence[str], schemas: Sequence[str | None] = (None,)) -> Plan:
        rng = self._rng
        count = rng.randrange(1, MOST_STEPS + 1)
        policies = rng.choice((POLICIES, POLICIES, POLICIES[1:], POLICIES[2:]))
        ranks = rng.sample(range(count), count)
        steps = []
        for place in range(count):
            lower = [f"s{other}" for other in range(count) if ranks[other] < ranks[place]]
            after = tuple(rng.sample(lower, min(len(lower), rng.choice((0, 1, 1, 2, 3)))))
            steps.append(self._step(f"s{place}", after, rng.choice(policies), children, schemas))
        return Plan(slug, tuple(steps), rng.choice((0, 0, 1, 2)), rng.choice((0, 0, 0, 90, 600)))

    def _step(
        self, ref: str, after: tuple[str, ...], policy: str, children: Sequence[str], schemas: Sequence[Any]
    ) -> StepPlan:
        rng = self._rng
        (kind,) = rng.choices(list(self._types), list(self._types.values()))
        if kind == "sub_workflow" and not children:
            kind = "job"
        said: dict[str, Any] = {
            "condition": self._condition(after),
            "on_failure": policy,
            "max_attempts": rng.choice((None, None, None, 1, 2, 3)),
            "backoff": rng.choice(("exponential", "linear", "fixed")),
            "default": rng.choice((None, None, None, '{"n":5,"id":1}')),
            "takes_n": rng.random() < 0.1,
            "emit": self._key(after) if rng.random() < 0.15 else None,
        }
        if kind == "job":
            job = rng.choice(self._jobs) if rng.random() < 0.97 else "nobody"
            said |= {"job": job, "takes_m": rng.random() < 0.3}
        elif kind == "sub_workflow":
            said["workflow"] = rng.choice(children) if rng.random() < 0.95 else "nobody"
        elif kind == "sleep":
            said["sleep_secs"] = rng.choice((1, 5, 60))
        elif kind == "approval":
            approvers = rng.choice(((), ("ann",), ("ann", "bob", "cid")))
            said |= {"approvers": approvers, "timeout_secs": rng.choice((0, 20, 200))}
            said["min_approvals"] = rng.randrange(1, 3 if not approvers else len(approvers) + 1)
        else:
            said |= self._wait(kind, after, schemas)
        return StepPlan(ref, kind, after, **said)

    def _condition(self, after: Sequence[str]) -> Condition | None:
        rng = self._rng
        if rng.random() < 0.7:
            return None
        about = rng.choice(("payload", "output", "completed", "skipped", "failed") if after else ("payload",))
        return Condition(about, rng.choice(after) if after else "")

    def _key(self, after: Sequence[str]) -> Key:
        rng = self._rng
        if self._keys and rng.random() < 0.2:
            return Key(rng.choice(self._keys))
        prefix = rng.choice(self._prefixes)
        if after and rng.random() < 0.15:
            return Key(prefix, rng.choice(after), "id")
        return Key(prefix, None, "id")

    def _wait(self, kind: str, after: Sequence[str], schemas: Sequence[Any]) -> dict[str, Any]:
        rng = self._rng
        count = 1 if kind == "wait_for_event" else rng.choice((1, 2, 2, 3, 4))
        keys = tuple(dict.fromkeys(self._key(after) for _ in range(count)))
        count = len(keys)
        needed = {"wait_for_event": 1, "wait_for_any": 1}.get(kind, count)
        if count > 1 and rng.random() < 0.4:
            needed = rng.randrange(1, count + 1)
        return {
            "keys": keys,
            "needed": needed,
            "distinct": kind != "wait_for_event" and rng.random() < 0.25,
            "veto": rng.random() < 0.25,
            "schema": rng.choice(schemas),
            "timeout_secs": rng.choice((0, 5, 30, 300)),
        }
