"""`notify_url`, deliveries and the signing secrets of projects over HTTP. What is sent, and when, stands in
`tests/engine/test_deliver.py`; the whole way in `tests/outgoing/test_notify_live.py`."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from narrows.config import Config
from narrows.core.deliveries import Outcome
from narrows.keyring import Keyring, signing_secrets
from narrows.operations.access import CreateProject
from narrows.operations.base import HOST
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries
from narrows.operations.reads import GetProject
from tests.api.harness import Client, make_api_key, opened
from tests.api.run_kit import stored_in

URL = "https://hooks.example.com/narrows"


async def end_all(client: Client, outcome: Outcome) -> None:
    """One attempt of whatever is due, ended so."""
    service = client.api.service
    listed = (await client("GET", "/v1/deliveries")).json["data"]
    ids = tuple((each["project_id"], each["id"]) for each in listed)
    claimed = await service.perform(ClaimDeliveries(ids=ids, lease_us=60_000_000, entropy=1))
    ended = tuple((each, outcome) for each in claimed)
    await service.perform(FinishDeliveries(ended=ended, entropy=1))


async def secrets_of(client: Client, project_id: str) -> list[str]:
    service = client.api.service
    project = await service.read(GetProject(project_id=project_id))
    return signing_secrets(client.api.settings.keyring, project.signing_secrets, service.clock.now())


async def test_a_wait_shows_its_address_and_how_it_stands(config: Config) -> None:
    async with opened(config) as client:
        made = await client("POST", "/v1/events", {"event_key": "k", "notify_url": URL})
        assert (made.status, made.json["notify_url"], made.json["notify_status"]) == (201, URL, "pending")
        await end_all(client, Outcome(200))
        shown = (await client("GET", "/v1/events/k")).json
        assert (shown["notify_status"], shown["notify_url"]) == ("delivered", URL)
        plain = (await client("POST", "/v1/events", {"event_key": "plain"})).json
        assert "notify_url" not in plain
        assert "notify_status" not in plain


@pytest.mark.parametrize(
    "url",
    [
        "", "nothing", "ftp://example.com/", "javascript:alert(1)", "https://user:pass@example.com/",
        "http://127.0.0.1/", "http://localhost:8080/", "http://169.254.169.254/latest", "http://[::1]/",
        "http://10.0.0.8/", "http://0x7f000001/", "https://example.com/\n", "https://" + "a" * 3_000 + ".example.com",
    ],
)  # fmt: skip
async def test_an_address_that_is_never_called_is_400(config: Config, url: str) -> None:
    async with opened(config) as client:
        answer = await client("POST", "/v1/events", {"event_key": "k", "notify_url": url})
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert (await client("GET", "/v1/events/stats")).json["total_count"] == 0


async def test_deliveries_are_listed_and_filtered(config: Config) -> None:
    async with opened(config) as client:
        first = (await client("POST", "/v1/events", {"event_key": "a", "notify_url": URL})).json
        await end_all(client, Outcome(410, "The target answered 410 Gone."))
        await client("POST", "/v1/events", {"event_key": "b", "notify_url": URL})
        newer, failed = (await client("GET", "/v1/deliveries")).json["data"]
        assert newer["status"] == "pending"
        assert newer["attempts"] == 0
        assert "next_attempt_at" in newer
        assert "last_status" not in newer
        assert failed["trigger_id"] == first["id"]
        assert failed["type"] == "trigger.opened"
        assert failed["url"] == URL
        assert (failed["status"], failed["attempts"], failed["last_status"]) == ("failed", 1, 410)
        assert failed["error"] == "The target answered 410 Gone."
        assert "finished_at" in failed
        assert "next_attempt_at" not in failed
        for query, found in (("status=failed", [failed]), (f"trigger_id={newer['trigger_id']}", [newer])):
            assert (await client("GET", f"/v1/deliveries?{query}")).json["data"] == found
        page = (await client("GET", "/v1/deliveries?limit=1")).json
        assert (page["data"], page["has_more"]) == ([newer], True)
        rest = (await client("GET", f"/v1/deliveries?limit=1&cursor={page['next_cursor']}")).json
        assert (rest["data"], rest["has_more"]) == ([failed], False)
        for query in ("status=waiting", "status=", "trigger_id=", "limit=0", "cursor=x"):
            assert (await client("GET", f"/v1/deliveries?{query}")).status == 400


async def test_a_retry_is_due_at_once_under_the_same_id(config: Config) -> None:
    async with opened(config) as client:
        await client("POST", "/v1/events", {"event_key": "k", "notify_url": URL})
        await end_all(client, Outcome(410))
        (failed,) = (await client("GET", "/v1/deliveries")).json["data"]
        path = f"/v1/deliveries/{failed['id']}/retry"
        again = await client("POST", path, idempotency_key="one")
        assert again.status == 200
        assert (again.json["id"], again.json["status"], again.json["attempts"]) == (
            failed["id"],
            "pending",
            1,
        )
        assert "finished_at" not in again.json
        assert (await client("GET", "/v1/events/k")).json["notify_status"] == "pending"
        await end_all(client, Outcome(200))
        repeat = await client("POST", path, idempotency_key="one")
        assert (repeat.status, repeat.json) == (200, again.json)
        assert (await client("POST", path, {})).status == 409


async def test_deliveries_of_another_project_are_404(config: Config) -> None:
    async with opened(config, dev=False) as client:
        host = Client(client.api, as_host=True)
        for project in ("one", "two"):
            assert (await host("POST", "/v1/projects", {"id": project})).status == 201
        ours = await make_api_key(client, "one", "*")
        theirs = await make_api_key(client, "two", "*", number=2)
        await client("POST", "/v1/events", {"event_key": "k", "notify_url": URL}, key=ours)
        (delivery,) = (await client("GET", "/v1/deliveries", key=ours)).json["data"]
        assert (await client("GET", "/v1/deliveries", key=theirs)).json["data"] == []
        for path in (f"/v1/deliveries/{delivery['id']}/retry", "/v1/deliveries/unknown/retry"):
            refused = await client("POST", path, key=theirs)
            assert (refused.status, refused.json["code"]) == (404, "not_found")
        assert (await client("POST", "/v1/projects/one/rotate-secret", key=theirs)).status == 404
        seen = (await client("GET", f"/v1/deliveries?trigger_id={delivery['trigger_id']}", key=theirs)).json
        assert seen["data"] == []


async def test_a_project_gets_its_secret_once_and_keeps_it_encrypted(config: Config) -> None:
    async with opened(config, dev=False) as client:
        host = Client(client.api, as_host=True)
        made = await host("POST", "/v1/projects", {"id": "p"}, idempotency_key="once")
        secret = made.json["signing_secret"]
        assert secret.startswith("whsec_")
        assert await secrets_of(client, "p") == [secret]
        repeat = await host("POST", "/v1/projects", {"id": "p"}, idempotency_key="once")
        assert repeat.status == 409
        assert "made p" in repeat.json["error"]
        (listed,) = (await host("GET", "/v1/projects")).json["data"]
        assert "signing_secret" not in listed
        stored = stored_in(config)
        assert b"whsec_" not in stored
        assert secret.removeprefix("whsec_").encode() not in stored


async def test_rotation_gives_a_new_secret_and_lets_the_old_one_sign_on(config: Config) -> None:
    async with opened(config, dev=False) as client:
        host = Client(client.api, as_host=True)
        old = (await host("POST", "/v1/projects", {"id": "p"})).json["signing_secret"]
        key = await make_api_key(client, "p", "keys:manage")
        rotated = await client("POST", "/v1/projects/p/rotate-secret", {"overlap_secs": 60}, key=key)
        assert rotated.status == 200
        assert "old_until" in rotated.json
        new = rotated.json["signing_secret"]
        assert await secrets_of(client, "p") == [new, old]
        leaked = await host("POST", "/v1/projects/p/rotate-secret", {"overlap_secs": 0})
        assert "old_until" not in leaked.json
        assert await secrets_of(client, "p") == [leaked.json["signing_secret"]]
        assert (await host("POST", "/v1/projects/absent/rotate-secret", {})).status == 404
        other = {"overlap_secs": 0, "project_id": "q"}
        assert (await host("POST", "/v1/projects/p/rotate-secret", other)).status == 400
        negative = {"overlap_secs": -1}
        assert (await host("POST", "/v1/projects/p/rotate-secret", negative)).status == 400
        less = await make_api_key(client, "p", "events:write", number=3)
        assert (await client("POST", "/v1/projects/p/rotate-secret", {}, key=less)).status == 403
        no_keys = await client("POST", "/v1/projects/p/rotate-secret", {}, key=key, idempotency_key="r")
        assert no_keys.status == 200
        repeat = await client("POST", "/v1/projects/p/rotate-secret", {}, key=key, idempotency_key="r")
        assert repeat.status == 409


async def test_a_project_without_a_secret_is_told_to_make_one(config: Config) -> None:
    async with opened(config, dev=False) as client:
        await client.api.service.perform(CreateProject(actor=HOST, id="old", entropy=1))
        key = await make_api_key(client, "old", "*")
        wait = {"event_key": "k", "notify_url": URL}
        refused = await client("POST", "/v1/events", wait, key=key)
        assert refused.status == 409
        assert "/v1/projects/old/rotate-secret" in refused.json["error"]
        assert (await client("POST", "/v1/projects/old/rotate-secret", {}, key=key)).status == 200
        assert (await client("POST", "/v1/events", wait, key=key)).status == 201


async def test_the_project_of_dev_has_a_secret_also_one_of_an_older_version(config: Config) -> None:
    keyring = Keyring.of(b"k" * 32)
    async with opened(config, keyring=keyring) as client:
        await client.api.service.perform(CreateProject(actor=HOST, id="default", entropy=1))
        assert (await client("POST", "/v1/events", {"event_key": "k", "notify_url": URL})).status == 201
        first = await secrets_of(client, "default")
        assert len(first) == 1
    async with opened(config, keyring=keyring) as client:
        assert (await client("POST", "/v1/events", {"event_key": "k2", "notify_url": URL})).status == 201
        assert await secrets_of(client, "default") == first, "a new start changes nothing"


async def test_no_secret_is_logged(config: Config, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(config, dev=False) as client:
        host = Client(client.api, as_host=True)
        made = (await host("POST", "/v1/projects", {"id": "p"})).json["signing_secret"]
        rotated = (await host("POST", "/v1/projects/p/rotate-secret", {})).json["signing_secret"]
        await host("GET", f"/v1/deliveries?project_id=p&trigger_id={made}")
    for secret in (made, rotated):
        assert secret.removeprefix("whsec_") not in caplog.text
