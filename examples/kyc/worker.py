"""The jobs of the workflow `kyc`: what is known of a customer is collected, and an account is opened."""

from __future__ import annotations

import contextlib
from typing import Any

from narrows.client import Client, Worker, WorkerRun
from narrows.errors import Conflict


def collect_data(run: WorkerRun) -> dict[str, Any]:
    run.log(f"collecting what {run.payload['user_id']} has sent")
    return {"documents": ["passport.pdf", "proof-of-address.pdf"]}


def create_account(run: WorkerRun) -> dict[str, Any]:
    # A run may be executed twice, where this process is killed after its work and before its answer. So an
    # account is named after what it belongs to: to open it again is to find it there.
    checked_by = run.payload["parent_outputs"]["aml_check"].get("by", "somebody")
    return {"account": f"account-of-{run.payload['user_id']}", "checked_by": checked_by}


HANDLERS = {"kyc-collect-data": collect_data, "kyc-create-account": create_account}

if __name__ == "__main__":
    with Client() as client:
        for slug in HANDLERS:
            with contextlib.suppress(Conflict):  # it is there already
                client.create_job(slug)
        Worker(client, HANDLERS).run()
