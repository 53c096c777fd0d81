"""schemathesis against a live server, from the server's own OpenAPI document: no reply is a 5xx, every
reply is as the document says, and methods that it does not name are 405.

Streams, claims and long polls are left out: they answer when something happens, and have tests of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2

from tests.streams.live import Live

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
#: Routes that are fuzzed: all but what waits by its nature; a claim waits too.
OPERATIONS = 79
PROJECT = "fuzz"


def _admin_key(live: Live) -> str:
    """Without a key that is good, everything would be a 401 and nothing would be tested."""
    transport = httpx2.HTTPTransport(uds=live.uds)
    with httpx2.Client(transport=transport, base_url="http://localhost") as host:
        assert host.post("/v1/projects", json={"id": PROJECT}).status_code == 201
        return str(host.post("/v1/api-keys", json={"scopes": ["*"]}).json()["key"])


def fuzz(folder: Path, examples: int, seed: int) -> tuple[int, str]:
    """Run `examples` cases for each operation; answers the exit code and all that was printed."""
    with Live(folder, "serve", log_level="warning") as live:
        # One worker: Python 3.11 parses no source in two threads at once without a SystemError.
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", f"{live.url}/openapi.json",
            "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(examples), "--seed", str(seed), "--workers", "1",
            "--exclude-path-regex", "/(stream|wait|claim)$", "--suppress-health-check", "all",
            "--request-timeout", "30",
            "--header", f"Authorization: Bearer {_admin_key(live)}", "--header", f"X-Project-Id: {PROJECT}", "--generation-database", "none", "--no-color",
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        said = ended.stdout + ended.stderr
        log = live.log.read_text()
        if "failed inside" in log or "Traceback" in log:
            return 1, f"{said}\n{log}"
        if live.stop() != 0:
            return 1, f"{said}\nthe server did not end with 0"
    return ended.returncode, said
