"""Jobs over HTTP: made, changed, deleted, their secrets, and the runs that they start."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from narrows.config import Config
from narrows.keyring import signing_secrets
from narrows.operations.reads import GetJob
from tests.api.harness import Client, make_api_key, opened
from tests.api.run_kit import claim, dispatched, make_job, start, stored_in

URL = "https://shop.example.com/narrows"


async def test_a_job_is_made_listed_and_found_by_slug_and_id(config: Config) -> None:
    async with opened(config) as client:
        made = await make_job(
            client, "ship-order", name="Ship", description="a\nb", tags={"team": "x"}, max_concurrency=2
        )
        assert made["signing_secret"].startswith("whsec_")
        assert {key: made[key] for key in ("slug", "timeout_secs", "max_attempts", "max_concurrency")} == {
            "slug": "ship-order", "timeout_secs": 300, "max_attempts": 3, "max_concurrency": 2,
        }  # fmt: skip
        shown = {key: value for key, value in made.items() if key != "signing_secret"}
        for named in ("ship-order", made["id"]):
            assert (await client("GET", f"/v1/jobs/{named}")).json == shown
        await make_job(client, "second")
        listed = (await client("GET", "/v1/jobs?limit=1")).json
        assert [job["slug"] for job in listed["data"]] == ["second"]
        rest = (await client("GET", f"/v1/jobs?limit=1&cursor={listed['next_cursor']}")).json
        assert (rest["data"], rest["has_more"]) == ([shown], False)


async def test_a_slug_is_taken_once_and_free_again_after_a_deletion(config: Config) -> None:
    async with opened(config) as client:
        first = await make_job(client)
        assert (await client("POST", "/v1/jobs", {"slug": "job"})).status == 409
        assert (await client("DELETE", "/v1/jobs/job")).json["id"] == first["id"]
        assert (await make_job(client))["id"] != first["id"]
        assert (await client("GET", f"/v1/jobs/{first['id']}")).status == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", "Ümlaut"), ("slug", ""), ("slug", "-x"), ("slug", "a" * 101), ("slug", 1),
        ("slug", "01a20a59-2952-7700-8000-1d650d1b38fa"),
        ("name", "n" * 201), ("name", "a\x07"), ("name", 5), ("description", "d" * 2_001),
        ("endpoint_url", "ftp://x.example/"), ("endpoint_url", "nothing"), ("endpoint_url", 7),
        ("endpoint_url", "http://127.0.0.1/"), ("endpoint_url", "http://169.254.169.254/"),
        ("endpoint_url", "https://user:pass@example.com/"), ("endpoint_url", "https://[::1]/"),
        ("timeout_secs", 0), ("timeout_secs", 86_401), ("timeout_secs", "5"), ("timeout_secs", 1.5),
        ("timeout_secs", True), ("max_attempts", 0), ("max_attempts", 101), ("max_concurrency", 0),
        ("max_concurrency", 100_001), ("tags", {"a": 1}), ("tags", []), ("tags", {"": "x"}), ("tags", "x"),
    ],
)  # fmt: skip
async def test_a_field_that_cannot_be_is_refused_in_making_and_in_changing(
    config: Config, field: str, value: Any
) -> None:
    async with opened(config) as client:
        made = await client("POST", "/v1/jobs", {"slug": "new", field: value})
        await make_job(client)
        changed = await client("PATCH", "/v1/jobs/job", {field: value})
        for answer in (made, changed):
            assert (answer.status, answer.json["code"]) == (400, "invalid_request"), answer.body
            assert field.removesuffix("s") in answer.json["error"].lower() or field == "endpoint_url"
        assert len((await client("GET", "/v1/jobs")).json["data"]) == 1


async def test_a_change_leaves_out_what_stays_and_null_takes_away(config: Config) -> None:
    async with opened(config) as client:
        before = await make_job(
            client, name="n", description="d", endpoint_url=URL, max_concurrency=5, tags={"a": "b"}
        )
        del before["signing_secret"]
        same = await client("PATCH", "/v1/jobs/job", {})
        assert (same.status, same.json) == (200, before)
        changed = (await client("PATCH", "/v1/jobs/job", {"timeout_secs": 9, "tags": {"c": "d"}})).json
        expected = before | {"timeout_secs": 9, "tags": {"c": "d"}, "updated_at": changed["updated_at"]}
        assert changed == expected
        assert changed["updated_at"] > before["updated_at"]
        optional = ("name", "description", "endpoint_url", "max_concurrency", "tags")
        bare = (await client("PATCH", f"/v1/jobs/{before['id']}", dict.fromkeys(optional))).json
        assert not set(optional) & set(bare)
        for field in ("slug", "timeout_secs", "max_attempts"):
            assert (await client("PATCH", "/v1/jobs/job", {field: None})).status == 400
        await make_job(client, "taken")
        assert (await client("PATCH", "/v1/jobs/job", {"slug": "taken"})).status == 409
        assert (await client("PATCH", "/v1/jobs/job", {"slug": "other"})).json["slug"] == "other"
        assert (await client("PATCH", "/v1/jobs/job", {})).status == 404


async def test_runs_keep_the_limits_that_they_were_made_with(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client, timeout_secs=10, max_attempts=2)
        run = await start(client)
        await client("PATCH", "/v1/jobs/job", {"timeout_secs": 99, "max_attempts": 9})
        kept = (await client("GET", f"/v1/runs/{run['id']}")).json
        assert (kept["timeout_secs"], kept["max_attempts"]) == (10, 2)
        assert (await start(client))["timeout_secs"] == 99


async def test_a_job_with_live_runs_is_deleted_only_together_with_them(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        run = await start(client)
        refused = await client("DELETE", "/v1/jobs/job")
        assert (refused.status, "1 live run" in refused.json["error"]) == (409, True)
        assert (await client("DELETE", "/v1/jobs/job?cancel_runs=false")).status == 409
        assert (await client("DELETE", "/v1/jobs/job?cancel_runs=yes")).status == 400
        assert (await client("DELETE", "/v1/jobs/job?cancel_runs=true")).status == 200
        assert (await client("POST", "/v1/jobs/job/trigger")).status == 404
        # Canceling them is a message that a role consumes; the run is there still to be looked at.
        assert (await client("GET", f"/v1/runs/{run['id']}")).status == 200


async def test_a_job_whose_runs_have_ended_is_deleted(config: Config) -> None:
    async with opened(config) as client:
        run = await dispatched(client)
        await run("complete", {})
        assert (await client("DELETE", "/v1/jobs/job")).status == 200
        assert await run.status() == "completed"


# ---- secrets -------------------------------------------------------------------------------------


async def _secrets(client: Client) -> list[str]:
    service = client.api.service
    job = await service.read(GetJob("default", "job"))
    return signing_secrets(client.api.settings.keyring, job.signing_secrets, service.clock.now())


async def test_a_secret_is_given_once_and_kept_encrypted(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(config) as client:
        secret = (await make_job(client))["signing_secret"]
        assert await _secrets(client) == [secret]
        for answer in (await client("GET", "/v1/jobs/job"), await client("GET", "/v1/jobs")):
            assert b"whsec_" not in answer.body
        await client("GET", f"/v1/jobs/{secret}")
        assert secret.removeprefix("whsec_").encode() not in stored_in(config)
        assert secret.removeprefix("whsec_") not in caplog.text


@pytest.mark.parametrize("before", ["/", "/h/", "/v1/jobs/", "/v1/runs/", "/v1/events/", "/v1/triggers/"])
async def test_a_signing_secret_in_a_path_is_not_logged_slashes_and_all(
    config: Config, caplog: pytest.LogCaptureFixture, before: str
) -> None:
    caplog.set_level(logging.DEBUG)
    pieces = ["abcdefghijk", "ABCDEFGHIJK", "0123456789+b", "zyxwvutsrq="]
    async with opened(config) as client:
        for secret in ("whsec_" + "/".join(pieces), "whsec%5F" + "%2F".join(pieces)):
            await client("GET", f"{before}{secret}")
            await client("POST", f"{before}{secret}/send", {})
    assert not [piece for piece in pieces if piece in caplog.text]


async def test_rotation_gives_a_new_secret_and_the_old_one_overlaps(config: Config) -> None:
    async with opened(config) as client:
        first = (await make_job(client))["signing_secret"]
        rotated = (await client("POST", "/v1/jobs/job/rotate-secret", {"overlap_secs": 60})).json
        assert await _secrets(client) == [rotated["signing_secret"], first]
        left = datetime.fromisoformat(rotated["old_until"]) - datetime.now(UTC)
        assert timedelta(seconds=30) < left < timedelta(seconds=61)
        leaked = (await client("POST", "/v1/jobs/job/rotate-secret", {"overlap_secs": 0})).json
        assert await _secrets(client) == [leaked["signing_secret"]]
        assert "old_until" not in leaked
        for bad in (-1, 2_592_001, "1"):
            answer = await client("POST", "/v1/jobs/job/rotate-secret", {"overlap_secs": bad})
            assert answer.status == 400
        assert (await client("POST", "/v1/jobs/none/rotate-secret")).status == 404


async def test_a_repeat_of_a_reply_with_a_secret_is_409_and_names_the_job(config: Config) -> None:
    async with opened(config) as client:
        made = await client("POST", "/v1/jobs", {"slug": "job"}, idempotency_key="a")
        rotated = await client("POST", "/v1/jobs/job/rotate-secret", {}, idempotency_key="a")
        assert (made.status, rotated.status) == (201, 200)
        for path, body in (("/v1/jobs", {"slug": "job"}), ("/v1/jobs/job/rotate-secret", {})):
            again = await client("POST", path, body, idempotency_key="a")
            assert (again.status, made.json["id"] in again.json["error"]) == (409, True)
        assert len(await _secrets(client)) == 2


# ---- starting runs -------------------------------------------------------------------------------


async def test_a_run_is_started_by_slug_or_id_with_its_payload_to_the_letter(config: Config) -> None:
    async with opened(config) as client:
        job = await make_job(client)
        raw = b'{"payload": {"n": 1.50e2, "z": 1, "a": 12345678901234567890123}, "priority": 7, "tags": {"k": "v"}}'
        answer = await client("POST", f"/v1/jobs/{job['id']}/trigger", raw=raw)
        assert answer.status == 201
        assert b'"payload":{"n":1.50e2,"z":1,"a":12345678901234567890123}' in answer.body
        run = answer.json
        assert (run["status"], run["priority"], run["tags"], run["job_id"]) == (
            "queued",
            7,
            {"k": "v"},
            job["id"],
        )
        assert "due_at" not in run
        shown = await client("GET", f"/v1/runs/{run['id']}")
        assert shown.json == run
        assert "payload" not in await start(client)
        assert (await start(client, payload=None))["payload"] is None
        assert (await client("POST", "/v1/jobs/none/trigger")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b'{"priority": 101}', b'{"priority": -101}', b'{"priority": "1"}', b'{"priority": 1.5}',
        b'{"payload": {"a": "\\u0000"}}', b'{"payload": NaN}', b'{"payload": {"a": 1, "a": 2}}',
        b'{"payload": ' + b"[" * 65 + b"]" * 65 + b"}", b'{"payload": 1e999}', b'{"payload": "\\ud800"}',
        b'{"tags": {"a": 1}}', b'{"scheduled_at": 5}', b'{"scheduled_at": "tomorrow"}',
        b'{"scheduled_at": "2026-11-23T20:40:44"}', b'{"scheduled_at": "9999-12-31T23:59:59Z"}',
    ],
)  # fmt: skip
async def test_what_cannot_start_a_run_is_400_and_starts_none(config: Config, body: bytes) -> None:
    async with opened(config) as client:
        await make_job(client)
        answer = await client("POST", "/v1/jobs/job/trigger", raw=body)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert (await client("GET", "/v1/runs")).json["data"] == []


async def test_a_time_to_come_delays_and_one_that_has_passed_is_now(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        later = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
        delayed = await start(client, scheduled_at=later.isoformat())
        assert delayed["status"] == "delayed"
        assert delayed["due_at"] == delayed["scheduled_at"] == later.strftime("%Y-%m-%dT%H:%M:%SZ")
        past = await start(client, scheduled_at="2001-01-01T00:00:00+02:00")
        assert (past["status"], "due_at" in past) == ("queued", False)
        assert [each.id for each in await claim(client, limit=5)] == [past["id"]]


@pytest.mark.parametrize("payload", [1, "x" * 5_000])
async def test_one_idempotency_key_starts_one_run_and_repeats_its_reply(config: Config, payload: Any) -> None:
    async with opened(config) as client:
        await make_job(client)
        path, body = "/v1/jobs/job/trigger", {"payload": payload}
        first = await client("POST", path, body, idempotency_key="a")
        (one,) = await claim(client)
        await one("complete")
        again = await client("POST", path, body, idempotency_key="a")
        assert (again.status, again.json) == (201, first.json)
        assert again.headers["idempotency-replayed"] == "true"
        assert (await client("POST", path, {"payload": 2}, idempotency_key="a")).status == 409
        assert len((await client("GET", "/v1/runs")).json["data"]) == 1


# ---- who may -------------------------------------------------------------------------------------


async def test_jobs_of_another_project_are_not_there(config: Config) -> None:
    async with opened(config, dev=False) as client:
        mine, other = [await make_api_key(client, name, "*", number=n) for n, name in enumerate("ab", 1)]
        job = (await client("POST", "/v1/jobs", {"slug": "job"}, key=mine)).json
        for named in ("job", job["id"]):
            path = f"/v1/jobs/{named}"
            for method, tail in (
                ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/trigger"), ("POST", "/rotate-secret"),
            ):  # fmt: skip
                assert (await client(method, path + tail, {}, key=other)).status == 404, (method, tail)
        assert (await client("GET", "/v1/jobs", key=other)).json["data"] == []
        assert (await client("POST", "/v1/jobs", {"slug": "job"}, key=other)).status == 201


async def test_who_may_only_trigger_may_neither_read_nor_write(config: Config) -> None:
    async with opened(config, dev=False) as client:
        admin = await make_api_key(client, "a", "jobs:write")
        trigger = await make_api_key(client, "a", "jobs:trigger", number=2)
        assert (await client("POST", "/v1/jobs", {"slug": "job"}, key=admin)).status == 201
        assert (await client("POST", "/v1/jobs/job/trigger", {}, key=trigger)).status == 201
        assert (await client("POST", "/v1/jobs/job/trigger", {}, key=admin)).status == 403
        for method, path in (("GET", "/v1/jobs/job"), ("PATCH", "/v1/jobs/job"), ("GET", "/v1/runs")):
            assert (await client(method, path, key=trigger)).status == 403
