"""Standard Webhooks: ours against the standard's own package in both directions, and everything odd
is refused."""

from __future__ import annotations

import base64
import hmac
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from narrows.client import verify_signature
from narrows.errors import Unauthenticated
from narrows.wire import signatures

NOW = 1_700_000_000
SECRET = signatures.make_secret(b"k" * 32)
OTHER = signatures.make_secret(b"o" * 32)
BODY = b'{"n": 1}'

secrets = st.binary(min_size=24, max_size=64).map(signatures.make_secret)
ids = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=80)
bodies = st.text(st.characters(codec="utf-8"), max_size=2_000)


def signed(body: bytes = BODY, *used: str, message_id: str = "run_1.2", at: int = NOW) -> dict[str, str]:
    return signatures.headers(used or (SECRET,), message_id, at, body)


def check(
    headers: dict[str, str], body: bytes = BODY, secret: str | list[str] = SECRET, now: int = NOW
) -> None:
    signatures.verify(secret, headers, body, now_secs=now)


def test_the_vector_of_the_standard() -> None:
    """The example that the standard's libraries share."""
    made = signatures.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(secrets, ids, bodies)
def test_the_package_makes_the_same_signature(secret: str, message_id: str, body: str) -> None:
    theirs = Webhook(secret).sign(message_id, datetime.fromtimestamp(NOW, UTC), body)
    assert signatures.sign(secret, message_id, NOW, body.encode()) == theirs


@given(secrets, secrets, ids, bodies)
def test_the_package_verifies_ours(secret: str, former: str, message_id: str, body: str) -> None:
    now = int(time.time())
    made = signatures.headers([secret, former], message_id, now, body.encode())
    for each in (secret, former):
        Webhook(each).verify(body, made, json_parse=False)


@given(secrets, ids, bodies)
def test_we_verify_the_package_s(secret: str, message_id: str, body: str) -> None:
    made = {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(NOW),
        "Webhook-Signature": Webhook(secret).sign(message_id, datetime.fromtimestamp(NOW, UTC), body),
    }
    signatures.verify(secret, made, body.encode(), now_secs=NOW)
    with pytest.raises(Unauthenticated):
        signatures.verify(secret, made, body.encode() + b" ", now_secs=NOW)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_text_but_a_signature_is_one_for_us_or_for_the_package(text: str) -> None:
    now = int(time.time())
    made = {**signed(at=now), "webhook-signature": text}
    with pytest.raises(Unauthenticated):
        check(made, now=now)
    with pytest.raises((WebhookVerificationError, ValueError)):
        Webhook(SECRET).verify(BODY, made)


def test_any_body_of_bytes_can_be_signed() -> None:
    for body in (b"", b"\0", bytes(range(256)), b"x" * 1_000_000):
        check(signed(body), body)


def test_one_signature_of_several_is_enough_in_any_place() -> None:
    for used in ([SECRET, OTHER], [OTHER, SECRET]):
        check(signed(BODY, *used))
    with pytest.raises(Unauthenticated):
        check(signed(BODY, OTHER))


def test_one_secret_of_several_is_enough_while_it_is_rotated() -> None:
    check(signed(), secret=[OTHER, SECRET])
    with pytest.raises(Unauthenticated):
        check(signed(), secret=[OTHER])


def test_a_newer_version_beside_ours_is_passed_over() -> None:
    made = signed()
    made["webhook-signature"] = f"v2,{'A' * 40} v1a,xyz {made['webhook-signature']}"
    check(made)


def test_the_names_of_headers_have_no_case() -> None:
    check({name.title(): value for name, value in signed().items()})


GOOD = signed()["webhook-signature"]
RAW = base64.b64decode(GOOD[3:])


@pytest.mark.parametrize(
    "given_signature",
    [
        "",
        " ",
        "v1",
        "v1,",
        "v1,,",
        ",",
        "v1, " + GOOD[3:],
        GOOD[:-1],  # short by its padding
        GOOD[:-2],
        GOOD[:-5],
        GOOD[:3] + GOOD[4:],
        GOOD + "=",
        GOOD + "A",
        GOOD + "\n",
        GOOD + ",",
        GOOD + ",v1",
        GOOD.upper(),
        GOOD.replace("v1", "V1"),
        GOOD.replace("v1", "v2"),
        GOOD.replace("v1", "v1a"),
        GOOD[3:],
        "v1," + RAW.hex(),
        "v1," + base64.b64encode(RAW[:16]).decode(),  # a truncated MAC
        "v1," + base64.b64encode(RAW[:31]).decode(),
        "v1," + base64.b64encode(RAW + b"\0").decode(),
        "v1," + base64.b64encode(RAW * 2).decode(),
        "v1," + base64.b64encode(b"").decode(),
        "v1," + base64.b64encode(bytes(32)).decode(),
        "v1," + "A" * 44,
        "v1," + "A" * 100_000,
        "v1,é" + GOOD[4:],
        "v1,\ud800",
        "\0",
        GOOD.replace(",", ";"),
        GOOD.replace(",", ", "),
        "\t" + GOOD,
        f"{GOOD},x",
        "v1,*" + GOOD[4:],
        "None",
        "true",
    ],
)
def test_an_odd_signature_is_refused(given_signature: str) -> None:
    with pytest.raises(Unauthenticated):
        check({**signed(), "webhook-signature": given_signature})


def test_a_signature_behind_a_hundred_others_is_not_looked_for() -> None:
    with pytest.raises(Unauthenticated):
        check({**signed(), "webhook-signature": "v1,x " * 100 + GOOD})


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_or_empty_header_is_refused(missing: str, empty: bool) -> None:
    made = signed()
    del made[missing]
    with pytest.raises(Unauthenticated, match="not signed"):
        check({**made, missing: ""} if empty else made)


@pytest.mark.parametrize(
    "timestamp",
    ["x", "1e9", "1700000000.0", " 1700000000", "1700000000 ", "+1700000000", "-1", "0x10", "1_700_000_000", "١٧٠٠٠٠٠٠٠٠", "nan", "inf", "9" * 13, "9" * 5_000],
)  # fmt: skip
def test_an_odd_timestamp_is_refused(timestamp: str) -> None:
    with pytest.raises(Unauthenticated, match="webhook-timestamp"):
        check({**signed(), "webhook-timestamp": timestamp})


@pytest.mark.parametrize(
    ("offset", "is_taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)]
)
def test_five_minutes_are_tolerated_either_way(offset: int, is_taken: bool) -> None:
    if is_taken:
        check(signed(), now=NOW + offset)
        return
    with pytest.raises(Unauthenticated, match="clocks"):
        check(signed(), now=NOW + offset)


def test_everything_that_is_signed_is_bound() -> None:
    made = signed()
    for changed in ({"webhook-id": "run_1.3"}, {"webhook-timestamp": str(NOW + 1)}):
        with pytest.raises(Unauthenticated, match="No signature matches"):
            check({**made, **changed})
    with pytest.raises(Unauthenticated, match="No signature matches"):
        check(made, BODY + b"\n")


def test_a_leading_zero_is_another_timestamp() -> None:
    with pytest.raises(Unauthenticated):
        check({**signed(), "webhook-timestamp": f"0{NOW}"})


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_=", "whsec_*", "whsec_ü", [], ["whsec_"], [SECRET, ""]]
)
def test_without_a_whole_secret_nothing_is_verified(secret: str | list[str]) -> None:
    made = signed()
    # What a library would sign with an empty key must not pass either.
    made["webhook-signature"] = "v1," + base64.b64encode(b"").decode()
    for headers in (made, signed()):
        with pytest.raises(Unauthenticated):
            check(headers, secret=secret)


def test_a_broken_secret_signs_nothing() -> None:
    for secret in ("", "whsec_", "whsec_*"):
        with pytest.raises(ValueError, match="signing secret"):
            signatures.sign(secret, "m", NOW, b"")


def test_without_a_secret_there_is_no_signature_and_nobody_accepts_it() -> None:
    made = signatures.headers([], "m", NOW, BODY)
    assert set(made) == {"webhook-id", "webhook-timestamp"}
    with pytest.raises(Unauthenticated, match="not signed"):
        check(made)


def test_a_secret_has_the_length_of_the_standard() -> None:
    Webhook(signatures.make_secret(b"x" * 24))
    for size in (0, 23, 65):
        with pytest.raises(ValueError, match="24 to 64"):
            signatures.make_secret(b"x" * size)


def test_a_secret_is_taken_without_its_prefix_as_the_package_does() -> None:
    check(signed(), secret=SECRET.removeprefix("whsec_"))


def test_every_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs, and by `compare_digest` alone: an early hit is not faster."""
    seen: list[bytes] = []
    real = hmac.compare_digest

    def watched(ours: bytes, theirs: bytes) -> bool:
        seen.append(theirs)
        return real(ours, theirs)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    check(signed(BODY, SECRET, OTHER), secret=[SECRET, OTHER])
    assert len(seen) == 4


def test_the_client_s_function_has_this_machine_s_clock() -> None:
    now = int(time.time())
    verify_signature(SECRET, signed(at=now), BODY)
    verify_signature(SECRET, signed(at=now), BODY.decode())
    verify_signature(SECRET, signed(at=NOW), BODY, now_secs=NOW)
    with pytest.raises(Unauthenticated, match="too old"):
        verify_signature(SECRET, signed(at=now - 400), BODY)
    verify_signature(SECRET, signed(at=now - 400), BODY, tolerance_secs=500)
