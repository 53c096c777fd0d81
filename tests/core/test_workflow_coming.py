"""Which steps' turn most likely comes by what happened: what is loaded for them in time. A wrong guess costs a
trip, so that what it must not do is to guess too much."""

from __future__ import annotations

import random
from typing import Any

import pytest

from narrows.core.step_states import fresh
from narrows.core.workflows import coming
from tests.core.workflow_story import DONE, FAILED, Story, job, wait


def coming_of(story: Story, *refs: str) -> list[str]:
    places = story.definition.places
    found = coming(story.definition, story.steps, [places[ref] for ref in refs], begins=False)
    return [story.definition.steps[step].ref for step in found]


def test_the_first_steps_come_with_the_beginning() -> None:
    story = Story(job("a"), job("b", "a"), wait("c"))
    assert coming(story.definition, fresh(3), [], begins=True) == [0, 2]


def test_a_join_comes_with_the_last_of_its_sides() -> None:
    story = Story(wait("left"), wait("right"), job("join", "left", "right"), job("end", "join"))
    assert coming_of(story, "left") == []
    assert coming_of(story, "left", "right") == ["join"]
    story.tell((DONE, "left"))
    assert coming_of(story, "right") == ["join"]


def test_nothing_comes_of_what_has_ended_already() -> None:
    story = Story(wait("a"), job("b", "a"))
    story.tell((DONE, "a"))
    story.tell((DONE, "b"))
    assert coming_of(story, "a") == []


@pytest.mark.parametrize("seed", range(20))
def test_without_conditions_just_what_comes_is_started(seed: int) -> None:
    luck = random.Random(seed)
    refs = [f"s{number}" for number in range(30)]
    steps: list[dict[str, Any]] = [
        wait(ref, *luck.sample(refs[:number], min(number, luck.randint(0, 3))), on_failure="continue")
        for number, ref in enumerate(refs)
    ]
    story = Story(*steps)
    assert [story.definition.places[ref] for ref in story.started] == coming(
        story.definition, fresh(30), [], begins=True
    )
    while waiting := [ref for ref, state in story.now.items() if state == "waiting"]:
        ended = luck.sample(waiting, luck.randint(1, len(waiting)))
        expected = coming_of(story, *ended)
        story.tell(*((luck.choice((DONE, FAILED)), ref) for ref in ended))
        assert story.started == expected
