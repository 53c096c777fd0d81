"""Clients that also start workflows, send what their steps wait for, and decide about them as people do, beside all that
clients do with waits and runs."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from narrows.operations.base import HOST
from narrows.operations.definitions import Definitions
from narrows.operations.workflows import CreateWorkflow, DeleteWorkflow, UpdateWorkflow
from tests.simulation.clients import KEYS, NEEDED, PAYLOADS
from tests.simulation.starters import STARTER_MIX, Starter
from tests.simulation.values import INTEGER_SCHEMA, OBJECT_SCHEMA
from tests.simulation.workflow_asking import EVENT_PAYLOADS, PREFIXES, Asking
from tests.simulation.workflow_plans import Drawing, Plan

if TYPE_CHECKING:
    from tests.simulation.world import World

WORKFLOW_PAYLOADS = (*PAYLOADS[:4], *EVENT_PAYLOADS, *EVENT_PAYLOADS[:4])
WORKFLOW_MIX = {
    **{name: weight / 4 for name, weight in STARTER_MIX.items()},
    "start_workflow": 14, "send_to_step": 26, "person": 12, "change_workflow": 1,
}  # fmt: skip
SCHEMAS = (*(None,) * 10, INTEGER_SCHEMA, OBJECT_SCHEMA)
#: No server's own: whoever asks it is outside of all of them.
READING = Definitions()
#: Each may start those behind it.
SLUGS = ("w0", "w1", "w2", "w3")


def draw_plan(world: World, rng: random.Random, slug: str) -> Plan:
    """A plan that the product takes for a definition."""
    keys = [key for key in world.character.keys if key != NEEDED]
    drawing = Drawing(rng, keys or KEYS[:1], PREFIXES, world.character.jobs)
    plan = drawing.plan(slug, SLUGS[SLUGS.index(slug) + 1 :], SCHEMAS)
    if rng.random() < 0.05:
        plan.start_itself()
    parsed = READING.check(plan.text())
    assert parsed.definition is not None, parsed.faults
    plan.definition = parsed.definition
    world.model.plans[plan.text()] = plan
    return plan


async def create_workflows(world: World, project_id: str) -> None:
    rng = random.Random(f"{world.seed} workflows {project_id}")
    for slug in SLUGS[: rng.choice((1, 2, 4))]:
        plan = draw_plan(world, rng, slug)
        operation = CreateWorkflow(
            actor=HOST, project_id=project_id, entropy=rng.getrandbits(64), text=plan.text(),
            definition=plan.definition,
        )  # fmt: skip
        await world.require_server().service.perform(operation)


class WorkflowClient(Starter):
    """A client of workflows."""

    def _asking(self) -> Asking:
        project_id = self._project()
        return Asking(
            self.rng, self.world.model, project_id, lambda: {**self._common(), "project_id": project_id}
        )

    async def _ask_for(self, *operations: Any) -> None:
        await asyncio.gather(*(self._perform(each) for each in operations if each is not None))

    async def _start_workflow(self) -> None:
        asking = self._asking()
        await self._ask_for(*(asking.start() for _ in range(self.rng.choice((1, 1, 1, 3)))))

    async def _send_to_step(self) -> None:
        """One event, or many at once: of all that wait, and doubled."""
        rng, asking = self.rng, self._asking()
        if rng.random() < 0.5:
            await self._ask_for(asking.send())
            return
        await self._stroke()
        waits = asking.waits()
        some = rng.sample(waits, min(len(waits), rng.choice((2, 3, 6))))
        sends = [asking.sending(wait.event_key) for wait in some]
        await self._ask_for(*sends, *(asking.sending(wait.event_key) for wait in some if rng.random() < 0.2))

    async def _person(self) -> None:
        rng, asking = self.rng, self._asking()
        if rng.random() < 0.6:
            await self._ask_for(asking.decision())
            return
        await self._stroke()
        await self._ask_for(asking.send(), asking.decision(), asking.decision(), asking.send())

    async def _change_workflow(self) -> None:
        rng, asking = self.rng, self._asking()
        workflows = asking.workflows()
        if not workflows or self.world.server is None:
            return
        workflow = rng.choice(workflows)
        common = {**self._common(), "project_id": workflow.project_id}
        if rng.random() < 0.2:
            await self._ask_for(DeleteWorkflow(**common, workflow=workflow.plan.slug))
            return
        plan = draw_plan(self.world, rng, workflow.plan.slug)
        await self._ask_for(
            UpdateWorkflow(
                **common, workflow=workflow.plan.slug, base_version=workflow.version, text=plan.text(),
                definition=plan.definition,
            )
        )  # fmt: skip
