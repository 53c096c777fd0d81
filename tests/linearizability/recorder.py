"""Concurrent clients over real HTTP, each on a random node for each call, and what they were told. A group of
clients shares a few keys under one prefix; each key's life is one history. Clients never retry.

Pauses are there to bring calls close to a due time; that nothing is wrong does not hang on any of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from narrows.client.keepalive import Wire
from narrows.client.steps import Lost, Request
from tests.linearizability.history import Asked, Call, History, Operation, Outcome
from tests.linearizability.state import WAITING
from tests.linearizability.wire import Strange, outcome, request, workflow

KEYS_A_GROUP = 3
CLIENTS = 5
#: Calls of a group, so that a key gets about 25 to 30 and a prefix send counts for each of them.
CALLS_A_GROUP = 72
#: Groups at work at once.
GROUPS_AT_ONCE = 100
ANSWER_SECS = 30.0
#: A client that finds a node down tries again so much later, perhaps another.
DOWN_SECS = 0.02
#: A client that does not wait for its answer hangs up after at most so long.
IMPATIENT_SECS = 0.02
IMPATIENT_SHARE = 0.02
#: Most clients call for the hot key of their group, for a burst of calls.
HOT_SHARE = 0.75
CALLS_A_BURST = 9
#: How many bursts are a race for a wait of a second that expires.
RACE_SHARE = 0.35
#: The race for a due time begins so long before it, and goes on so long after it.
EARLY_SECS, LATE_SECS = 0.008, 0.02

#: How long waits may take: without a time-out, a second, a minute.
TIMEOUTS = (0, 1, 1, 60)
WEIGHTS = {
    Call.OPEN: 30,
    Call.START: 5,
    Call.SEND: 26,
    Call.GET: 14,
    Call.CANCEL: 6,
    Call.GET_BY_ID: 7,
    Call.SEND_BY_ID: 6,
    Call.SEND_PREFIX: 4,
    Call.EXTEND: 4,
    Call.CANCEL_BY_ID: 3,
}
BY_ID = (Call.GET_BY_ID, Call.SEND_BY_ID, Call.CANCEL_BY_ID, Call.EXTEND)


class Recording(NamedTuple):
    """`faults`: answers that are wrong whatever was asked before."""

    histories: list[History]
    faults: list[str]


class Nodes:
    """Connections to each of the nodes, kept from call to call."""

    def __init__(self, urls: Sequence[str], project: str) -> None:
        headers = {"X-Project-Id": project}
        self.wires = [Wire(url, headers, most=GROUPS_AT_ONCE * CLIENTS) for url in urls]

    async def define_workflows(self) -> None:
        """Those that wait under a key, as long as each of `TIMEOUTS`."""
        for timeout_secs in dict.fromkeys(TIMEOUTS):
            body = json.dumps(workflow(timeout_secs)).encode()
            sent = Request("POST", "/v1/workflows", {}, body, ANSWER_SECS)
            while True:
                reply = await self.wires[0].exchange(sent)
                if not isinstance(reply, Lost) and reply.status in (201, 409):
                    break
                await asyncio.sleep(DOWN_SECS)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


class Group:
    """The clients of one prefix, and what they know of its keys."""

    def __init__(self, nodes: Nodes, name: str, seed: int) -> None:
        self.nodes = nodes
        self.prefix = f"{name}:"
        self.dice = random.Random(f"{seed} {name}")
        self.keys = [f"{self.prefix}{letter}" for letter in "abcdef"[:KEYS_A_GROUP]]
        self.recorded: dict[str, list[Operation]] = defaultdict(list)
        self.faults: list[str] = []
        self.ids: dict[str, list[str]] = {key: [] for key in self.keys}
        #: When the wait under a key expires that all leave alone until then, so that its time-out races.
        self.due: dict[str, int] = {}
        self.hot = self.keys[0]
        self.payloads = 0
        self.left = CALLS_A_GROUP

    async def run(self) -> list[History]:
        await asyncio.gather(*map(self._client, range(CLIENTS)))
        return [History(key, tuple(self.recorded[key])) for key in self.keys]

    async def _client(self, client: int) -> None:
        while self.left > 0:
            self.left -= 1
            if self.left % CALLS_A_BURST == 0:
                await self._turn(client)
            key = self.hot if self.dice.random() < HOT_SHARE else self.dice.choice(self.keys)
            if key in self.due and self.dice.random() < 0.9:
                await self._until_due(self.due[key])
            await self._call(client, key, self._choose(key))

    async def _turn(self, client: int) -> None:
        """All turn to another key, in turn, so that the histories get about equally long. Now and then it
        has a short wait by then: the clients leave it alone and race for it when its time comes."""
        key = min(self.keys, key=lambda each: len(self.recorded[each]))
        if self.dice.random() < RACE_SHARE:
            await self._call(client, key, Asked(Call.OPEN, timeout_secs=1, join=True))
        self.hot = key

    async def _until_due(self, due: int) -> None:
        """Sit still until shortly before or after a due time."""
        await asyncio.sleep(due / 1e6 - time.time() + self.dice.uniform(-EARLY_SECS, LATE_SECS))

    # ---- what is asked -------------------------------------------------------------------------

    def _choose(self, key: str) -> Asked:
        dice = self.dice
        (call,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if call in BY_ID and not self.ids[key]:
            call = Call.OPEN
        asked = Asked(call)
        if call in BY_ID:
            # The newest as a rule, at times one of the older ones.
            asked = asked._replace(
                trigger_id=self.ids[key][-1 if dice.random() < 0.75 else dice.randrange(len(self.ids[key]))]
            )
        if call in (Call.SEND, Call.SEND_BY_ID, Call.SEND_PREFIX):
            asked = asked._replace(payload=self._payload())
        if call in (Call.OPEN, Call.START, Call.EXTEND):
            asked = asked._replace(
                timeout_secs=dice.choice(TIMEOUTS), join=call == Call.OPEN and dice.random() < 0.4
            )
        if call == Call.SEND and dice.random() < 0.4:
            asked = asked._replace(hold_secs=dice.choice((1, 600, 600)))
        if call == Call.SEND and dice.random() < 0.25:
            asked = asked._replace(event_id=dice.choice("xyz"))
        if call == Call.GET_BY_ID and dice.random() < 0.2:
            asked = asked._replace(wait_secs=1)
        return asked

    def _payload(self) -> str | None:
        """Mostly one that nobody has sent, at times one that somebody has, or none, or null."""
        roll = self.dice.random()
        if roll < 0.06:
            return None if roll < 0.03 else "null"
        if roll < 0.3 and self.payloads:
            return str(self.dice.randint(max(1, self.payloads - 5), self.payloads))
        self.payloads += 1
        return str(self.payloads)

    # ---- what is answered ----------------------------------------------------------------------

    async def _call(self, client: int, key: str, asked: Asked) -> None:
        method, target, body = request(asked, key, self.prefix)
        patience = ANSWER_SECS
        if self.dice.random() < IMPATIENT_SHARE:
            patience = self.dice.uniform(0, IMPATIENT_SECS)
        sent = Request(method, target, {}, None if body is None else json.dumps(body).encode(), patience)
        wire = self.dice.choice(self.nodes.wires)
        concerned = self.keys if asked.call == Call.SEND_PREFIX else [key]
        invoked_at = _now()
        reply = await wire.exchange(sent)
        returned_at = _now()
        if isinstance(reply, Lost) and not reply.sent:
            # It never left: that was no call. The node is down and will be up again.
            self.left += 1
            await asyncio.sleep(DOWN_SECS)
        elif isinstance(reply, Lost):
            for each in concerned:
                self._note(each, Operation(client, asked, invoked_at, None, None))
        else:
            for each in concerned:
                try:
                    said = outcome(asked, each, reply.status, reply.body)
                except Strange as fault:
                    self.faults.append(f"{each}: {fault}")
                    continue
                self._note(each, Operation(client, asked, invoked_at, returned_at, said))

    def _note(self, key: str, operation: Operation) -> None:
        self.recorded[key].append(operation)
        if operation.outcome is not None:
            self._learn(key, operation.outcome)

    def _learn(self, key: str, said: Outcome) -> None:
        """Keep the ids, and now and then the due time, of what the reply shows."""
        for seen in said.settled if said.trigger is None else (said.trigger,):
            if seen.id not in self.ids[key]:
                self.ids[key].append(seen.id)
            if seen.id != self.ids[key][-1]:
                continue
            if seen.status != WAITING or seen.expires_at > _now() + 1_500_000:
                self.due.pop(key, None)
            else:
                self.due[key] = seen.expires_at


async def record(urls: Sequence[str], project: str, histories: int, seed: int) -> Recording:
    """At least so many histories, a group of keys each at a time, `GROUPS_AT_ONCE` groups at work."""
    nodes = Nodes(urls, project)
    groups = [Group(nodes, f"{number}", seed) for number in range(-(-histories // KEYS_A_GROUP))]
    recording = Recording([], [])
    waiting = iter(groups)

    async def work() -> None:
        for group in waiting:
            recording.histories.extend(await group.run())
            recording.faults.extend(group.faults)

    try:
        await nodes.define_workflows()
        await asyncio.gather(*(work() for _ in range(GROUPS_AT_ONCE)))
    finally:
        nodes.close()
    return recording


def _now() -> int:
    return time.time_ns() // 1000
