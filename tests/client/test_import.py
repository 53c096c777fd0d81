"""`import narrows.client` costs what a client needs: nothing of the server, and the HTTP library only
when a client is made."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import narrows.client
ours = sorted(name for name in sys.modules if name.startswith("narrows."))
assert all(name.split(".")[1] in {"client", "wire", "errors"} for name in ours), ours
foreign = {"httpx2", "uvicorn", "apsw", "typer", "rich", "jsonschema_rs", "prometheus_client", "asyncio"}
assert not foreign & set(sys.modules), foreign & set(sys.modules)
narrows.client.Client()
server = {"narrows.server", "narrows.api", "narrows.operations", "narrows.storage", "narrows.engine", "narrows.core"}
assert not server & set(sys.modules), server & set(sys.modules)
"""


def test_the_client_stands_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
