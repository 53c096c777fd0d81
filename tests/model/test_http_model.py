"""A hypothesis state machine over real HTTP: two projects with the same keys, against the model. What
one project does must never show in the other, and after each step both must agree with the model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.model.api_model import ABSENT, Project, Wait
from tests.storage.databases import DATABASES, configured
from tests.streams.live import Live

EXAMPLES = int(os.environ.get("NARROWS_MODEL_EXAMPLES", "60"))
STEPS = 40

KEYS = ("a", "a%", "a_", "ab", "a/b", "a%25", "ä", "ä:1", "stats", "x/send", "日本:1", "\U0001f41f", "A")
PREFIXES = ("a", "a%", "a_", "ä", "A", "日", "\U0001f41f", "x/", "a%2", "zz")
#: Equal as JSON values but spelled apart, nearly equal, and far.
PAYLOADS = st.sampled_from(
    [ABSENT, None, 0, 1, 1.0, True, "", "1", "ä\n", [], {}, [1, 2], [2, 1], {"a": 1, "b": None}, {"b": None, "a": 1.0}]
) | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
TENANTS = st.sampled_from(["one", "two"])
KEY = st.sampled_from(KEYS)
_numbers = itertools.count()


def with_payload(payload: Any, **more: Any) -> dict[str, Any]:
    return more if payload is ABSENT else {"payload": payload, **more}


class Machine(RuleBasedStateMachine):
    server: Live
    http: httpx2.Client

    def __init__(self) -> None:
        super().__init__()
        number = next(_numbers)
        self.names = {tenant: f"{tenant}-{number}" for tenant in ("one", "two")}
        self.projects = {"one": Project(), "two": Project()}
        self.touched = True

    def ask(self, tenant: str, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        answer = self.http.request(
            method, path, json=body, params=query or None, headers={"x-project-id": self.names[tenant]}
        )
        assert answer.status_code < 500, answer.text
        self.touched = True
        return answer.status_code, answer.json()

    @staticmethod
    def agrees(seen: Any, wait: Wait) -> None:
        assert (seen["id"], seen["event_key"], seen["status"]) == (wait.id, wait.key, wait.status)
        assert ("response_payload" in seen) == (wait.payload is not ABSENT)
        if wait.payload is not ABSENT:
            assert seen["response_payload"] == wait.payload
        assert seen["timeout_secs"] == wait.timeout_secs
        assert ("settled_at" in seen) == (wait.status != "waiting")

    def some_id(self, data: Any, tenant: str) -> str:
        known = [each.id for project in self.projects.values() for each in project.waits]
        return str(data.draw(st.sampled_from(known))) if known else "no-such-id"

    @rule(tenant=TENANTS, key=KEY, join=st.booleans())
    def open(self, tenant: str, key: str, join: bool) -> None:
        project = self.projects[tenant]
        expected = project.open(key, join=join)
        body = {"event_key": key, "if_waiting": "join" if join else "refuse"}
        status, seen = self.ask(tenant, "POST", "/v1/events", body)
        assert status == expected
        if status == 201:
            self.agrees(seen, project.opened(seen["id"], key))
        elif status == 200:
            wait = project.of_key(key)
            assert wait is not None
            self.agrees(seen, wait)

    @rule(tenant=TENANTS, key=KEY, payload=PAYLOADS, hold=st.booleans())
    def send(self, tenant: str, key: str, payload: Any, hold: bool) -> None:
        project = self.projects[tenant]
        wait = project.of_key(key)
        expected = project.send(wait, payload, hold=hold)
        body = with_payload(payload, **({"hold_secs": 600} if hold else {}))
        status, seen = self.ask(tenant, "POST", f"/v1/events/{quote(key, safe='')}/send", body)
        self.sent(project, wait, expected, status, seen, key, payload)

    def sent(
        self,
        project: Project,
        wait: Wait | None,
        expected: int,
        status: int,
        seen: Any,
        key: str,
        payload: Any,
    ) -> None:
        assert status == expected, seen
        if status == 200:
            assert wait is not None
            if wait.payload is not ABSENT:
                wait.payload = (
                    seen["response_payload"] if wait.payload == seen["response_payload"] else wait.payload
                )
            self.agrees(seen, wait)
        elif status == 202:
            assert (seen["held"], seen["event_key"]) == (True, key)
            project.held.append((seen["id"], key, payload))

    @rule(tenant=TENANTS, data=st.data(), payload=PAYLOADS)
    def send_by_id(self, tenant: str, data: Any, payload: Any) -> None:
        project = self.projects[tenant]
        wait_id = self.some_id(data, tenant)
        wait = project.of_id(wait_id)
        expected = project.send(wait, payload)
        status, seen = self.ask(tenant, "POST", f"/v1/triggers/{wait_id}/send", with_payload(payload))
        self.sent(project, wait, expected, status, seen, "", payload)

    @rule(tenant=TENANTS, data=st.data())
    def get_by_id(self, tenant: str, data: Any) -> None:
        wait_id = self.some_id(data, tenant)
        wait = self.projects[tenant].of_id(wait_id)
        status, seen = self.ask(tenant, "GET", f"/v1/triggers/{wait_id}")
        assert status == (404 if wait is None else 200)
        if wait is not None:
            self.agrees(seen, wait)

    @rule(tenant=TENANTS, key=KEY, encoded=st.booleans())
    def get(self, tenant: str, key: str, encoded: bool) -> None:
        wait = self.projects[tenant].of_key(key)
        if key == "stats":
            status, page = self.ask(tenant, "GET", "/v1/events", event_key=key, limit=1)
            assert (status, len(page["data"])) == (200, int(wait is not None))
            return
        path = quote(key, safe="" if encoded or key.endswith("/send") else "/")
        status, seen = self.ask(tenant, "GET", f"/v1/events/{path}")
        assert status == (404 if wait is None else 200)
        if wait is not None:
            self.agrees(seen, wait)

    @rule(tenant=TENANTS, data=st.data(), key=KEY, by_id=st.booleans())
    def cancel(self, tenant: str, data: Any, key: str, by_id: bool) -> None:
        project = self.projects[tenant]
        wait_id = self.some_id(data, tenant)
        wait = project.of_id(wait_id) if by_id else project.of_key(key)
        path = f"/v1/triggers/{wait_id}" if by_id else f"/v1/events/{quote(key, safe='')}"
        expected = project.cancel(wait)
        status, seen = self.ask(tenant, "DELETE", path)
        assert status == expected
        if status == 200:
            assert wait is not None
            self.agrees(seen, wait)
            assert seen["error"] == "canceled by user"

    @rule(tenant=TENANTS, data=st.data(), timeout_secs=st.sampled_from([0, 600, 31_536_000]))
    def extend(self, tenant: str, data: Any, timeout_secs: int) -> None:
        wait_id = self.some_id(data, tenant)
        wait = self.projects[tenant].of_id(wait_id)
        status, seen = self.ask(
            tenant, "POST", f"/v1/triggers/{wait_id}/extend", {"timeout_secs": timeout_secs}
        )
        assert status == (404 if wait is None else 200 if wait.status == "waiting" else 409)
        if status == 200:
            assert wait is not None
            # What `timeout_secs` says after an extension is the server's word; it must stay so.
            wait.timeout_secs = seen["timeout_secs"]
            assert (timeout_secs == 0) == (seen["expires_at"] == "9999-12-31T23:59:59Z")
            self.agrees(seen, wait)

    @rule(tenant=TENANTS, prefix=st.sampled_from(PREFIXES), payload=PAYLOADS, dry_run=st.booleans())
    def send_prefix(self, tenant: str, prefix: str, payload: Any, dry_run: bool) -> None:
        found = self.projects[tenant].send_prefix(prefix, payload, dry_run=dry_run)
        path = f"/v1/events/prefix/{quote(prefix, safe='')}/send"
        status, seen = self.ask(tenant, "POST", path, with_payload(payload, dry_run=dry_run))
        assert (status, seen["resolved"]) == (200, len(found))
        if not dry_run:
            assert [each["id"] for each in seen["triggers"]] == [each.id for each in found]

    @rule(tenant=TENANTS, items=st.lists(st.tuples(KEY, PAYLOADS, st.booleans()), max_size=5))
    def send_batch(self, tenant: str, items: list[tuple[str, Any, bool]]) -> None:
        project = self.projects[tenant]
        events, expected = [], []
        for position, (key, payload, hold) in enumerate(items):
            events.append(with_payload(payload, event_key=key, **({"hold_secs": 600} if hold else {})))
            expected.append(project.send(project.of_key(key), payload, hold=hold))
            if expected[-1] == 202:
                project.held.append((f"position {position}", key, payload))
        status, seen = self.ask(tenant, "POST", "/v1/events/batch", {"events": events})
        assert status == 200
        assert [each["status"] for each in seen["results"]] == expected
        learned = {
            f"position {n}": each["held"]["id"] for n, each in enumerate(seen["results"]) if "held" in each
        }
        project.held = [(learned.get(held_id, held_id), *rest) for held_id, *rest in project.held]

    @rule(tenant=TENANTS, data=st.data())
    def discard_a_held_event(self, tenant: str, data: Any) -> None:
        project = self.projects[tenant]
        known = [each[0] for each in (*self.projects["one"].held, *self.projects["two"].held)]
        held_id = data.draw(st.sampled_from(known)) if known else "no-such-id"
        ours = [each for each in project.held if each[0] == held_id]
        status, _ = self.ask(tenant, "DELETE", f"/v1/held-events/{held_id}")
        assert status == (200 if ours else 404)
        project.held = [each for each in project.held if each[0] != held_id]

    @rule(tenant=TENANTS, status=st.sampled_from([None, "waiting", "received", "canceled"]), key=st.none() | KEY,
          prefix=st.none() | st.sampled_from(PREFIXES), limit=st.integers(1, 4))  # fmt: skip
    def list(self, tenant: str, status: str | None, key: str | None, prefix: str | None, limit: int) -> None:
        expected = [
            each.id
            for each in reversed(self.projects[tenant].waits)
            if status in (None, each.status) and key in (None, each.key) and each.key.startswith(prefix or "")
        ]
        query: dict[str, Any] = {"status": status, "event_key": key, "key_prefix": prefix, "limit": limit}
        query = {name: value for name, value in query.items() if value is not None}
        found: list[str] = []
        while True:
            code, page = self.ask(tenant, "GET", "/v1/events", **query)
            assert code == 200
            assert page["has_more"] == ("next_cursor" in page)
            assert len(page["data"]) <= limit
            found += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
        assert found == expected

    @rule(tenant=TENANTS, dry_run=st.booleans())
    def purge(self, tenant: str, dry_run: bool) -> None:
        status, seen = self.ask(
            tenant, "POST", "/v1/events/purge", {"older_than_days": 1, "dry_run": dry_run}
        )
        # Nothing here is a day old.
        assert (status, seen) == (200, {"deleted": 0, "dry_run": dry_run, "would_delete": 0})

    @invariant()
    def both_projects_agree_with_the_model(self) -> None:
        if not self.touched:
            return
        for tenant, project in self.projects.items():
            _, stats = self.ask(tenant, "GET", "/v1/events/stats")
            stats.pop("avg_wait_duration_secs")
            assert stats == project.stats()
            _, held = self.ask(tenant, "GET", "/v1/held-events", limit=100)
            assert sorted(each["id"] for each in held["data"]) == sorted(each[0] for each in project.held)
        self.touched = False

    def teardown(self) -> None:
        for tenant, project in self.projects.items():
            _, page = self.ask(tenant, "GET", "/v1/events", limit=100)
            assert len(page["data"]) == len(project.waits)
            for seen, wait in zip(page["data"], reversed(project.waits), strict=True):
                self.agrees(seen, wait)
                assert seen["project_id"] == self.names[tenant]


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("model")
    with (
        configured(request.param, folder / "data") as config,
        Live(folder, database=config.database, log_level="warning") as live,
    ):
        yield live


def test_two_projects_do_what_the_model_says(server: Live) -> None:
    with httpx2.Client(base_url=server.url, timeout=30) as http:
        Machine.server, Machine.http = server, http
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert "Traceback" not in server.log.read_text()
