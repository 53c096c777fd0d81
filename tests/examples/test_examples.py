"""Each example as its README says it, with SIGKILL of the server and its worker after every act, on both databases.
A story is a generator: between two acts it yields, and what goes on may be killed.

Workers leave before a job is started where it is to be met in its queue, and are killed while they are idle: a run
that is killed with its worker waits for the end of its lease, a minute, which other tests know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.examples.scene import Scene, once, readme

Story = Callable[[Scene], Iterator[None]]


def kyc(scene: Scene) -> Iterator[None]:
    worker, start, answer, look = readme("kyc")
    apply, run = start.splitlines()
    scene.begin_worker(worker, jobs=2)
    yield
    scene.shell(apply)
    yield
    # Without a worker the first job stays in its queue, so that this stage is met, too.
    scene.leave("worker")
    scene.begin("run", run)
    run_id = scene.run_of("kyc")
    assert scene.statuses(run_id) == {
        "collect_data": "running",
        "aml_check": "pending",
        "create_account": "pending",
    }
    yield
    scene.begin_worker(worker, jobs=2)
    scene.until_step(run_id, "aml_check", "waiting")
    yield
    scene.leave("worker")
    scene.shell("narrows events send aml:u-7 --payload '{\"clear\": true}'", exits=7)
    scene.shell(answer)
    assert scene.statuses(run_id)["create_account"] == "running"
    yield
    scene.begin_worker(worker, jobs=2)
    code, _ = scene.ended("run")
    assert code == 0
    yield
    assert scene.outputs(run_id)["create_account"] == {"account": "account-of-u-7", "checked_by": "ada"}
    listing, steps = look.splitlines()
    assert [line["status"] for line in scene.lines(listing)] == ["completed"]
    assert len(scene.lines(steps.replace("ID", run_id))) == 3
    facts = scene.facts(run_id)
    assert once(facts, "workflow_run.created", "workflow_run.completed", "step.waiting")
    assert (facts["step.started"], facts["step.completed"]) == (2, 3)


def deploy_gate(scene: Scene) -> Iterator[None]:
    worker, start, sign, shell = readme("deploy-gate")
    apply, graph, run, watch = start.splitlines()
    scene.begin_worker(worker, jobs=3)
    scene.shell(apply)
    assert "(qa_signoff)" in scene.shell(graph)
    yield
    scene.leave("worker")
    scene.shell(run)
    run_id = scene.run_of("deploy-gate")
    scene.begin("watch", watch.replace("ID", run_id))
    scene.until_said("watch", "workflow_run.created")
    yield
    scene.begin_worker(worker, jobs=3)
    scene.until_step(run_id, "qa_signoff", "waiting")
    yield
    look, send = sign.splitlines()
    (wait,) = scene.lines(look)
    assert wait["request_payload"] == {"look_at": "https://staging.shop.example.com"}
    scene.shell(send)
    yield
    code, printed = scene.ended("watch")
    assert code == 0
    kinds = [json.loads(line)["kind"] for line in printed.splitlines()]
    assert kinds[0] == "workflow_run.created"
    assert kinds[-1] == "workflow_run.completed"
    assert kinds.count("step.completed") == 5
    yield
    # What was emitted is held until somebody asks.
    assert "1.4.0 is out" in scene.shell(shell)
    assert scene.outputs(run_id)["production"]["url"] == "https://production.shop.example.com"
    yield
    broken = 'narrows workflows run deploy-gate --payload \'{"release": "1.4.1", "broken": true}\' --wait'
    scene.shell(broken, exits=12)
    failed = scene.run_of("deploy-gate")
    assert scene.statuses(failed) == {
        "build": "completed",
        "test": "failed",
        "staging": "canceled",
        "qa_signoff": "canceled",
        "production": "canceled",
    }
    yield
    (again,) = scene.lines(f"narrows workflow-runs retry {failed}")
    assert again["retry_of"] == failed
    scene.until_run(again["id"], "failed")
    assert scene.facts(again["id"])["step.started"] == 1


def nightly_batch(scene: Scene) -> Iterator[None]:
    worker, apply, reports, night, release = readme("nightly-batch")
    check, load, look = night.splitlines()
    scene.begin_worker(worker, jobs=3)
    scene.shell(apply)
    yield
    scene.shell(reports)
    yield
    scene.shell(check)
    checked = scene.run_of("nightly-check")
    yield
    scene.shell(load)
    scene.until_run(checked, "completed")
    yield
    assert [line["id"] for line in scene.lines(look)] == [checked]
    assert scene.outputs(checked)["check"] == {"rows": {"orders": 1204, "customers": 318}}
    yield
    send, listing = release.splitlines()
    scene.leave("worker")
    (sent,) = scene.lines(send)
    assert sent["resolved"] == 20
    yield
    scene.begin_worker(worker, jobs=3)
    scene.until(lambda: [line["status"] for line in scene.lines(listing)] == ["completed"] * 20)
    runs = scene.client.list_workflow_runs(workflow="nightly-report", limit=100).data
    made = {scene.outputs(run.id)["report"]["report"] for run in runs}
    assert made == {f"shop-{number:02}-2030-01-31.pdf" for number in range(1, 21)}


def two_of_three(scene: Scene) -> Iterator[None]:
    start, votes, decide = readme("two-of-three")
    apply, run, shell = start.splitlines()
    scene.shell(apply)
    scene.shell(run)
    scene.begin("shell", shell)
    scene.until_waiting("publish:2.0")
    run_id = scene.run_of("two-of-three")
    yield
    for vote in votes.splitlines():
        scene.shell(vote)
        yield
    assert scene.statuses(run_id) == {"votes": "completed", "sign_off": "waiting"}
    assert scene.client.get("vote:2.0:operations").status == "canceled"
    listing, approve = decide.splitlines()
    assert [line["id"] for line in scene.lines(listing)] == [run_id]
    scene.shell(approve.replace("ada", "bob").replace("ID", run_id), exits=9)
    scene.shell(approve.replace("ID", run_id))
    yield
    code, printed = scene.ended("shell")
    assert code == 0
    assert "published" in printed
    assert scene.client.get_workflow_run(run_id).status == "completed"
    assert scene.outputs(run_id)["sign_off"] == {
        "approved_by": ["ada"],
        "comments": [{"approver": "ada", "comment": "go ahead"}],
    }
    # A veto ends the next one at once, and closes what is left of its wait.
    scene.shell(run.replace("2.0", "2.1"))
    vetoed = scene.run_of("two-of-three")
    yield
    scene.shell('narrows events send vote:2.1:product --payload \'{"by": "pat", "vote": "no"}\'')
    yield
    assert scene.client.get_workflow_run(vetoed).status == "failed"
    assert scene.client.get("vote:2.1:security").status == "canceled"


STORIES = [kyc, deploy_gate, nightly_batch, two_of_three]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_it_goes_on_when_all_is_killed_after_every_act(scene: Scene, story: Story) -> None:
    acts = 0
    for _ in story(scene):
        scene.kill_and_begin_again()
        acts += 1
    assert acts >= 5
