"""How places are dealt out: fairly between projects and jobs, never more than there are."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from narrows.engine.queues import JobQueues, Places


def queues(*keys: tuple[str, str], host: str = "h") -> JobQueues:
    made = JobQueues()
    for key in keys:
        made.put(key, host)
    return made


def shares(jobs: JobQueues, places: Places) -> dict[tuple[str, str], int]:
    return {deal.key: deal.places for deal in jobs.deal(places)}


def test_projects_get_the_same_whatever_they_have_queued() -> None:
    jobs = queues(("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"))
    dealt = shares(jobs, Places(12, 100))
    of_project = Counter({project: 0 for project, _ in dealt})
    for (project, _), count in dealt.items():
        of_project[project] += count
    assert of_project == {"a": 6, "b": 6}
    assert {dealt["a", job] for job in "123"} == {2}


def test_one_project_alone_leaves_room_for_whoever_comes() -> None:
    places = Places(200, 1_000)
    jobs = queues(("big", "1"))
    assert shares(jobs, places) == {("big", "1"): 180}
    jobs.put(("small", "1"), "h")
    assert shares(jobs, places)["small", "1"] >= 10


def test_a_single_place_is_given() -> None:
    assert shares(queues(("a", "1")), Places(1, 1)) == {("a", "1"): 1}


def test_a_busy_host_holds_up_its_own_jobs_only() -> None:
    jobs = queues(("a", "slow"), host="slow")
    jobs.put(("a", "quick"), "quick")
    assert shares(jobs, Places(100, 5)) == {("a", "slow"): 5, ("a", "quick"): 5}


def test_one_project_leaves_room_at_a_host_for_the_others_that_it_serves() -> None:
    places = Places(1_000, 50)
    jobs = queues(("big", "1"), ("big", "2"), host="shared")
    assert sum(shares(jobs, places).values()) == 45
    jobs.put(("small", "1"), "shared")
    assert shares(jobs, places) == {("small", "1"): 5}


def test_who_was_dealt_the_last_place_comes_last_the_next_time() -> None:
    jobs = queues(*((project, "1") for project in "abc"))
    places = Places(1, 10)
    order = []
    for _ in range(6):
        (deal,) = jobs.deal(places)
        order.append(deal.key[0])
        places.give_back(deal.key[0], deal.host)
    assert order == list("abcabc")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123"), st.sampled_from("xyz")), max_size=9),
    st.integers(0, 40),
    st.integers(1, 10),
)
def test_no_limit_is_ever_exceeded(wanting: list[tuple[str, str, str]], limit: int, of_a_host: int) -> None:
    jobs, places = JobQueues(), Places(limit, of_a_host)
    for project, job, host in wanting:
        jobs.put((project, job), host)
    by_host: Counter[str] = Counter()
    for _ in range(3):
        for deal in jobs.deal(places):
            by_host[deal.host] += deal.places
    assert by_host.total() == len(places) <= limit
    assert max(by_host.values(), default=0) <= of_a_host
