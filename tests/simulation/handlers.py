"""Handlers of the simulation's runs: each executes one dispatch as well or as badly as chance will have it.

A handler lives in the outside world. It outlives every crash of the server, answers late, twice or not at
all, and learns only from the refusals that its dispatch is over. Whether an answer was right is said
by the model, at its commit.
"""

from __future__ import annotations

import asyncio
from itertools import zip_longest
from typing import Any

from narrows.core.states import GroupMode, OnEnd
from narrows.errors import Refusal
from narrows.operations.events import SendEvent
from narrows.operations.opening import Wanted
from narrows.operations.reads.checkpoints import RunCheckpoint
from narrows.operations.run_plane import (
    CompleteRun,
    FailRun,
    Heartbeat,
    LogLine,
    ReleaseRun,
    SaveCheckpoint,
    SaveProgress,
    SleepRun,
    WaitForEvents,
    WaitOutcome,
)
from tests.simulation.clients import KEYS_OF_RUNS, LONG, NEEDED, TIMEOUTS, Client
from tests.simulation.values import INTEGER_SCHEMA, OBJECT_SCHEMA, Violation, same_json

#: What a handler does in the end -> weight.
ENDS = {"complete": 30, "wait": 34, "sleep": 12, "fail": 10, "fail_for_good": 3, "release": 4, "vanish": 7}
#: A run that was dispatched so often is completed, so that it comes to an end.
MOST_DISPATCHES = 8


class Handler(Client):
    """Somebody who executes runs; what he asks is asked by the token of his dispatch."""

    async def execute(self, project_id: str, run_id: str, dispatch: int) -> str:
        """Execute one dispatch; answers by what he ended it, `vanish` if by nothing."""
        rng = self.rng
        common: dict[str, Any] = {"project_id": project_id, "run_id": run_id, "dispatch": dispatch}
        await self._check_checkpoint(**common)
        if self.world.calm or dispatch >= MOST_DISPATCHES:
            what = "complete"
        else:
            if dispatch > 1 and rng.random() < 0.2:
                await self._the_one_before({**common, "dispatch": dispatch - 1})
            for _ in range(rng.choice((0, 0, 1, 1, 2))):
                await self._note(common)
            (what,) = rng.choices(list(ENDS), list(ENDS.values()))
            if rng.random() < 0.12:
                await asyncio.sleep(rng.choice((3.0, 12.0, 70.0)))  # perhaps beyond the lease
            elif rng.random() < 0.3:
                await self._pause()
        if what == "vanish":
            return what
        operation = getattr(self, f"_{what}")(common)
        outcome = await self._perform(operation, again=self.world.calm or rng.random() < 0.8)
        if isinstance(outcome, WaitOutcome):
            self._tell_of(project_id, operation, outcome)
            if rng.random() < 0.45 and not self.world.calm:
                await self.send_to_own_wait(project_id, run_id)
        await self._go_on_after(operation, common)
        refused = isinstance(outcome, Refusal) or outcome is None
        return "vanish" if refused else what

    def _tell_of(self, project_id: str, operation: Any, outcome: WaitOutcome) -> None:
        """Clients hear of the waits, so that they send to them, cancel and extend them."""
        tokens = [wanted.callback_token_hash for wanted in getattr(operation, "events", ())]
        for granted, token in zip_longest(outcome.waits, tokens):
            client = self.rng.choice(self.world.clients)
            client.hear_of(project_id, granted.trigger_id, token)

    async def _go_on_after(self, operation: Any, common: dict[str, Any]) -> None:
        """The dispatch is over, or is it? The same again, something else, something harmless."""
        rng = self.rng
        if self.world.calm:
            return
        if rng.random() < 0.25:
            await self._perform(operation)
        if rng.random() < 0.15:
            await self._end_somehow(common)
        if rng.random() < 0.15:
            await self._note(common)

    async def _the_one_before(self, common: dict[str, Any]) -> None:
        """Who executed the run before is still there, and has not heard that it is no longer his."""
        await (self._note(common) if self.rng.random() < 0.7 else self._end_somehow(common))

    async def _end_somehow(self, common: dict[str, Any]) -> None:
        end = self.rng.choice((self._complete, self._wait, self._fail, self._release))
        await self._perform(end(common))

    async def _note(self, common: dict[str, Any]) -> None:
        rng, both = self.rng, {**common, "entropy": self._entropy()}
        operation = rng.choice(
            (
                Heartbeat(**both, lease_us=rng.choice((2, 20)) * 1_000_000),
                SaveCheckpoint(**both, state=rng.choice(('{"step":1}', '{"step":2}', LONG))),
                LogLine(**both, level="info", message="a line"),
                SaveProgress(**both, percent=50.0),
            )
        )
        await self._perform(operation)

    # ---- the calls that end a dispatch ----

    def _ending(self, common: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        return {**common, "entropy": self._entropy(), "body_hash": f"body:{self.number}.{self._asked}"}

    def _complete(self, common: dict[str, Any]) -> CompleteRun:
        return CompleteRun(**self._ending(common), result=self.rng.choice(self.world.character.payloads))

    def _fail(self, common: dict[str, Any]) -> FailRun:
        return FailRun(**self._ending(common), error="a planted failure")

    def _fail_for_good(self, common: dict[str, Any]) -> FailRun:
        return FailRun(**self._ending(common), error="a planted failure", retry=False)

    def _release(self, common: dict[str, Any]) -> ReleaseRun:
        return ReleaseRun(**self._ending(common))

    def _sleep(self, common: dict[str, Any]) -> SleepRun:
        return SleepRun(**self._ending(common), duration_secs=self.rng.choice((0, 1, 2, 10)))

    def _wait(self, common: dict[str, Any]) -> WaitForEvents:
        rng = self.rng
        of_all = [key for key in self.world.character.keys if key != NEEDED]
        some = rng.choice((of_all, KEYS_OF_RUNS, [*of_all, *KEYS_OF_RUNS]))
        keys = rng.sample(some, min(rng.choice((1, 1, 1, 2, 2, 3, 6)), len(some)))
        if rng.random() < 0.03:
            keys.append(keys[0])
        return WaitForEvents(
            **self._ending(common),
            events=tuple(self._wanted(event_key) for event_key in keys),
            mode=rng.choice(list(GroupMode)),
            count=rng.randrange(1, len(keys) + 1),
            on_timeout=rng.choice(list(OnEnd)),
            on_cancel=rng.choice(list(OnEnd)),
        )

    def _wanted(self, event_key: str) -> Wanted:
        rng = self.rng
        token = f"token:{self.number}.{self._asked} {event_key}" if rng.random() < 0.2 else None
        return Wanted(
            event_key,
            rng.choice(TIMEOUTS),
            rng.choice((None, None, "1", LONG)),
            rng.choice((None,) * 8 + (INTEGER_SCHEMA, OBJECT_SCHEMA)),
            callback_token_hash=token,
        )

    # ---- what a dispatch is given ----

    async def _check_checkpoint(self, project_id: str, run_id: str, dispatch: int) -> None:
        """What the run sees of its last wait: each payload is that of an event that was sent."""
        read = RunCheckpoint(project_id, run_id)
        found = await self._ask(lambda service: service.read(read), again=False)
        if found is None or isinstance(found, Refusal):
            return
        model = self.world.model
        for trigger in found.triggers:
            wait = model.waits.get(trigger.id)
            if wait is not None and trigger.status != "waiting":
                if trigger.status != wait.status or not same_json(trigger.response_payload, wait.payload):
                    raise Violation(f"the checkpoint of {run_id} shows {trigger}, and there is {wait}")
        run = model.runs.get(run_id)
        if run is None or run.status != "executing" or run.dispatch != dispatch:
            return
        seen = {trigger.id for trigger in found.triggers}
        for wait in run.group.waits if run.group is not None else ():
            if wait.id not in seen and wait.id in model.waits:
                raise Violation(f"the checkpoint of {run} does not show {wait}")

    async def send_to_own_wait(self, project_id: str, run_id: str) -> None:
        """The event comes at once: perhaps the handler has not yet answered the request that dispatched it."""
        run = self.world.model.runs.get(run_id)
        if run is None or run.group is None or not run.group.waits:
            return
        wait = self.rng.choice(run.group.waits)
        if self.rng.random() < 0.5:
            await self._send_prefix(project_id, wait.event_key[:1])
            return
        operation = SendEvent(
            actor=self._actor(), project_id=project_id, entropy=self._entropy(),
            payload=self.rng.choice(self.world.character.payloads), trigger_id=wait.id,
        )  # fmt: skip
        await self._perform(operation)
