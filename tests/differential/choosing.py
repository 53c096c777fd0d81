"""Which step comes next: the mix of all that can be asked, and how time goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from narrows.core.signing_secrets import first_secret
from narrows.operations.access import CreateProject
from narrows.operations.base import HOST
from narrows.operations.dispatch import ClaimRuns
from narrows.operations.jobs import CreateJob
from tests.differential import asks_of_engine, asks_of_runs, asks_of_waits, asks_of_workflows
from tests.differential.reads_asked import reading
from tests.differential.scene import DAY_US, PROJECTS, SECOND_US, Scene
from tests.differential.steps import Alone, Asked, InManyCommits, Step, Together

OPERATIONS = {
    **asks_of_waits.OF_WAITS, **asks_of_runs.OF_RUNS, **asks_of_workflows.OF_WORKFLOWS, **asks_of_engine.OF_ENGINE,
}  # fmt: skip
ONCE = dict.fromkeys(
    (*asks_of_waits.ONCE, *asks_of_runs.ONCE, *asks_of_workflows.ONCE, *asks_of_engine.ONCE), 1
)
#: The clock goes on by at most so much -> how often. A day lets what is old grow old.
PAUSES_US = {
    0: 8,
    SECOND_US // 50: 50,
    2 * SECOND_US: 30,
    60 * SECOND_US: 6,
    7_200 * SECOND_US: 1,
    DAY_US: 1,
}
#: In one commit: it may well be that one of these concerns what another has just changed.
MOST_TOGETHER = 6
#: The model holds every moment of a commit to the limit that a job has at its end.
TOGETHER = {make: often for make, often in OPERATIONS.items() if make is not asks_of_runs.limiting_job}


def steps_of(scene: Scene) -> Iterator[Step]:
    """The sequence, without an end. Each step is chosen when the one before it has been taken."""
    number = 0
    for asked in _first_of_all(scene):
        number += 1
        yield Step(number, 0, asked)
    while True:
        number += 1
        after_us = scene.rng.randint(0, scene.weighed(PAUSES_US))
        scene.now += after_us
        for asked in _what_time_brings(scene):
            yield Step(number, after_us, asked)
            number, after_us = number + 1, 0
        yield Step(number, after_us, _next(scene))


def _what_time_brings(scene: Scene) -> Iterator[Asked]:
    """Where workflow runs go on, what is due happens by itself. A turn may look at any key: a database that has to
    learn in it which locks it needs begins anew, and then looks at the clock before and not after its operations,
    which is as right, but makes other ids."""
    if any(not run.has_ended for run in scene.oracle.workflow_runs.values()):
        if (runs := asks_of_workflows.all_that_are_over(scene)) is not None:
            yield Alone(runs)
        if (waits := asks_of_engine.all_that_is_due(scene)) is not None:
            yield Alone(waits)


def _first_of_all(scene: Scene) -> Iterator[Asked]:
    """Projects, and jobs of both kinds."""
    for project_id in dict.fromkeys(PROJECTS):
        yield Alone(CreateProject(actor=HOST, entropy=scene.entropy(), id=project_id))
        for slug in ("work", "push"):
            yield Alone(
                CreateJob(
                    actor=HOST,
                    project_id=project_id,
                    entropy=scene.entropy(),
                    slug=slug,
                    max_concurrency=1 if slug == "push" else None,
                    signing_secrets=first_secret("secret"),
                )
            )


def _next(scene: Scene) -> Asked:
    while True:
        asked = scene.weighed(KINDS)(scene)
        if asked is not None:
            return asked


def _made(scene: Scene, weights: dict[Any, int]) -> Any:
    """An operation; None where there is nothing to ask about."""
    return scene.weighed(weights)(scene)


def _alone(scene: Scene) -> Asked | None:
    made = _made(scene, OPERATIONS)
    return None if made is None else Alone(made)


def _once(scene: Scene) -> Asked | None:
    made = _made(scene, ONCE)
    return None if made is None else Alone(asks_of_waits.once(scene, made))


def _together(scene: Scene) -> Asked | None:
    """Of what goes behind the others one at most shares a commit, and it goes last."""
    made = [_made(scene, TOGETHER) for _ in range(scene.rng.randint(2, MOST_TOGETHER))]
    # A server has one claim under way at most: two of them would look at the same head of a queue.
    claims = [each for each in made if isinstance(each, ClaimRuns)]
    made = [each for each in made if each is not None and each not in claims[1:]]
    foreground = [each for each in made if not each.background]
    background = [each for each in made if each.background][:1]
    together = (*foreground, *background)
    return Together(together) if len(together) > 1 else None


def _prefix_send(scene: Scene) -> Asked:
    return InManyCommits(asks_of_waits.prefix_send(scene))


def _purge(scene: Scene) -> Asked:
    return InManyCommits(asks_of_waits.purge(scene))


def _pruning(scene: Scene) -> Asked:
    return InManyCommits(asks_of_engine.pruning(scene))


#: Who makes a step -> how often; None where there is nothing to ask about.
KINDS: dict[Callable[[Scene], Asked | None], int] = {
    _alone: 55,
    _together: 9,
    _once: 5,
    reading: 25,
    _prefix_send: 2,
    _purge: 1,
    _pruning: 3,
}
