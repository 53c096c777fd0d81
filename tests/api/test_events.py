"""The endpoints one by one: what the page says and what the contract adds."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from narrows.config import Config
from tests.api.harness import make_api_key, opened

AWKWARD_KEYS = [
    "stats",
    "purge",
    "prefix",
    "batch",
    "x/stream",
    "a/send",
    "healthz",
    "..",
    "a/",
    "/",
    "prefix/order",
    "100%",
    "ü" * 256,
    "a?b#c&d=e+f g",
    "%2F",
]


def encoded(key: str) -> str:
    return "".join(f"%{byte:02X}" for byte in key.encode())


@pytest.mark.parametrize("key", AWKWARD_KEYS)
async def test_an_awkward_key_works_everywhere(config: Config, key: str) -> None:
    async with opened(config) as client:
        opened_wait = await client("POST", "/v1/events", {"event_key": key})
        assert (opened_wait.status, opened_wait.json["event_key"]) == (201, key)
        path = f"/v1/events/{encoded(key)}"
        assert (await client("GET", path)).json["id"] == opened_wait.json["id"]
        listed = await client("GET", f"/v1/events?event_key={encoded(key)}")
        assert [each["event_key"] for each in listed.json["data"]] == [key]
        sent = await client("POST", f"{path}/send", {"payload": {"n": 1}})
        assert (sent.status, sent.json["status"]) == (200, "received")
        assert (await client("DELETE", path)).status == 409


async def test_a_body_in_parts_is_read_whole_and_within_its_limit(config: Config) -> None:
    async with opened(config, body_limit_bytes=100) as client:
        made = await client("POST", "/v1/events", parts=(b'{"event', b'_key":', b'"k"}'))
        assert (made.status, made.json["event_key"]) == (201, "k")
        assert (await client("POST", "/v1/events", parts=(b" " * 60, b" " * 60))).status == 413


async def test_the_payload_comes_back_as_it_was_sent(config: Config) -> None:
    text = b'{"b":1.00,"a":[1e5,-0,12345678901234567890123],"s":"\\u00e9"}'
    async with opened(config) as client:
        await client("POST", "/v1/events", {"event_key": "k"})
        sent = await client(
            "POST", "/v1/events/k/send", raw=b' { "payload" : ' + text.replace(b",", b" , ") + b"}"
        )
        assert text in sent.body
        assert text in (await client("GET", "/v1/events/k")).body


async def test_null_is_a_payload_and_absent_is_none(config: Config) -> None:
    async with opened(config) as client:
        for key, body in (("null", {"payload": None}), ("absent", None)):
            await client("POST", "/v1/events", {"event_key": key})
            await client("POST", f"/v1/events/{key}/send", body)
        assert (await client("GET", "/v1/events/null")).json["response_payload"] is None
        assert b"response_payload" not in (await client("GET", "/v1/events/absent")).body
        assert (await client("POST", "/v1/events/absent/send", {"payload": None})).status == 409


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=-1", 400),
        ("limit=x", 400),
        ("limit=1.5", 400),
        ("limit=", 400),
        ("limit=1", 200),
        ("limit=100000", 200),
        ("status=open", 400),
        ("status=waiting", 200),
        ("source_type=client", 400),
        ("source_type=job_run", 200),
        ("cursor=nonsense", 400),
        ("cursor=2026-11-23T20:40:44Z", 200),
        ("event_key=%zz", 400),
        ("event_key=%00", 400),
        ("tag=a:b", 200),
        ("unknown=1&&=", 200),
    ],
)
async def test_the_query_of_the_list(config: Config, query: str, status: int) -> None:
    async with opened(config) as client:
        assert (await client("GET", f"/v1/events?{query}")).status == status


@pytest.mark.parametrize(
    "name",
    ["status", "source_type", "workflow_run_id", "job_run_id", "event_key", "key_prefix", "tag"],
)
async def test_an_empty_filter_is_refused_by_its_name(config: Config, name: str) -> None:
    async with opened(config) as client:
        answer = await client("GET", f"/v1/events?{name}=")
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert f"filter {name} is empty" in answer.json["error"]


@pytest.mark.parametrize("path", ["/v1/held-events", "/v1/unmatched-events"])
async def test_an_empty_key_does_not_list_all_events(config: Config, path: str) -> None:
    async with opened(config) as client:
        answer = await client("GET", f"{path}?event_key=")
        assert answer.status == 400
        assert "event_key" in answer.json["error"]


async def test_pages_follow_each_other_without_gap_or_double(config: Config) -> None:
    async with opened(config) as client:
        keys = [f"k{number}" for number in range(7)]
        for key in keys:
            await client("POST", "/v1/events", {"event_key": key})
        seen: list[str] = []
        target = "/v1/events?limit=3"
        while True:
            page = (await client("GET", target)).json
            seen += [each["event_key"] for each in page["data"]]
            if not page["has_more"]:
                assert "next_cursor" not in page
                break
            target = f"/v1/events?limit=3&cursor={page['next_cursor']}"
        assert seen == keys[::-1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event_key": ""},
        {"event_key": "x" * 513},
        {"event_key": "a\nb"},
        {"event_key": "k", "timeout_secs": -1},
        {"event_key": "k", "timeout_secs": 31_536_001},
        {"event_key": "k", "timeout_secs": 1.5},
        {"event_key": "k", "timeout_secs": "60"},
        {"event_key": "k", "timeout_secs": None},
        {"event_key": "k", "if_waiting": "steal"},
        {"event_key": "k", "tags": {"a": 1}},
        {"event_key": "k", "tags": {"": "x"}},
        {"event_key": "k", "name": "x" * 201},
        {"event_key": "k", "expected_schema": {"type": "nonsense"}},
        {"event_key": "k", "expected_schema": 5},
        {"event_key": "k", "expected_schema": {"$ref": "https://example.com/x"}},
        {"event_key": "k", "expected_schema": {"description": "x" * 65_536}},
    ],
)
async def test_a_wait_that_cannot_be_opened_is_400(config: Config, body: Any) -> None:
    async with opened(config) as client:
        assert (await client("POST", "/v1/events", body)).status == 400
        assert (await client("GET", "/v1/events/stats")).json["total_count"] == 0


async def test_a_callback_url_takes_any_json_and_looking_changes_nothing(config: Config) -> None:
    async with opened(config, public_url="https://waits.example.com/") as client:
        made = (await client("POST", "/v1/events", {"event_key": "k", "callback_url": True})).json
        base, _, token = made["callback_url"].rpartition("/h/")
        assert base == "https://waits.example.com"
        for method in ("GET", "HEAD"):
            assert (await client(method, f"/h/{token}")).status == 200
        assert (await client("GET", "/v1/events/k")).json["status"] == "waiting"
        sent = await client("POST", f"/h/{token}", [1, 2], authorization="Bearer of-the-provider")
        assert (sent.status, sent.json["status"]) == (200, "received")
        assert "response_payload" not in sent.json
        assert (await client("GET", "/v1/events/k")).json["response_payload"] == [1, 2]
        assert (await client("POST", f"/h/{token}", [1, 2])).status == 200
        assert (await client("POST", f"/h/{token}", [2, 1])).status == 409
        assert (await client("POST", f"/h/{'x' * 43}", 1)).status == 404


async def test_callback_urls_never_follow_the_host_header(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        wait = {"event_key": "k", "callback_url": True}
        made = await client("POST", "/v1/events", wait, key=key, host="evil.example.com")
        assert made.json["callback_url"].startswith("http://127.0.0.1:8080/h/")


async def test_a_batch_has_a_result_for_each_item_in_order(config: Config) -> None:
    async with opened(config) as client:
        await client("POST", "/v1/events", {"event_key": "k"})
        items = [
            {"event_key": "k", "payload": 1},
            {"event_key": "a\u0001"},
            {"event_key": "k", "payload": 1},
            {"event_key": "k", "payload": 2},
            {"event_key": "early", "hold_secs": 5},
            {"event_key": "none"},
        ]
        results = (await client("POST", "/v1/events/batch", {"events": items})).json["results"]
        assert [each["status"] for each in results] == [200, 400, 200, 409, 202, 404]
        assert results[4]["held"]["held"] is True
        too_many = {"events": [{"event_key": "k"}] * 1001}
        assert (await client("POST", "/v1/events/batch", too_many)).status == 400
        members = {"events": [{"event_key": "k", "payload": [0] * 9_990}] * 21}
        assert (await client("POST", "/v1/events/batch", members)).status == 400


@pytest.mark.parametrize(
    "body", [{}, {"older_than_days": 0}, {"older_than_days": 36_501}, {"older_than_days": "1"}]
)
async def test_a_purge_that_is_out_of_bounds_is_400(config: Config, body: Any) -> None:
    async with opened(config) as client:
        assert (await client("POST", "/v1/events/purge", body)).status == 400


async def test_a_sane_request_id_is_kept_and_another_replaced(config: Config) -> None:
    async with opened(config) as client:
        assert (await client("GET", "/livez", x_request_id="abc-1")).headers["x-request-id"] == "abc-1"
        for bad in ("", "a b", "x" * 129, "a\r\nset-cookie: x"):
            assert (await client("GET", "/livez", x_request_id=bad)).headers["x-request-id"] != bad


async def test_the_log_has_a_line_a_request_and_no_secret(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "one", "*")
        wait = {"event_key": "k", "callback_url": True, "request_payload": "canary-request"}
        made = (await client("POST", "/v1/events", wait, key=key)).json
        token = made["callback_url"].rpartition("/")[2]
        stream = (await client("POST", "/v1/stream-tokens", {"event_key": "k"}, key=key)).json["token"]
        await client("POST", f"/h/{token}", "canary-payload")
        await client("GET", f"/h/{token}/mistyped")
        await client("GET", f"/v1/events/k/stream?token={stream}")
        await client("GET", f"/livez?key={key}")
        await client("GET", "/v1/events", key=key[:-1])
    lines = [record.getMessage() for record in caplog.records if record.name == "narrows.access"]
    assert len(lines) == 7
    assert lines[0].startswith("method=POST route=/v1/events path=/v1/events status=201 duration_ms=")
    for secret in (key[21:64], token, stream, "canary"):
        assert secret not in caplog.text
