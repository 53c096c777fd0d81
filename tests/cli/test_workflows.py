"""`narrows workflows`: definitions from files, and starting runs of them."""

from __future__ import annotations

import json
from itertools import count

import pytest

from narrows.cli.exits import Exit
from tests.cli.conftest import Shell
from tests.cli.runs import found

NUMBERS = count(1)

WAITS = """
slug: {slug}
name: First
steps:
  - step_ref: wait
    type: wait_for_event
    event_key: {slug}:{{{{payload.id}}}}
    timeout_secs: {secs}
  - step_ref: sign_off
    type: approval
    depends_on: [wait]
"""


def write(shell: Shell, text: str = WAITS, secs: int = 600) -> tuple[str, str]:
    """A file with a definition, and its slug."""
    slug = f"w-{next(NUMBERS)}"
    (shell.folder / "w.yaml").write_text(text.format(slug=slug, secs=secs))
    return "w.yaml", slug


def applied(shell: Shell, text: str = WAITS, secs: int = 600) -> str:
    file, slug = write(shell, text, secs)
    assert found(shell.run("workflows", "apply", file))["version"] == 1
    return slug


# ---- apply -----------------------------------------------------------------------------------


def test_apply_creates_then_leaves_alone_then_makes_a_version(online: Shell) -> None:
    file, slug = write(online)
    made = online.run("workflows", "apply", file)
    assert (found(made)["slug"], found(made)["version"]) == (slug, 1)
    assert f"created {slug}" in made.stderr
    again = online.run("workflows", "apply", file)
    assert found(again)["version"] == 1
    assert "nothing has changed" in again.stderr
    path = online.folder / file
    path.write_text(path.read_text().replace("600", "700").replace("name: First", "description: d"))
    changed = online.run("workflows", "apply", file)
    assert found(changed)["version"] == 2
    assert f"made version 2 of {slug} (name, description, steps)" in changed.stderr
    there = found(online.run("workflows", "get", slug))
    assert "name" not in there
    assert (there["description"], there["steps"][0]["timeout_secs"]) == ("d", 700)
    assert found(online.run("workflows", "apply", file))["version"] == 2


def test_numbers_arrive_as_they_were_written(online: Shell) -> None:
    text = "slug: {slug}\nsteps:\n  - {{step_ref: w, type: sleep, sleep_duration: 1s, on_timeout: {{default: [1.50, 1e2]}}}}\n"
    slug = applied(online, text)
    assert '"default":[1.50,1e2]' in online.run("workflows", "get", slug).stdout


def test_several_at_once_and_from_stdin(online: Shell) -> None:
    texts = [WAITS.format(slug=f"w-{next(NUMBERS)}", secs=60) for _ in range(2)]
    both = online.run("workflows", "apply", "-", stdin="---".join(texts))
    slugs = [json.loads(line)["slug"] for line in both.stdout.splitlines()]
    assert len(slugs) == 2
    array = online.run("workflows", "apply", "-", "-o", "json", stdin="---".join(texts))
    assert [each["slug"] for each in found(array)] == slugs
    listed = online.run("workflows", "list", "--limit", "2").stdout.splitlines()
    assert [json.loads(line)["slug"] for line in listed] == slugs[::-1]


def test_dry_run_of_apply_does_nothing(online: Shell) -> None:
    file, slug = write(online)
    dry = online.run("workflows", "apply", file, "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "")
    assert f"would create {slug}" in dry.stderr
    assert online.run("workflows", "get", slug).returncode == Exit.NOT_FOUND
    online.run("workflows", "apply", file)
    path = online.folder / file
    path.write_text(path.read_text().replace("600", "700"))
    assert (
        f"would make version 2 of {slug} (steps)"
        in online.run("workflows", "apply", file, "--dry-run").stderr
    )
    assert found(online.run("workflows", "get", slug))["version"] == 1


def test_all_faults_are_named_and_nothing_is_done(online: Shell) -> None:
    good = WAITS.format(slug=f"w-{next(NUMBERS)}", secs=60)
    bad = "slug: Bad Slug\nsteps:\n  - {step_ref: a, type: dance}\n  - {step_ref: b, depends_on: [c], job_slug: j}\n"
    refused = online.run("workflows", "apply", "-", stdin=f"{good}---\n{bad}")
    assert (refused.returncode, refused.stdout) == (Exit.REFUSED, "")
    for words in ("stdin, number 2 has faults", "'slug'", "'step_type'", "'c', which is no step"):
        assert words in refused.stderr
    slug = good.splitlines()[1].split()[1]
    assert online.run("workflows", "get", slug).returncode == Exit.NOT_FOUND


def test_a_file_that_cannot_be_read_is_a_usage_error_with_its_place(online: Shell) -> None:
    (online.folder / "w.yaml").write_text("slug: w\nsteps: {{x}}\n")
    refused = online.run("workflows", "apply", "w.yaml")
    assert refused.returncode == Exit.USAGE
    assert "w.yaml:2:9: " in refused.stderr
    assert online.run("workflows", "apply", "none.yaml").returncode == Exit.USAGE


def test_dry_run_says_the_order_and_the_depth(online: Shell) -> None:
    file, slug = write(online)
    checked = found(online.run("workflows", "dry-run", file))
    assert (checked["valid"], checked["order"], checked["depth"]) == (True, ["wait", "sign_off"], 2)
    table = online.run("workflows", "dry-run", file, "-o", "table")
    assert "valid, depth 2, order wait, sign_off" in table.stdout
    assert online.run("workflows", "get", slug).returncode == Exit.NOT_FOUND
    path = online.folder / file
    path.write_text(
        path.read_text()
        + "    tymeout: 5\n    depends_on: [nobody]\n".replace(
            "    depends_on", "  - step_ref: x\n    job_slug: j\n    depends_on"
        )
    )
    wrong = online.run("workflows", "dry-run", file, "-o", "table")
    assert wrong.returncode == Exit.REFUSED
    assert "'tymeout', which means nothing" in wrong.stderr
    assert "'nobody', which is no step" in wrong.stderr


# ---- the rest --------------------------------------------------------------------------------


def test_a_graph_is_drawn_also_in_a_pipe(online: Shell) -> None:
    slug = applied(online)
    assert online.run("workflows", "graph", slug).stdout.split() == ["(wait)", "▼", "(sign_off)"]
    assert found(online.run("workflows", "graph", slug, "-o", "json"))["slug"] == slug
    ascii_only = online.run("workflows", "graph", slug, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ascii_only.stdout.split() == ["(wait)", "v", "(sign_off)"]


def test_workflows_are_shown_to_people(online: Shell) -> None:
    slug = applied(online)
    table = online.run("workflows", "list", "-o", "table").stdout
    assert slug in table
    assert "version" in table
    card = online.run("workflows", "get", slug, "-o", "table").stdout
    assert "First" in card
    assert card.split()[-3:] == ["(wait)", "▼", "(sign_off)"]


def test_deleting_asks(online: Shell) -> None:
    slug = applied(online)
    assert online.run("workflows", "delete", slug).returncode == Exit.USAGE
    assert "would delete" in online.run("workflows", "delete", slug, "--dry-run").stderr
    assert found(online.run("workflows", "delete", slug, "--yes"))["slug"] == slug
    assert online.run("workflows", "delete", slug, "--yes").returncode == Exit.NOT_FOUND


def test_run_starts_one_and_says_what_is_missing(online: Shell) -> None:
    slug = applied(online)
    begun = found(online.run("workflows", "run", slug, "--payload", '{"id": 1.0}', "--tag", "a=b"))
    assert (begun["workflow_slug"], begun["status"], begun["tags"]) == (slug, "running", {"a": "b"})
    refused = online.run("workflows", "run", slug)
    assert refused.returncode == Exit.REFUSED
    assert "{{payload.id}}" in refused.stderr
    assert online.run("workflows", "run", "no-such-workflow").returncode == Exit.NOT_FOUND
    keyed = [
        found(online.run("workflows", "run", slug, "--payload", '{"id": 2}', "--idempotency-key", slug))["id"]
        for _ in range(2)
    ]
    assert keyed[0] == keyed[1]


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (("approve", "{id}", "sign_off"), Exit.OK),
        (("reject", "{id}", "sign_off"), Exit.FAILED),
        (("cancel", "{id}", "--yes"), Exit.CANCELED),
    ],
)
def test_wait_exits_by_the_outcome(online: Shell, act: tuple[str, ...], code: Exit) -> None:
    slug = applied(online)
    online.run("events", "hold", f"{slug}:1")
    waiting = online.start("workflows", "run", slug, "--payload", '{"id": 1}', "--wait")
    run_id = newest_run(online, slug)
    done = online.run("workflow-runs", *(word.format(id=run_id) for word in act))
    assert done.returncode == 0, done.stderr
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == code
    assert json.loads(out)["id"] == run_id
    assert ("the workflow run ended as" in err) == (code != Exit.OK)


def test_wait_of_one_that_times_out_is_12(online: Shell) -> None:
    """The step times out, and the run fails with it."""
    slug = applied(online, secs=1)
    done = online.run("workflows", "run", slug, "--payload", '{"id": 1}', "--wait", "--quiet")
    assert (done.returncode, done.stderr) == (Exit.FAILED, "")


def newest_run(shell: Shell, slug: str) -> str:
    for _ in range(100):
        line = shell.run("workflow-runs", "list", "--workflow", slug, "--limit", "1").stdout
        if line:
            run_id: str = json.loads(line)["id"]
            return run_id
    raise AssertionError(f"there is no run of {slug}")
