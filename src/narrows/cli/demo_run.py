"""The second story of `narrows demo`: the server dispatches a run to a handler of its own, which checks
the signature and sets the run down until a pull request is closed. Server and handler are killed and
started again, GitHub's webhook arrives, the run is dispatched again with it and completes. The shell
that started it gets the result, though it never learned of the kill."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

import msgspec

from narrows.cli import output, tables
from narrows.cli.demo_stage import STEP_SECS, Stage, free_port, line_of, shell_script
from narrows.client import AsyncClient, calls
from narrows.wire.messages import Trigger
from narrows.wire.run_messages import Run, RunEvent

JOB = "release-notes"
KINDS = ("run.created", "run.dispatched", "run.waiting", "run.resumed", "run.dispatched", "run.completed")


class _Payload(msgspec.Struct):
    response_payload: msgspec.Raw


class RunStory:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.port = free_port()
        self.secret_file = stage.folder / "signing-secret"
        self.handler: asyncio.subprocess.Process | None = None
        self.says: asyncio.StreamReader | None = None
        self.shell: asyncio.subprocess.Process | None = None
        self.run_id = ""
        opened = msgspec.json.decode(stage.body)
        self.wanted = {"repository": opened["repository"]["full_name"], "number": opened["number"]}
        self.expected = {
            "pull_request": opened["pull_request"]["title"],
            "action": opened["action"],
            "head": opened["pull_request"]["head"]["sha"],
        }

    async def tell(self) -> None:
        stage = self.stage
        stage.title("A run waits. Server and handler die. The run goes on.")
        stage.step("A job is made, and its handler started: a process of its own, any web server would do")
        await self.create_job()
        stage.detail(f"the handler listens after {await self.start_handler()}, and knows the signing secret")
        stage.step("A shell starts a run and waits for its result; the server dispatches it by a signed POST")
        callback_url = await self.start_run()
        await self.show_database("what is in the database", "waiting")
        stage.step("Server and handler are killed: SIGKILL, no warning")
        await self.kill_both()
        await self.show_database("no server runs; what is in the file", "waiting")
        stage.step("Both are started again")
        stage.detail(
            f"server ready after {await stage.start_server()}, handler after {await self.start_handler()}"
        )
        stage.step("GitHub calls: the pull request was closed")
        posted = await stage.post_webhook(callback_url)
        stage.step("The run is dispatched again, with the event, and completes")
        await self.see_it_complete(posted)
        await self.show_database("what is in the database", "completed")

    # ---- acting ----------------------------------------------------------------------------

    async def create_job(self) -> None:
        async with AsyncClient(self.stage.url) as client:
            job = await client.create_job(JOB, endpoint_url=f"http://127.0.0.1:{self.port}/", timeout_secs=60)
        assert job.signing_secret is not None
        self.secret_file.touch(mode=0o600)
        self.secret_file.write_text(job.signing_secret)
        self.stage.detail(f"job {job.slug}, endpoint {job.endpoint_url}")

    async def start_handler(self) -> str:
        started = self.stage.clock.monotonic()
        command = (sys.executable, "-m", "narrows.cli.demo_handler", str(self.port), str(self.secret_file))
        self.handler, self.says = await self.stage.start(*command, piped="stdout", NARROWS_URL=self.stage.url)
        await self.hear("listens")
        return self.stage.took(started)

    async def hear(self, did: str) -> dict[str, Any]:
        """What the handler says next, which must be that it did so."""
        assert self.says is not None
        line = await line_of(self.says)
        said: dict[str, Any] = msgspec.json.decode(line) if line else {}
        self.stage.check(said.get("did") == did, f"a handler that {did}, not {line!r}")
        return said

    async def start_run(self) -> str:
        payload = msgspec.json.encode(self.wanted).decode()
        script = f"narrows jobs trigger {JOB} --payload '{payload}' --wait"
        self.stage.code([f"$ {script}"])
        self.shell, _ = await self.stage.start(
            "sh", "-c", shell_script(script), piped="stderr", NARROWS_URL=self.stage.url
        )
        said = await self.hear("waits")
        self.run_id = said["run"]
        callback_url: str = said["callback_url"]
        self.stage.detail("the handler verified the signature and asked to wait; its dispatch is over:")
        self.stage.detail(f"  event key {said['event_key']}")
        self.stage.detail(
            f"  for GitHub's webhook settings: {callback_url[: callback_url.index('/h/') + 11]}…"
        )
        return callback_url

    async def kill_both(self) -> None:
        assert self.handler is not None
        assert self.shell is not None
        self.handler.kill()
        await self.stage.kill_server()
        await self.handler.wait()
        self.stage.check(self.shell.returncode is None, "a shell that waits on")
        self.stage.detail("both are gone, and with them all that they held in memory; the shell waits on")

    async def see_it_complete(self, posted: float) -> None:
        said = await self.hear("completes")
        self.stage.detail(f"the handler completed it {self.stage.took(posted)} after the webhook")
        assert self.shell is not None
        async with asyncio.timeout(STEP_SECS):
            result, complaints = await self.shell.communicate()
        took = self.stage.took(posted)
        self.stage.check(self.shell.returncode == 0, f"a shell that ends well, not {complaints.decode()!r}")
        found = msgspec.json.decode(result)
        self.stage.check(found == self.expected, f"the result {self.expected}, not {found}")
        output.out.print(f"   [cyan]{result.decode().strip()}[/cyan]", soft_wrap=True)
        self.stage.detail(f"and the shell has its result, {took} after the webhook")
        async with self.stage.database() as client:
            trigger = await client.get(trigger_id=said["resumed_by"])
            payload = (await client.perform(_raw_payload(trigger))).response_payload
            self.stage.check(bytes(payload) == self.stage.body, "the webhook's body, byte for byte")
            await self.show_timeline(client)

    # ---- telling ---------------------------------------------------------------------------

    async def show_database(self, title: str, status: str) -> None:
        async with self.stage.database() as client:
            run = await self._run_in(client, status)
            waits = (await client.list(job_run_id=run.id)).data
        self.stage.check(len(waits) == 1, f"one wait of the run, not {len(waits)}")
        self.stage.check(run.dispatches == (2 if status == "completed" else 1), "no dispatch too many")
        shown = tables.card(run, fields=("status", "id", "attempt", "dispatches", "result", "finished_at"))
        self.stage.panel(shown, f"{title}: the run")
        shown = tables.card(waits[0], fields=("status", "event_key", "id", "requested_at", "settled_at"))
        self.stage.panel(shown, f"{title}: what it waits for")

    async def _run_in(self, client: AsyncClient, status: str) -> Run:
        run = await client.get_run(self.run_id)
        self.stage.check(run.status == status, f"a run that is {status}, not {run.status}")
        return run

    async def show_timeline(self, client: AsyncClient) -> None:
        """Each thing happened once, and how long it took."""
        events = (await client.run_events(self.run_id)).data[::-1]
        kinds = tuple(event.kind for event in events)
        self.stage.check(kinds == KINDS, f"the timeline {KINDS}, not {kinds}")
        for before, event in zip([None, *events], events, strict=False):
            self.stage.detail(f"  {event.kind:<15} {_after(before, event)}")


def _after(before: RunEvent | None, event: RunEvent) -> str:
    if before is None:
        return f"{event.at:%H:%M:%S.%f}Z"
    return f"+{(event.at - before.at).total_seconds() * 1000:,.1f} ms"


def _raw_payload(trigger: Trigger) -> Any:
    """The payload as the text that is kept, not decoded and encoded again."""
    return replace(calls.get(trigger_id=trigger.id), reply=_Payload)
