"""Clients of the simulation: they open waits, send, watch, and repeat what they got no answer to.

What a client was told is checked here against what was committed (`Model`); what was committed is
checked there. A client outlives every crash of the server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from narrows.engine.feed import FeedClosed
from narrows.errors import NotFound, OutcomeUnknown, Refusal, Unavailable
from narrows.operations.base import Actor, HeldOutcome, Replayed, TriggerOutcome
from narrows.operations.events import BatchEvent, DeleteHeldEvent, SendBatch, SendEvent, SendToCallback
from narrows.operations.idempotency import Idempotent, Kept
from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import Purge
from narrows.operations.reads.bodies import LoadBodies
from narrows.operations.reads.triggers import GetTriggerById
from narrows.operations.triggers import CancelTrigger, ExtendTrigger, OpenTrigger
from tests.simulation.server import ServerGone
from tests.simulation.values import INTEGER_SCHEMA, OBJECT_SCHEMA, Violation, fits, label_of, same_json

if TYPE_CHECKING:
    from tests.simulation.world import World

PROJECTS = ("north", "south")
#: Under this one a workflow run waits from the start.
NEEDED = "needed"
KEYS = ("a", "a/1", "a/2", "a_1", "a%", "b", NEEDED)
#: Under these none but runs wait: a group of them finds them free.
KEYS_OF_RUNS = ("a/3", "a/4", "b/1")
PREFIXES = ("a", "a/", "a_", "a%", "", "b")
LONG = '"' + "x" * 1100 + '"'
PAYLOADS = (None, "null", "1", "1.0", "2", '{"x":1,"y":2}', '{"y":2,"x":1}', "[]", LONG, "true")
TIMEOUTS = (0, 1, 1, 2, 5, 20, 90)
STROKE_SECS = 0.5
#: Request -> weight.
MIX = {
    "open": 30, "send": 22, "send_by_id": 12, "repeat": 8, "batch": 5, "prefix": 7, "cancel": 6,
    "extend": 6, "purge": 4, "delete_held": 2, "callback": 4,
}  # fmt: skip


class Watcher:
    """Somebody who follows one trigger's changes over every crash (as a stream does)."""

    def __init__(self, project_id: str, trigger_id: str) -> None:
        self.project_id = project_id
        self.trigger_id = trigger_id
        self.versions: list[int] = []
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    def see(self, trigger: Any) -> None:
        """Take a state if it is newer than the last one."""
        if self.versions and trigger.version <= self.versions[-1]:
            return
        self.versions.append(trigger.version)
        self.ended = trigger.status != "waiting"


class Client:
    """One client with its own stream of chance."""

    def __init__(self, world: World, number: int, rng: random.Random) -> None:
        self.world = world
        self.number = number
        self.rng = rng
        self._asked = 0
        self._known: list[tuple[str, str]] = []
        self._held: list[tuple[str, str]] = []
        self._callbacks: list[tuple[str, str]] = []
        self._sent: list[SendEvent] = []
        self._watchers: list[Watcher] = []

    async def run(self) -> None:
        mix = self.world.character.mix
        for _ in range(self.world.character.requests):
            await self._pause()
            (what,) = self.rng.choices(list(mix), list(mix.values()))
            await getattr(self, f"_{what}")()

    async def _pause(self) -> None:
        if self.rng.random() < self.world.character.strikes:
            await self._stroke()
        elif self.rng.random() < 0.5:
            await asyncio.sleep(self.rng.choice((0.0003, 0.002, 0.4, 3.0)) * self.rng.random())

    async def _stroke(self) -> None:
        """Who waits for the next stroke of the clock goes on together with others, so that what they ask
        shares a commit."""
        await asyncio.sleep(STROKE_SECS - self.world.clock.monotonic() % STROKE_SECS)

    def _key(self) -> str:
        return self.rng.choice(self.world.character.keys)

    def _project(self) -> str:
        return self.rng.choice(self.world.character.projects)

    def hear_of(self, project_id: str, trigger_id: str, token: str | None) -> None:
        """Somebody else's wait, which this client then sends to, cancels and extends."""
        self._known.append((project_id, trigger_id))
        if token is not None:
            self._callbacks.append((project_id, token))

    # ---- asking ----

    def _actor(self) -> Actor:
        """A label of its own for each request, so that `sent_by` names the cause of every change."""
        self._asked += 1
        return Actor(f"client:{self.number}.{self._asked}")

    def _entropy(self) -> int:
        return self.rng.getrandbits(64)

    def _common(self) -> dict[str, Any]:
        return {"actor": self._actor(), "project_id": self._project(), "entropy": self._entropy()}

    async def _ask(
        self, request: Callable[[Any], Coroutine[Any, Any, Any]], *, again: bool, label: str = ""
    ) -> Any:
        """The answer, or the refusal; None where it stays unknown. With `again` it is asked until
        there is an answer, as a client does whose request is safe to repeat. `label` is what the
        request's commits go by."""
        may_be_done = False
        while True:
            while self.world.server is None:
                await self.world.up.wait()
            try:
                return await self.world.server.ask(request(self.world.server.service))
            except (ServerGone, OutcomeUnknown):
                may_be_done = True
            except Unavailable as refusal:
                if label and label in self.world.model.done and not may_be_done:
                    raise Violation(f"{label} was told that nothing was done: {refusal}") from refusal
            except Refusal as refusal:
                if refusal.retry_after_secs is None:
                    return refusal
            if not again:
                return None
            await asyncio.sleep(0.05)

    async def _perform(self, operation: Any, *, again: bool = False) -> Any:
        """The outcome of one operation: what a client is told was committed exactly so."""
        label = label_of(operation)
        outcome = await self._ask(lambda service: service.perform(operation), again=again, label=label)
        if outcome is not None and not isinstance(outcome, Refusal):
            self._check_committed(operation, outcome)
        return outcome

    def _check_committed(self, operation: Any, outcome: Any) -> None:
        if self.world.model.committed.get(id(outcome)) is not outcome:
            raise Violation(f"{operation} was answered {outcome}, which was not committed")
        if isinstance(outcome, TriggerOutcome):
            self._known.append((outcome.trigger.project_id, outcome.trigger.id))
        elif isinstance(outcome, HeldOutcome):
            self._held.append((outcome.held.project_id, outcome.held.id))

    def _maybe_idempotent(self, operation: Any) -> tuple[Any, bool]:
        """Now and then with an Idempotency-Key, which makes it safe to ask until there is an answer."""
        if self.rng.random() > 0.25:
            return operation, False
        scope = f"scope:{self.number}.{self._asked}"
        body = f"body:{self._asked}"
        wrapped = Idempotent(
            operation=operation, project_id=operation.project_id, scope_hash=scope, body_hash=body, keep=_keep
        )
        return wrapped, True

    # ---- the requests ----

    async def _open(self) -> None:
        rng = self.rng
        token = f"token:{self.number}.{self._asked}" if rng.random() < 0.15 else None
        operation = OpenTrigger(
            **self._common(),
            event_key=self._key(),
            timeout_secs=rng.choice(TIMEOUTS),
            request_payload=rng.choice((None, None, "1", LONG)),
            tags='{"team":"x"}' if rng.random() < 0.1 else None,
            expected_schema=rng.choice((None,) * 8 + (INTEGER_SCHEMA, OBJECT_SCHEMA)),
            callback_token_hash=token,
            if_waiting="join" if rng.random() < 0.3 else "refuse",
        )
        wrapped, again = (operation, False) if token else self._maybe_idempotent(operation)
        outcome = await self._perform(wrapped, again=again)
        if isinstance(outcome, TriggerOutcome):
            if token is not None:
                self._callbacks.append((outcome.trigger.project_id, token))
            if rng.random() < 0.5:
                self._watch(outcome.trigger.project_id, outcome.trigger.id)

    async def _send(self) -> None:
        rng = self.rng
        operation = SendEvent(
            **self._common(),
            payload=rng.choice(PAYLOADS),
            event_key=self._key(),
            hold_secs=rng.choice((None, None, 3, 600)),
            event_id=rng.choice((None, None, None, "e1", "e2")),
        )
        self._sent.append(operation)
        wrapped, again = self._maybe_idempotent(operation)
        await self._check_sent(operation, await self._perform(wrapped, again=again))

    async def _send_by_id(self) -> None:
        if not self._known:
            return await self._open()
        project_id, trigger_id = self._a_known_one()
        common = {**self._common(), "project_id": project_id}
        if self.rng.random() < 0.1:
            common["project_id"] = self.rng.choice(PROJECTS)  # another's trigger must not be found
        operation = SendEvent(**common, payload=self.rng.choice(PAYLOADS), trigger_id=trigger_id)
        self._sent.append(operation)
        # By id it is safe to repeat: it can only ever settle that very trigger, with that payload.
        return await self._check_sent(operation, await self._perform(operation, again=True))

    def _a_known_one(self) -> tuple[str, str]:
        """Mostly a recent one, which may still wait."""
        return self._known[-1 - min(int(self.rng.expovariate(0.5)), len(self._known) - 1)]

    async def _check_sent(self, operation: SendEvent, outcome: Any) -> None:
        """A send that was answered with a received trigger: that trigger has that payload now."""
        if not isinstance(outcome, TriggerOutcome) or operation.event_id is not None:
            return
        stored = self.world.model.waits.get(outcome.trigger.id)
        if stored is not None and not same_json(stored.payload, operation.payload):
            raise Violation(f"{operation} was answered {outcome}, but {stored} has another payload")
        trigger = outcome.trigger
        if self.world.server is not None and trigger.response_payload_id and self.rng.random() < 0.3:
            loaded = await self._ask(lambda service: service.read(LoadBodies((trigger,))), again=False)
            if isinstance(loaded, tuple) and stored is not None and trigger.id in self.world.model.waits:
                if not same_json(loaded[0].response_payload, operation.payload):
                    raise Violation(f"{trigger.id} shows {loaded[0].response_payload}")

    async def _repeat(self) -> None:
        """The last send once more, with the same payload or another."""
        if not self._sent:
            return
        old = self._sent[-1]
        payload = old.payload if self.rng.random() < 0.6 else self.rng.choice(PAYLOADS)
        operation = SendEvent(
            actor=self._actor(), project_id=old.project_id, entropy=self._entropy(), payload=payload,
            event_key=old.event_key, trigger_id=old.trigger_id,
        )  # fmt: skip
        await self._check_sent(operation, await self._perform(operation))

    async def _batch(self) -> None:
        rng = self.rng
        events = tuple(
            BatchEvent(
                self._key(), rng.choice(PAYLOADS), rng.choice((None, 5)), rng.choice((None, None, "e3"))
            )
            for _ in range(rng.randrange(2, 5))
        )
        await self._perform(SendBatch(**self._common(), events=events))

    async def _prefix(self) -> None:
        await self._send_prefix(self._project(), self.rng.choice(PREFIXES))

    async def _send_prefix(self, project_id: str, prefix: str) -> None:
        rng, model = self.rng, self.world.model
        common = {**self._common(), "project_id": project_id}
        payload = f'{{"prefix":"{common["actor"].label}"}}'
        key = f"prefix:{common['actor'].label}" if rng.random() < 0.5 else None
        request = SendPrefix(
            **common, prefix=prefix, payload=payload, dry_run=rng.random() < 0.1,
            scope_hash=key, body_hash=key,
        )  # fmt: skip
        waited = [
            wait.id
            for wait in model.waits.values()
            if wait.status == "waiting"
            and wait.takes_events
            and wait.project_id == request.project_id
            and wait.event_key.startswith(request.prefix)
            and fits(wait.schema, payload)
        ]
        asked_at = self.world.clock.now()
        outcome = await self._ask(
            lambda service: service.send_prefix(request), again=key is not None, label=request.actor.label
        )
        if outcome is None or isinstance(outcome, Refusal) or request.dry_run:
            return
        if self.world.clock.now() - asked_at > 80_000_000_000:
            return  # the server was down so long that the key was forgotten: it was sent anew
        resolved = model.resolved_by.get(payload, 0)
        if outcome.resolved != resolved:
            raise Violation(f"{request} says it resolved {outcome.resolved}, and {resolved} were committed")
        for trigger_id in waited:
            wait = model.waits.get(trigger_id)
            if wait is not None and wait.status == "waiting" and wait.expires_at > self.world.clock.now():
                raise Violation(f"{request} has passed over {wait}")

    async def _cancel(self) -> None:
        await self._perform(CancelTrigger(**self._common(), event_key=self._key()))

    async def _extend(self) -> None:
        if self._known:
            project_id, trigger_id = self._a_known_one()
            common = {**self._common(), "project_id": project_id}
            await self._perform(
                ExtendTrigger(**common, trigger_id=trigger_id, timeout_secs=self.rng.choice(TIMEOUTS))
            )

    async def _purge(self) -> None:
        request = Purge(
            actor=self._actor(),
            project_id=self._project(),
            older_than_days=self.rng.choice((1, 1, 3)),
            dry_run=self.rng.random() < 0.2,
            entropy=self._entropy(),
        )
        young, model = self.world.clock.now() - request.older_than_days * 86_400_000_000, self.world.model
        needed = {wait.id for wait in model.waits.values() if model.is_needed(wait)}
        outcome = await self._ask(
            lambda service: service.purge(request), again=False, label=request.actor.label
        )
        if outcome is None or isinstance(outcome, Refusal):
            return
        deleted = self.world.model.deleted_by.get(request.actor.label, 0)
        if outcome.deleted != deleted:
            raise Violation(f"{request} says it deleted {outcome.deleted}, and {deleted} were")
        left = [
            wait
            for wait in model.waits.values()
            if wait.project_id == request.project_id and wait.settled_at and wait.settled_at < young
            and wait.id not in needed and not model.is_needed(wait)
        ]  # fmt: skip
        if left and not request.dry_run:
            raise Violation(f"{request} left {left}")

    async def _delete_held(self) -> None:
        if self._held:
            project_id, held_id = self.rng.choice(self._held)
            await self._perform(
                DeleteHeldEvent(**{**self._common(), "project_id": project_id}, held_id=held_id)
            )

    async def _callback(self) -> None:
        if self._callbacks:
            _, token = self.rng.choice(self._callbacks)
            send = partial(SendToCallback, token_hash=token, payload=self.rng.choice(PAYLOADS))
            await self._perform(send(entropy=self._entropy(), answers={}), again=True)

    # ---- watching ----

    def _watch(self, project_id: str, trigger_id: str) -> None:
        watcher = Watcher(project_id, trigger_id)
        watcher.task = self.world.outside_task(self._follow(watcher))
        self._watchers.append(watcher)

    async def _follow(self, watcher: Watcher) -> None:
        """Subscribe, read, then follow; over each crash and from where it was."""
        read = GetTriggerById(project_id=watcher.project_id, trigger_id=watcher.trigger_id)
        while not watcher.ended:
            while (server := self.world.server) is None:
                await self.world.up.wait()
            try:
                await server.ask(self._stream(server, read, watcher))
            except NotFound:
                return  # purged, which its end was before
            except (ServerGone, FeedClosed, Unavailable):
                continue

    async def _stream(self, server: Any, read: GetTriggerById, watcher: Watcher) -> None:
        with server.service.feed.watch(watcher.project_id, watcher.trigger_id) as watch:
            watcher.see(await server.service.read(read))
            while not watcher.ended:
                watcher.see(await watch.next())

    def watchers_of_settled(self) -> list[asyncio.Task[None]]:
        """Those that must have ended, since what they watch has."""
        waits = self.world.model.waits
        return [
            watcher.task
            for watcher in self._watchers
            if watcher.task is not None
            and (watcher.trigger_id not in waits or waits[watcher.trigger_id].status != "waiting")
        ]

    def check_the_end(self) -> None:
        for watcher in self._watchers:
            wait = self.world.model.waits.get(watcher.trigger_id)
            if wait is None:
                continue
            if watcher.ended != (wait.status != "waiting") or watcher.versions[-1] != wait.version:
                raise Violation(f"a watcher of {wait} last saw version {watcher.versions[-1]}")


def _keep(outcome: Any) -> Kept:
    """As the API keeps an answer: the trigger's id."""
    if isinstance(outcome, Replayed):
        raise TypeError("a replay is never kept again")
    return Kept(200, outcome.trigger.id if isinstance(outcome, TriggerOutcome) else None)
