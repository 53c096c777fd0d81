"""The first story of `narrows demo`: a shell waits, the server is killed and started again, a real
GitHub webhook arrives, the shell goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from narrows.cli import output, tables
from narrows.cli.demo_stage import STEP_SECS, Stage, line_of, shell_script

EVENT_KEY = "github:pull_request:Codertocat/Hello-World#2:closed"


class ShellStory:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.payload = stage.folder / "payload.json"
        self.shell: asyncio.subprocess.Process | None = None

    async def tell(self) -> None:
        stage = self.stage
        stage.title("A shell waits. The server dies. The shell goes on.")
        stage.step("A server starts, on an embedded database in an empty folder")
        stage.detail(f"ready after {await stage.start_server()}; {stage.url}, {stage.data}")
        stage.step("A shell waits for a pull request to be closed, and blocks")
        callback_url = await self.start_shell()
        await self.show_database("what is in the database")
        stage.step("The server is killed: SIGKILL, no warning")
        await self.kill_server()
        await self.show_database("no server runs; what is in the file")
        stage.step("The server is started again")
        stage.detail(f"ready after {await stage.start_server()}; nobody told the shell, it still waits")
        stage.step("GitHub calls: the pull request was closed")
        posted = await stage.post_webhook(callback_url)
        stage.step("The shell goes on, with the payload")
        await self.see_shell_end(posted)
        await self.show_database("what is in the database")

    async def show_database(self, title: str) -> None:
        async with self.stage.database() as client:
            trigger = await client.get(EVENT_KEY)
            stats = await client.stats()
        self.stage.check(stats.total_count == 1, f"one wait, not {stats.total_count}")
        counts = f"{stats.waiting_count} waiting, {stats.received_count} received"
        row = tables.card(trigger, fields=("status", "event_key", "id", "requested_at", "settled_at"))
        self.stage.panel(row, f"{title}: {counts}")

    async def start_shell(self) -> str:
        """A shell that blocks in `narrows events wait`; answers the callback URL that it prints."""
        lines = [
            f"narrows events wait '{EVENT_KEY}'",
            "      --timeout 10m --callback-url > payload.json",
            "      && echo 'closed: deploying'",
        ]
        self.stage.code([f"$ {lines[0]}", *(f"  {line}" for line in lines[1:])])
        script = shell_script(" ".join(lines))
        self.shell, stderr = await self.stage.start(
            "sh", "-c", script, piped="stderr", NARROWS_URL=self.stage.url
        )
        line = await line_of(stderr)
        self.stage.check("/h/" in line, f"a callback URL from the shell, not {line!r}")
        self.stage.detail(f"for GitHub's webhook settings: {line[: line.index('/h/') + 11]}…")
        return line

    async def kill_server(self) -> None:
        await self.stage.kill_server()
        assert self.shell is not None
        self.stage.check(self.shell.returncode is None, "a shell that waits on")
        self.stage.detail("the server is gone; the shell waits on")

    async def see_shell_end(self, posted: float) -> None:
        assert self.shell is not None
        async with asyncio.timeout(STEP_SECS):
            said, complaints = await self.shell.communicate()
        took = self.stage.took(posted)
        self.stage.check(self.shell.returncode == 0, f"a shell that ends well, not {complaints.decode()!r}")
        payload = self.payload.read_bytes()
        self.stage.check(
            payload == self.stage.body + b"\n", "the payload to be the webhook's body, byte for byte"
        )
        closed: dict[str, Any] = msgspec.json.decode(payload)
        output.out.print(f"   [cyan]{said.decode().strip()}[/cyan]")
        self.stage.detail(f"{took} after the webhook; payload.json holds its body, byte for byte:")
        self.stage.detail(f"  action {closed['action']!r}, pull request {closed['pull_request']['title']!r}")
