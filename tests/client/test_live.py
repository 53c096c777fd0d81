"""The client against a real `narrows dev`: every call once, and waits and streams that live through a
SIGKILL of the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from narrows.client import AsyncClient, BatchItem, Client, Held, StillWaiting, Trigger
from narrows.client.pace import SystemPace
from narrows.config import Config
from narrows.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from tests.forked import Forked
from tests.storage.databases import DATABASES, configured

START_SECS = 30.0
READER = ["events:read"]


class Server:
    """A `narrows dev` of its own, which can be killed and started again on the same port."""

    def __init__(self, config: Config) -> None:
        self.data = data = config.data
        self.database = config.database
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.uds = str(data / "narrows.sock")
        self.process: Forked | None = None

    def start(self) -> None:
        command = ["-m", "narrows", "dev", "--port", str(self.port), "--data", str(self.data)]
        command += ["--database", self.database]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
        with (self.data.parent / "log").open("ab") as log:
            self.process = Forked(command, stdout=log, stderr=log, env=environment)
        # The client's own patience is what waits for the start.
        with Client(self.url, retry_secs=START_SECS) as client:
            assert client.ready().status == "ok", (self.data.parent / "log").read_text()

    def stop(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=20)


@contextlib.contextmanager
def serving(database: str, folder: Path) -> Iterator[Server]:
    with configured(database, folder / "data") as config:
        server = Server(config)
        server.start()
        yield server
        server.stop(signal.SIGKILL)


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp("live")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


class WatchedPace(SystemPace):
    """Says when the client first had to pause, which means that it has lost the server."""

    def __init__(self) -> None:
        self.has_paused = threading.Event()

    def sleep(self, secs: float) -> None:
        self.has_paused.set()
        super().sleep(secs)


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    return thread, results


def test_open_send_wait(client: Client) -> None:
    opened = client.open(
        "live:1", timeout_secs=600, request_payload={"n": 1}, tags={"team": "a"}, name="First"
    )
    assert (opened.status, opened.request_payload, opened.tags) == ("waiting", {"n": 1}, {"team": "a"})
    assert client.get("live:1") == client.get(opened) == client.get(trigger_id=opened.id)
    with pytest.raises(Conflict):
        client.open("live:1")
    assert client.open("live:1", if_waiting="join").id == opened.id
    assert client.extend("live:1", timeout_secs=0).timeout_secs == 0
    with pytest.raises(StillWaiting):
        client.wait(opened, timeout_secs=0)
    assert client.send(opened, {"ok": True}).status == "received"
    assert client.send(opened, {"ok": True}).status == "received"
    with pytest.raises(Conflict):
        client.send(opened, {"ok": False})
    settled = client.wait(opened)
    assert settled.response_payload == {"ok": True}
    assert client.stats().received_count >= 1


def test_open_with_one_idempotency_key_is_one_wait(client: Client) -> None:
    first = client.open("live:once", idempotency_key="k-1")
    client.send(first, 1)
    again = client.open("live:once", idempotency_key="k-1")
    assert (again.id, again.status) == (first.id, "received")


@pytest.mark.parametrize(
    "key",
    [
        "stats",
        "purge",
        "prefix",
        "batch",
        "x/stream",
        "a/send",
        "healthz",
        "..",
        "%2e%2e",
        "a/",
        "ä" * 256,
        "a b+c",
    ],
)
def test_any_key_reaches_its_own_wait(client: Client, key: str) -> None:
    opened = client.open(key)
    assert [each.id for each in client.list(event_key=key).data] == [opened.id]
    assert next(iter(client.stream(key))).id == opened.id
    assert client.cancel(key).id == opened.id


@pytest.mark.parametrize("payload", [None, True, "ä\n", 2**70, [1, 2.5, {"a": None}], {}, msgspec.UNSET])
def test_payloads_come_back_as_they_were(client: Client, payload: Any) -> None:
    opened = client.open("live:payload", request_payload=payload)
    assert client.send("live:payload", payload).response_payload == payload
    assert client.get(opened).request_payload == payload


def test_sending_to_many(client: Client) -> None:
    opened = [client.open(f"many/%_:{n}") for n in range(3)]
    assert client.send_prefix("many/%_", 1, dry_run=True).resolved == 3
    assert client.send_prefix("many/%_", 1).resolved == 3
    assert {client.wait(each).status for each in opened} == {"received"}
    client.open("batch:1")
    results = client.send_batch(
        [BatchItem(event_key="batch:1", payload=[1]), BatchItem(event_key="batch:2")]
    ).results
    assert [each.status for each in results] == [200, 404]
    assert {each.id for each in client.iterate(key_prefix="many/", page_size=1)} == {
        each.id for each in opened
    }
    assert client.purge(older_than_days=1).deleted == 0


def test_events_without_a_wait(client: Client) -> None:
    held = client.hold("early:1", {"a": 1}, hold_secs=60, event_id="e1")
    assert isinstance(held, Held)
    assert [each.id for each in client.held_events(event_key="early:1").data] == [held.id]
    assert client.open("early:1").response_payload == {"a": 1}
    kept = client.hold("early:2", hold_secs=60)
    assert client.delete_held_event(kept.id).id == kept.id
    client.open("early:3")
    assert isinstance(client.hold("early:3", hold_secs=60), Trigger)
    client.open("near:ABC")
    with pytest.raises(NotFound) as caught:
        client.send("near:abc")
    assert any("near:ABC" in line for line in caught.value.details)
    assert client.explain("near:abc").lines
    assert client.unmatched_events(limit=1).data is not None


def test_links_and_tokens(client: Client) -> None:
    opened = client.open("link:1", callback_url=True)
    assert opened.callback_url
    assert client.show_callback(opened.callback_url).message
    made = client.create_callback_url("link:1")
    assert made.trigger_id == client.create_stream_token("link:1").trigger_id == opened.id
    assert client.send_to_callback(made.callback_url, {"by": "provider"}).status == "received"
    assert client.wait(opened).response_payload == {"by": "provider"}


def test_what_the_server_says_of_itself(client: Client) -> None:
    assert client.version().name == "narrows"
    assert client.live().status == "ok"
    assert "narrows" in client.metrics()
    assert client.openapi()["openapi"].startswith("3.1")
    assert "<html" in client.reference().lower()


def test_projects_and_keys_by_the_local_socket(server: Server) -> None:
    with Client(uds=server.uds) as host:
        project = host.create_project("live-project", name="Live")
        assert project.id in {each.id for each in host.list_projects().data}
        with pytest.raises(Conflict):
            host.create_project("live-project")
        with pytest.raises(InvalidRequest):
            host.create_api_key(scopes=["everything"], project_id="live-project")
        made = host.create_api_key(scopes=READER, project_id="live-project", idempotency_key="once")
        with pytest.raises(Conflict, match=made.id):
            host.create_api_key(scopes=READER, project_id="live-project", idempotency_key="once")
        assert made.key
        rotated = host.rotate_api_key(made.id)
        assert host.revoke_api_key(rotated.id).revoked_at is not None
        assert {made.id, rotated.id} <= {each.id for each in host.list_api_keys().data}
    with Client(uds=server.uds, project_id="live-project") as inside:
        assert inside.open("k").project_id == "live-project"


def test_refusals_of_keys(server: Server) -> None:
    with Client(uds=server.uds) as host:
        host.create_project("refusals")
        key = host.create_api_key(scopes=READER, project_id="refusals").key
    with Client(server.url, api_key=key) as reader:
        assert reader.list().data == []
        with pytest.raises(Forbidden):
            reader.open("k")
    with Client(server.url, api_key="nrw_wrong") as stranger, pytest.raises(Unauthenticated):
        stranger.list()


async def test_the_async_client(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        opened = await client.open("async:1")
        waiting = asyncio.ensure_future(client.wait(opened))
        statuses = []
        async for each in client.stream(opened):
            statuses.append(each.status)
            if each.status == "waiting":
                await client.send(opened, 7)
        assert statuses == ["waiting", "received"]
        assert (await waiting).response_payload == 7


@pytest.fixture(params=DATABASES)
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with serving(request.param, tmp_path) as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_wait_and_stream_live_through_a_restart(mortal: Server, number: int) -> None:
    paces = WatchedPace(), WatchedPace()
    with (
        Client(mortal.url) as client,
        Client(mortal.url, pace=paces[0]) as one,
        Client(mortal.url, pace=paces[1]) as two,
    ):
        opened = client.open("restart:1")
        stream = two.stream("restart:1")
        first = next(stream)
        waiter, settled = in_thread(lambda: one.wait(opened))
        reader, rest = in_thread(lambda: [each.status for each in stream])
        mortal.stop(number)
        assert all(pace.has_paused.wait(20) for pace in paces)
        mortal.start()
        client.send(opened, {"after": "restart"})
        for thread in (waiter, reader):
            thread.join(20)
    assert first.status == "waiting"
    assert [each.response_payload for each in settled] == [{"after": "restart"}]
    assert rest == [["received"]]


#: Their examples wait for what nobody in a test sends; they are only compiled.
BLOCKING = {"wait", "stream", "wait_for_run"}


@pytest.mark.parametrize(
    "name", [name for name, each in vars(Client).items() if "Example::" in (each.__doc__ or "")]
)
def test_examples_run(client: Client, name: str) -> None:
    example = textwrap.dedent(vars(Client)[name].__doc__.partition("Example::")[2])
    code = compile(example, name, "exec")
    if name in BLOCKING:
        return
    key = f"example:{name}"
    trigger = client.open("approval:order_1" if "order_1" in example else key, if_waiting="join")
    if name == "open":
        client.cancel(trigger)
    with contextlib.suppress(NotFound):
        client.delete_job("resize-image", cancel_runs=True)
    if name != "create_job":
        client.create_job("resize-image")
    with contextlib.suppress(NotFound):
        client.delete_workflow("deploy-gate")
    run = None
    if name != "create_workflow":
        client.create_workflow(
            {"slug": "deploy-gate", "steps": [{"step_ref": "sign-off", "type": "approval"}]}
        )
        run = client.trigger_workflow("deploy-gate")
    exec(code, {"client": client, "trigger": trigger, "run": run, "BatchItem": BatchItem})
