"""`narrows demo`: the story of Narrows in a minute, with real processes. A shell waits, the server is
killed and started again, a real GitHub webhook arrives, the shell goes on. It checks what it shows:
exit code 0 only if the story held. Not here: anything that another command does not do too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.panel import Panel
from rich.text import Text

from narrows.cli import output, reach, tables
from narrows.cli.exits import Exit
from narrows.cli.inputs import duration_text
from narrows.cli.session import Outcome, finish
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


def register(app: typer.Typer) -> None:
    app.command("demo", rich_help_panel="Run a server")(demo)


def demo() -> None:
    """Watch a shell wait for a GitHub webhook while the server is killed: one minute, nothing kept."""
    finish(lambda: asyncio.run(_demo()))


async def _demo() -> Outcome:
    with tempfile.TemporaryDirectory(prefix="narrows-demo-") as folder:
        story = Story(Path(folder))
        try:
            await story.tell()
        finally:
            await story.clean_up()
    return Exit.OK


def webhook_body(name: str = "pull_request.closed") -> bytes:
    """A webhook body as GitHub sends it."""
    return resources.files("narrows.cli").joinpath("demo_data", f"{name}.json").read_bytes().strip()


class Story:
    """The processes of one telling and what is known about them."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.payload = folder / "payload.json"
        self.port = _free_port()
        self.url = f"http://localhost:{self.port}"
        self.body = webhook_body()
        opened = msgspec.json.decode(self.body)
        repository, number = opened["repository"]["full_name"], opened["number"]
        self.event_key = f"github:pull_request:{repository}#{number}:closed"
        self.server: asyncio.subprocess.Process | None = None
        self.shell: asyncio.subprocess.Process | None = None
        self.clock = SystemClock()
        self.began = self.clock.monotonic()
        self.step_number = 0

    async def tell(self) -> None:
        output.out.print(Panel.fit(Text("A shell waits. The server dies. The shell goes on.", "bold")))
        self.step("A server starts, on an embedded database in an empty folder")
        self.detail(f"ready after {await self.start_server()}; {self.url}, {self.data}")
        self.step("A shell waits for a pull request to be closed, and blocks")
        callback_url = await self.start_shell()
        await self.show_database("what is in the database")
        self.step("The server is killed: SIGKILL, no warning")
        await self.kill_server()
        await self.show_database("no server runs; what is in the file")
        self.step("The server is started again")
        self.detail(f"ready after {await self.start_server()}; nobody told the shell, it still waits")
        self.step("GitHub calls: the pull request was closed")
        posted = await self.post_webhook(callback_url)
        self.step("The shell goes on, with the payload")
        await self.see_shell_end(posted)
        await self.show_database("what is in the database")
        took = duration_text(self.clock.monotonic() - self.began)
        output.out.print(f"\n[bold green]The story held[/bold green], in {took}.")
        output.out.print("Now yours: `narrows dev` and `narrows events wait KEY`.", markup=False)

    # ---- telling ---------------------------------------------------------------------------

    def step(self, text: str) -> None:
        self.step_number += 1
        at = self.clock.monotonic() - self.began
        output.out.print(f"\n[bold]{self.step_number}. {text}[/bold] [dim]at {at:.1f} s[/dim]")

    def detail(self, text: str) -> None:
        output.out.print(f"   {text}", markup=False)

    async def show_database(self, title: str) -> None:
        """Through the server where one runs, else from the file itself, in this process."""
        way = reach.Reach(data=self.data, project=reach.DEFAULT_PROJECT)
        async with reach.connect(way, as_host=True) as client:
            trigger = await client.get(self.event_key)
            stats = await client.stats()
        self.check(stats.total_count == 1, f"one wait, not {stats.total_count}")
        counts = f"{stats.waiting_count} waiting, {stats.received_count} received"
        row = tables.card(trigger, fields=("status", "event_key", "id", "requested_at", "settled_at"))
        output.out.print(Panel(row, title=f"{title}: {counts}", title_align="left", border_style="dim"))

    def check(self, held: bool, expected: str) -> None:
        if not held:
            raise StoryBroken(f"The story did not hold: expected {expected}.", details=self.last_log_lines())

    def last_log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-5:] if self.log.exists() else []

    # ---- acting ----------------------------------------------------------------------------

    async def start_server(self) -> str:
        started = self.clock.monotonic()
        with self.log.open("ab") as log:
            self.server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "narrows", "dev"),
                *("--port", str(self.port), "--data", str(self.data)),
                stdout=log,
                stderr=log,
                env=_environment(),
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

    async def start_shell(self) -> str:
        """A shell that blocks in `narrows events wait`; answers the callback URL that it prints."""
        script = (
            f"narrows events wait '{self.event_key}' --timeout 10m --callback-url > payload.json"
            " && echo 'closed: deploying'"
        )
        for line in (
            script.replace(" --timeout", "\n      --timeout").replace(" && ", "\n      && ").split("\n")
        ):
            output.out.print(f"   {'$ ' if line[0] != ' ' else ''}{line}", style="cyan", markup=False)
        function = f"narrows() {{ '{sys.executable}' -m narrows \"$@\"; }}\n"
        self.shell = await asyncio.create_subprocess_exec(
            *("sh", "-c", function + script),
            cwd=self.payload.parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment() | {"NARROWS_URL": self.url},
            start_new_session=True,
        )
        assert self.shell.stderr is not None
        async with asyncio.timeout(STEP_SECS):
            line = (await self.shell.stderr.readline()).decode().strip()
        self.check("/h/" in line, f"a callback URL from the shell, not {line!r}")
        self.detail(f"for GitHub's webhook settings: {line[: line.index('/h/') + 11]}…")
        return line

    async def kill_server(self) -> None:
        assert self.server is not None
        assert self.shell is not None
        self.server.kill()
        await self.server.wait()
        self.check(self.shell.returncode is None, "a shell that waits on")
        self.detail("the server is gone; the shell waits on")

    async def post_webhook(self, callback_url: str) -> float:
        """POST GitHub's bytes as GitHub would, by a plain HTTP client; answers when that was."""
        import httpx2  # noqa: PLC0415 - slow to load

        posted = self.clock.monotonic()
        async with httpx2.AsyncClient(timeout=STEP_SECS) as http:
            reply = await http.post(callback_url, content=self.body, headers=GITHUB_HEADERS)
        took = duration_text(self.clock.monotonic() - posted)
        self.check(reply.status_code == 200, f"200 for the webhook, not {reply.status_code}: {reply.text}")
        self.detail(f"POST {len(self.body):,} bytes to the callback URL: {reply.status_code} after {took}")
        return posted

    async def see_shell_end(self, posted: float) -> None:
        assert self.shell is not None
        async with asyncio.timeout(STEP_SECS):
            said, complaints = await self.shell.communicate()
        took = duration_text(self.clock.monotonic() - posted)
        self.check(self.shell.returncode == 0, f"a shell that ends well, not {complaints.decode()!r}")
        payload = self.payload.read_bytes()
        self.check(payload == self.body + b"\n", "the payload to be the webhook's body, byte for byte")
        closed: dict[str, Any] = msgspec.json.decode(payload)
        output.out.print(f"   [cyan]{said.decode().strip()}[/cyan]")
        self.detail(f"{took} after the webhook; payload.json holds its body, byte for byte:")
        self.detail(f"  action {closed['action']!r}, pull request {closed['pull_request']['title']!r}")

    async def clean_up(self) -> None:
        for process in (self.shell, self.server):
            if process is not None and process.returncode is None:
                # The whole group: a shell that is told to end leaves what it has started.
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STEP_SECS):
                        await process.wait()


def _free_port() -> int:
    """The same port before and after the kill: the callback URL names it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Without options of the person's own, which would lead the processes elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
    paths = [str(Path(output.__file__).parents[2]), kept.get("PYTHONPATH", "")]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
