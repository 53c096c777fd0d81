"""Keys, projects, `narrows dev`, origins: who may reach what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.api.auth import Credential
from narrows.config import Config
from tests.api.harness import Client, make_api_key, opened

NOT_LOCAL = ("example.com", "localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1:8080", "[::2]:80", "")
LOCAL_HOSTS = ("localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]")


async def test_dev_takes_the_project_from_wherever_it_is_named_and_makes_it(config: Config) -> None:
    async with opened(config) as client:
        wait = {"event_key": "k"}
        assert (await client("POST", "/v1/events", wait)).json["project_id"] == "default"
        assert (await client("POST", "/v1/events", wait | {"project_id": "a"})).json["project_id"] == "a"
        assert (await client("POST", "/v1/events?project_id=b", wait)).json["project_id"] == "b"
        assert (await client("POST", "/v1/events", wait, x_project_id="c")).json["project_id"] == "c"
        assert (await client("GET", "/v1/events?project_id=string")).json == {"data": [], "has_more": False}
        made = [each["id"] for each in (await client("GET", "/v1/projects")).json["data"]]
        assert made == ["a", "b", "c", "default"]
        two = await client("POST", "/v1/events?project_id=b", wait | {"project_id": "a"})
        assert two.status == 400


async def test_dev_refuses_foreign_hosts_and_origins(config: Config) -> None:
    async with opened(config, cors_origins=("https://app.example.com",)) as client:
        for host in NOT_LOCAL:
            assert (await client("GET", "/livez", host=host)).status == 421, host
        for host in LOCAL_HOSTS:
            assert (await client("GET", "/livez", host=host)).status == 200, host
            assert (await client("GET", "/livez", origin=f"http://{host}")).status == 200, host
        for origin in ("https://example.com", "null", "http://localhost.evil.com", "file://", "localhost"):
            assert (await client("GET", "/v1/events", origin=origin)).status == 403, origin
        assert (await client("GET", "/v1/events", origin="https://app.example.com")).status == 200


async def test_a_key_given_in_dev_is_honoured(config: Config) -> None:
    async with opened(config) as client:
        key = await make_api_key(client, "one", "events:read")
        assert (await client("POST", "/v1/events", {"event_key": "k"}, key=key)).status == 403
        assert (await client("GET", "/v1/events?project_id=default", key=key)).status == 404


async def test_an_admin_names_a_project_that_exists(config: Config) -> None:
    async with opened(config, dev=False) as client:
        admin = await make_api_key(client, None, "*")
        await make_api_key(client, "one", number=2)
        assert (await client("GET", "/v1/events", key=admin)).status == 400
        assert (await client("GET", "/v1/events?project_id=one", key=admin)).status == 200
        assert (await client("GET", "/v1/events", key=admin, x_project_id="one")).status == 200
        assert (await client("GET", "/v1/events?project_id=none", key=admin)).status == 404
        made = await client("POST", "/v1/events", {"event_key": "k", "project_id": "none"}, key=admin)
        assert made.status == 404


async def test_the_host_socket_is_an_admin(config: Config) -> None:
    async with opened(config, dev=False) as remote:
        host = Client(remote.api, as_host=True)
        assert (await remote("POST", "/v1/projects", {"id": "one"})).status == 401
        assert (await host("POST", "/v1/projects", {"id": "one"}, host="anything")).status == 201
        made = await host("POST", "/v1/api-keys", {"scopes": ["*"], "project_id": "one"})
        assert (await remote("GET", "/v1/events", key=made.json["key"])).status == 200


async def test_a_key_gives_only_scopes_that_it_has(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "keys:manage", "events:read")
        stronger = await make_api_key(client, "one", "*", number=2)
        other = await make_api_key(client, "two", "*", number=3)
        ask = {"scopes": ["events:read"]}
        made = await client("POST", "/v1/api-keys", ask, key=key)
        assert (made.status, made.json["project_id"]) == (201, "one")
        for scopes in (["events:send"], ["*"], ["events:read", "events:write"]):
            assert (await client("POST", "/v1/api-keys", {"scopes": scopes}, key=key)).status == 403
        assert (await client("POST", "/v1/api-keys", {"scopes": ["everything"]}, key=key)).status == 400
        assert (await client("POST", f"/v1/api-keys/{stronger[4:20]}/rotate", key=key)).status == 403
        assert (await client("POST", f"/v1/api-keys/{other[4:20]}/rotate", key=key)).status == 404
        assert (await client("DELETE", f"/v1/api-keys/{other[4:20]}", key=key)).status == 404
        seen = (await client("GET", "/v1/api-keys", key=key)).json["data"]
        assert all(each["project_id"] == "one" and "key" not in each for each in seen)


async def test_a_revoked_key_is_out_at_once_and_a_rotated_one_after_its_overlap(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        other = await make_api_key(client, "one", "*", number=2)
        new = await client("POST", f"/v1/api-keys/{other[4:20]}/rotate", {"overlap_secs": 60}, key=key)
        assert new.json["scopes"] == ["*"]
        assert (await client("GET", "/v1/events", key=other)).status == 200
        assert (await client("GET", "/v1/events", key=new.json["key"])).status == 200
        assert (await client("DELETE", f"/v1/api-keys/{other[4:20]}", key=key)).status == 200
        assert (await client("GET", "/v1/events", key=other)).status == 401
        at_once = await client("POST", f"/v1/api-keys/{key[4:20]}/rotate", key=key)
        assert at_once.status == 201
        assert (await client("GET", "/v1/events", key=key)).status == 401


async def test_a_key_in_a_url_is_401_even_beside_a_good_header(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        for query in (f"api_key={key}", f"token={key}", f"x=%6erw{key[3:]}"):
            assert (await client("GET", f"/v1/events?{query}", key=key)).status == 401
            assert (await client("GET", f"/livez?{query}")).status == 401


async def test_near_keys_are_only_for_those_who_may_read(config: Config) -> None:
    async with opened(config, dev=False) as client:
        sender = await make_api_key(client, "one", "events:send")
        both = await make_api_key(client, "one", "events:send", "events:read", "events:write", number=2)
        await client("POST", "/v1/events", {"event_key": "order:1"}, key=both)
        assert "details" in (await client("POST", "/v1/events/Order:1/send", key=both)).json
        assert "details" not in (await client("POST", "/v1/events/Order:1/send", key=sender)).json


async def test_cors_answers_listed_origins_only(config: Config) -> None:
    async with opened(config, dev=False, cors_origins=("https://app.example.com",)) as client:
        asked: dict[str, Any] = {"origin": "https://app.example.com", "access_control_request_method": "POST"}
        allowed = await client("OPTIONS", "/v1/events", **asked)
        assert (allowed.status, allowed.body) == (200, b"{}")
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        refused = await client(
            "OPTIONS", "/v1/events", **(asked | {"origin": "https://app.example.com.evil"})
        )
        assert refused.status == 405
        assert "access-control-allow-origin" not in refused.headers
        plain = await client("GET", "/livez", origin="https://app.example.com")
        assert plain.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_a_long_poll_does_not_outlive_its_key(config: Config) -> None:
    async with opened(config) as client:
        wait = (await client("POST", "/v1/events", {"event_key": "k"})).json
        made = (await client("POST", "/v1/api-keys", {"scopes": ["events:read"]})).json
        poll = asyncio.create_task(client("GET", f"/v1/triggers/{wait['id']}/wait", key=made["key"]))
        while not client.api.service.feed.watch_count:
            await asyncio.sleep(0)
        await client("DELETE", f"/v1/api-keys/{made['id']}")
        await client("POST", "/v1/events/k/send", {"payload": "secret"})
        answer = await poll
        assert answer.status == 401
        assert b"secret" not in answer.body


async def test_a_stream_does_not_begin_after_its_key_was_revoked(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(config) as client:
        wait = (await client("POST", "/v1/events", {"event_key": "k"})).json
        made = (await client("POST", "/v1/api-keys", {"scopes": ["events:read"]})).json
        authenticator = client.api.authenticator
        checked = authenticator.recheck

        async def revoked_before(credential: Credential) -> None:
            await client("DELETE", f"/v1/api-keys/{made['id']}")
            await checked(credential)

        monkeypatch.setattr(authenticator, "recheck", revoked_before)
        answer = await client("GET", f"/v1/triggers/{wait['id']}/stream", key=made["key"])
        assert answer.status == 401


async def test_a_key_stays_known_while_a_stream_asks_for_it_anew_among_several_nodes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "p", "*")
        authenticator, service = client.api.authenticator, client.api.service
        reading, go_on = asyncio.Event(), asyncio.Event()
        read = service.read

        async def slow(asked: Any) -> Any:
            found = await read(asked)
            reading.set()
            await go_on.wait()
            return found

        assert (await client("GET", "/v1/events/stats", key=key)).status == 200
        (credential,) = authenticator._cache.values()
        credential.read_at -= 60  # it has to be read again
        monkeypatch.setattr(service, "read", slow)
        asking = asyncio.create_task(authenticator._cached(credential.api_key_id or ""))
        await reading.wait()
        authenticator._cache.pop(
            credential.api_key_id or ""
        )  # as `recheck` does where others may have revoked it
        go_on.set()
        assert await asking is not None
        await authenticator.recheck(credential)
