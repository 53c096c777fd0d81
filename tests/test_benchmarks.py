"""What the benchmark measures on: crowds of copies that are as if they had come by themselves, and workflows that
can be saved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import prepare, prepare_workflows, report
from benchmarks.copying import Pattern
from benchmarks.prepare_workflows import FLOW, STEPS
from benchmarks.tables import SqliteTables
from benchmarks.workflows import SIZES, wide_steps
from narrows.core.json_texts import dumps
from narrows.operations.definitions import Definitions
from narrows.storage.verify import verify
from tests.storage.kit import PROJECT, SqliteBackend, opened
from tests.workflows.kit import Workflows


def test_a_copy_has_other_ids_and_another_key_and_is_told_apart_in_nothing_else() -> None:
    run, fact, later = "0a", "0b", "0c"
    pattern = Pattern(
        {
            "runs": [{"id": run, "count": 3, "payload": '{"key":"flow:template"}', "error": None}],
            "steps": [{"id": f"{run}:hold", "workflow_run_id": run, "step": 1}],
            "facts": [{"id": later, "previous_id": fact}, {"id": fact, "previous_id": None}],
            "groups": [{"id": run, "trigger_ids": f'["{fact}","{later}"]'}],
        },
        key="flow:template",
        prefix="flow",
    )

    copies = [pattern.copy(number, 1_700_000_000_000_000 + number) for number in (0, 1)]

    for number, copied in enumerate(copies):
        new = copied["runs"][0]["id"]
        first, second = copied["facts"]
        assert copied["runs"] == [
            {"id": new, "count": 3, "payload": f'{{"key":"flow:{number:09}"}}', "error": None}
        ]
        assert copied["steps"] == [{"id": f"{new}:hold", "workflow_run_id": new, "step": 1}]
        assert copied["groups"] == [{"id": new, "trigger_ids": f'["{first["id"]}","{second["id"]}"]'}]
        assert (first["previous_id"], second["previous_id"]) == (None, first["id"])
        assert first["id"] < second["id"]
    ids = {row["id"] for copied in copies for table in ("runs", "facts") for row in copied[table]}
    assert len(ids) == 6
    assert not ids & {run, fact, later}


def test_a_crowd_of_workflow_runs_keeps_every_promise_and_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (prepare, prepare_workflows):
        monkeypatch.setattr(module, "PROJECT", PROJECT)
    backend = SqliteBackend(tmp_path)

    async def one_that_waits() -> str:
        async with opened(backend) as bench:
            flows = Workflows(bench)
            await flows.job("bench")
            await flows.define(*STEPS, slug=FLOW)
            run_id = await flows.start({"key": f"{FLOW}:template"}, FLOW)
            (run,) = await flows.claim(slug="bench")
            await bench.service.perform(flows.finishing(run))
            return run_id

    run_id = asyncio.run(one_that_waits())
    with SqliteTables(backend.path) as tables:
        prepare_workflows.crowd(tables, run_id, 20)

    assert verify(backend.path) == []

    async def one_of_the_crowd_goes_on() -> tuple[int, str]:
        async with opened(backend) as bench:
            flows = Workflows(bench)
            await bench.send(f"{FLOW}:{7:09}")
            return len(await flows.claim(slug="bench")), (await flows.listed())[0].status

    assert asyncio.run(one_of_the_crowd_goes_on()) == (1, "running")


@pytest.mark.parametrize("kind", ["job", "wait"])
@pytest.mark.parametrize("steps", SIZES)
def test_a_wide_workflow_is_one_that_can_be_saved(kind: str, steps: int) -> None:
    parsed = Definitions().check(dumps({"slug": "wide", "steps": wide_steps(kind, steps)}))

    assert parsed.faults == ()
    assert parsed.definition is not None
    assert len(parsed.definition.steps) == steps


def test_a_run_of_the_benchmark_replaces_its_own_section_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    table = report.Table()
    table.add(report.Row("opening waits", "SQLite", "", "1/s"))
    report.write(table, 1_000, ["Commit: first"])
    report.write(table, 20, ["Commit: small"])
    with report.RESULTS.open("a") as file:
        file.write("\n## Compared by hand\n")

    report.write(table, 1_000, ["Commit: second"])

    text = report.RESULTS.read_text()
    assert "Commit: first" not in text
    assert text.index("Commit: small") < text.index("Commit: second") < text.index("## Compared by hand")
    assert text.count("## Compared by hand") == 1
