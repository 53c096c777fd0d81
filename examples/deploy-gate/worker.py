"""The jobs of the workflow `deploy-gate`. They only say what they would do; the steps that bring a release
somewhere share one job, and say by their payload where."""

from __future__ import annotations

import contextlib
from typing import Any

from narrows.client import Client, DoNotRetry, Worker, WorkerRun
from narrows.errors import Conflict


def build(run: WorkerRun) -> dict[str, Any]:
    release = run.payload["release"]
    run.log(f"building {release}")
    return {"artifact": f"shop-{release}.tar.gz"}


def test(run: WorkerRun) -> dict[str, Any]:
    run.log(f"testing {run.payload['artifact']}")
    if run.payload.get("broken"):
        raise DoNotRetry("2 of 340 tests failed")
    return {"passed": 340}


def deploy(run: WorkerRun) -> dict[str, Any]:
    place, artifact = run.payload["place"], run.payload["artifact"]
    run.log(f"bringing {artifact} to {place}")
    return {"url": f"https://{place}.shop.example.com", "artifact": artifact}


HANDLERS = {"deploy-build": build, "deploy-test": test, "deploy-to": deploy}

if __name__ == "__main__":
    with Client() as client:
        for slug in HANDLERS:
            with contextlib.suppress(Conflict):  # it is there already
                client.create_job(slug)
        Worker(client, HANDLERS).run()
