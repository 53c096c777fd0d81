"""What the stories of `narrows demo` stand on: real processes, a server that is killed and started
again, a webhook as GitHub sends it, and the voice that tells. Not here: the stories themselves
(`demo_shell.py`, `demo_run.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from importlib import resources
from pathlib import Path

from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from narrows.cli import output, reach
from narrows.cli.inputs import duration_text
from narrows.client import AsyncClient
from narrows.clock import SystemClock
from narrows.errors import NarrowsError

STEP_SECS = 30
GITHUB_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "GitHub-Hookshot/044aadd",
    "X-GitHub-Event": "pull_request",
    "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
}


class StoryBroken(NarrowsError):
    """Something was not as told."""


def webhook_body(name: str = "pull_request.closed") -> bytes:
    """A webhook body as GitHub sends it."""
    return resources.files("narrows.cli").joinpath("demo_data", f"{name}.json").read_bytes().strip()


class Stage:
    """The processes of one telling, the server among them, and the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.body = webhook_body()
        self.server: asyncio.subprocess.Process | None = None
        self.processes: list[asyncio.subprocess.Process] = []
        self.clock = SystemClock()
        self.began = self.clock.monotonic()
        self.step_number = 0

    # ---- telling ---------------------------------------------------------------------------

    def title(self, text: str) -> None:
        output.out.print()
        output.out.print(Panel.fit(Text(text, "bold")))

    def step(self, text: str) -> None:
        self.step_number += 1
        at = self.clock.monotonic() - self.began
        output.out.print(f"\n[bold]{self.step_number}. {text}[/bold] [dim]at {at:.1f} s[/dim]")

    def detail(self, text: str) -> None:
        output.out.print(f"   {text}", markup=False)

    def code(self, lines: list[str]) -> None:
        for line in lines:
            output.out.print(f"   {line}", style="cyan", markup=False)

    def panel(self, content: RenderableType, title: str) -> None:
        output.out.print(Panel(content, title=title, title_align="left", border_style="dim"))

    def took(self, since: float) -> str:
        return duration_text(self.clock.monotonic() - since)

    def check(self, held: bool, expected: str) -> None:
        if not held:
            raise StoryBroken(f"The story did not hold: expected {expected}.", details=self.last_log_lines())

    def last_log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-5:] if self.log.exists() else []

    # ---- acting ----------------------------------------------------------------------------

    def database(self) -> contextlib.AbstractAsyncContextManager[AsyncClient]:
        """Through the server where one runs, else from the file itself, in this process."""
        return reach.connect(reach.Reach(data=self.data, project=reach.DEFAULT_PROJECT), as_host=True)

    async def start_server(self) -> str:
        started = self.clock.monotonic()
        with self.log.open("ab") as log:
            self.server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "narrows", "dev"),
                *("--port", str(self.port), "--data", str(self.data)),
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        async with asyncio.timeout(STEP_SECS), AsyncClient(self.url, retry_secs=STEP_SECS) as client:
            ready = asyncio.ensure_future(client.ready())
            ended = asyncio.ensure_future(self.server.wait())
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            self.check(self.server.returncode is None, "a server that starts")
            ended.cancel()
            health = await ready
        self.check(health.status == "ok", "a server that is ready")
        return duration_text(self.clock.monotonic() - started)

    async def start(
        self, *command: str, piped: str, **variables: str
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        """A process of the story, and what it says on its `piped` stream."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment() | variables,
            start_new_session=True,
        )
        self.processes.append(process)
        stream = process.stdout if piped == "stdout" else process.stderr
        assert stream is not None
        return process, stream

    async def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        await self.server.wait()

    async def post_webhook(self, callback_url: str) -> float:
        """POST GitHub's bytes as GitHub would, by a plain HTTP client; answers when that was."""
        import httpx2  # noqa: PLC0415 - slow to load

        posted = self.clock.monotonic()
        async with httpx2.AsyncClient(timeout=STEP_SECS) as http:
            reply = await http.post(callback_url, content=self.body, headers=GITHUB_HEADERS)
        took = self.took(posted)
        self.check(reply.status_code == 200, f"200 for the webhook, not {reply.status_code}: {reply.text}")
        self.detail(f"POST {len(self.body):,} bytes to the callback URL: {reply.status_code} after {took}")
        return posted

    async def clean_up(self) -> None:
        for process in (*self.processes, self.server):
            if process is not None and process.returncode is None:
                # The whole group: a shell that is told to end leaves what it has started.
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STEP_SECS):
                        await process.wait()


async def line_of(stream: asyncio.StreamReader) -> str:
    """The next line that a process says."""
    async with asyncio.timeout(STEP_SECS):
        return (await stream.readline()).decode().strip()


def shell_script(script: str) -> str:
    """The script with `narrows` as a command, wherever it is installed."""
    return f"narrows() {{ '{sys.executable}' -m narrows \"$@\"; }}\n{script}"


def free_port() -> int:
    """The same port before and after the kill: the callback URL names it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """Without options of the person's own, which would lead the processes elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
    paths = [str(Path(output.__file__).parents[2]), kept.get("PYTHONPATH", "")]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
