"""The guard against a corpus of ways around it, against the standard library's own table, and with name
servers that lie."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.errors import InvalidRequest
from narrows.outgoing import allowed, networks, urls
from narrows.outgoing.guard import Guard, TargetRefused

PUBLIC, PUBLIC_V6 = "93.184.216.34", "2606:4700:4700::1111"


def corpus(name: str) -> list[str]:
    lines = (Path(__file__).parent / name).read_text("ascii").splitlines()
    return [json.JSONDecoder().raw_decode(line)[0] for line in lines if not line.startswith("#")]


REFUSED, TAKEN = corpus("refused.txt"), corpus("taken.txt")


class Names:
    """A name system that says what it is told, and counts how often it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0)


def resolved(guard: Guard, host: str = "shop.example", port: int = 443) -> list[str]:
    return asyncio.run(guard.addresses(host, port))


# ---- the corpus ------------------------------------------------------------------------------


def test_the_corpus_is_large_and_says_why() -> None:
    lines = (Path(__file__).parent / "refused.txt").read_text("ascii").splitlines()[1:]
    assert len(set(REFUSED)) == len(REFUSED) >= 200
    assert all("  # " in line for line in lines)


@pytest.mark.parametrize("url", REFUSED)
def test_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Guard().check_url(url)
    # The sentence is shown and logged; a URL may hold a secret.
    assert len(url) < 12 or url not in refused.value.message


@pytest.mark.parametrize("url", TAKEN)
def test_taken(url: str) -> None:
    Guard().check_url(url)


@pytest.mark.parametrize("url", [url for url in REFUSED if url.startswith("http://[") or url[7:8].isdigit()])
def test_a_server_on_a_developer_s_machine_takes_plain_loopback_and_no_disguise(url: str) -> None:
    try:
        Guard(allow_loopback=True).check_url(url)
    except InvalidRequest:
        return
    host = urls.parse(url).host
    assert ipaddress.ip_address(host).is_loopback


def test_pieces_are_what_was_checked() -> None:
    assert urls.parse("HTTPS://Shop.Example:8443/a?b=c") == ("https", "shop.example", 8443, "/a?b=c", False)
    assert urls.parse("http://shop.example?b") == ("http", "shop.example", 80, "/?b", False)
    assert urls.parse("http://[2606:4700:0:0::1111]").host == "2606:4700::1111"
    assert [urls.parse(url).authority for url in (
        "http://shop.example:80", "https://shop.example:443", "http://shop.example:443", "http://[2606:4700::1]:81", "https://[2606:4700::1]",
    )] == ["shop.example", "shop.example", "shop.example:443", "[2606:4700::1]:81", "[2606:4700::1]"]  # fmt: skip


@given(st.text(max_size=60))
def test_any_text_is_refused_or_taken_and_never_an_error(text: str) -> None:
    for url in (text, f"http://{text}", f"http://{text}/", f"http://example.com{text}"):
        try:
            Guard().check_url(url)
        except InvalidRequest:
            continue
        target = urls.parse(url)
        assert target.host.isascii()
        assert 0 < target.port < 65_536


# ---- the table of networks -------------------------------------------------------------------


def _edges() -> list[str]:
    """The first and the last address of every network of the table, and their neighbours."""
    found = []
    table: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str]]
    table = [*networks._NOT_PUBLIC_V4, *networks._NOT_PUBLIC_V6]
    for network, _ in table:
        size = 2**network.max_prefixlen
        for edge in (int(network[0]), int(network[-1])):
            kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
            found += [str(kind((edge + step) % size)) for step in (-1, 0, 1)]
    return found


def test_what_the_standard_library_calls_not_global_is_never_public() -> None:
    draw = random.Random(7)
    some = [str(ipaddress.IPv4Address(draw.getrandbits(32))) for _ in range(5_000)]
    some += [str(ipaddress.IPv6Address(draw.getrandbits(128))) for _ in range(5_000)]
    some += [str(ipaddress.IPv6Address((0x2000 << 112) | draw.getrandbits(112))) for _ in range(5_000)]
    for text in some + _edges():
        if not ipaddress.ip_address(text).is_global:
            assert networks.why_not_public(text) is not None, text


@pytest.mark.parametrize(
    "text",
    ["64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "::127.0.0.1", "fec0::1", "::ffff:0:a9fe:a9fe", "168.63.129.16"],
)
def test_what_the_standard_library_takes_for_public_is_refused(text: str) -> None:
    assert networks.why_not_public(text) is not None


@given(st.ip_addresses(v=4).filter(lambda address: not address.is_global))
def test_no_way_of_writing_an_inner_address_in_ipv6_is_public(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"):
        assert networks.why_not_public(
            str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + number))
        )
    assert networks.why_not_public(str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80) + 1)))
    assert networks.why_not_public(str(ipaddress.IPv6Address((0x2001 << 112) + (number ^ 0xFFFFFFFF))))


@given(st.ip_addresses(v=6).filter(lambda address: int(address) >> 125 != 1))
def test_outside_of_what_is_given_out_nothing_is_public(address: ipaddress.IPv6Address) -> None:
    if address not in networks._NAT64:
        assert networks.why_not_public(str(address)) is not None


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "fe80::1%eth0", "1.2.3.4.5", "١.1.1.1"])
def test_what_is_no_plain_address_is_not_public(text: str) -> None:
    assert networks.why_not_public(text) is not None


# ---- names -----------------------------------------------------------------------------------


def test_a_name_is_asked_for_once_and_its_addresses_are_handed_on() -> None:
    names = Names([PUBLIC, PUBLIC_V6])
    assert resolved(Guard(resolve=names)) == [PUBLIC, PUBLIC_V6]
    assert names.asked == 1


@pytest.mark.parametrize(
    "inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1", "0.0.0.0"]
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_inner_address_among_public_ones_refuses_the_name(inner: str, place: int) -> None:
    found = [PUBLIC, PUBLIC_V6]
    found.insert(place, inner)
    with pytest.raises(TargetRefused, match=r"shop\.example leads to an address") as refused:
        resolved(Guard(resolve=Names(found)))
    # Inner addresses are not told to whoever tries inner names.
    assert inner not in refused.value.message


def test_an_inner_address_behind_a_thousand_public_ones_refuses_the_name() -> None:
    found = [f"93.184.{n // 256}.{n % 256}" for n in range(1_000)]
    with pytest.raises(TargetRefused):
        resolved(Guard(resolve=Names([*found, "10.0.0.1"])))
    assert len(resolved(Guard(resolve=Names(found)))) == 64


def test_a_name_without_an_address_is_an_os_error() -> None:
    with pytest.raises(OSError, match="no address"):
        resolved(Guard(resolve=Names([])))


def test_an_address_is_not_asked_for() -> None:
    names = Names()
    assert resolved(Guard(resolve=names), PUBLIC) == [PUBLIC]
    with pytest.raises(TargetRefused):
        resolved(Guard(resolve=names), "10.0.0.1")
    assert names.asked == 0


def test_the_system_s_own_spellings_are_seen_through() -> None:
    """Even if such a host came by the reading of the URL: what the system makes of it is checked."""
    for host in ("127.1", "0x7f000001", "2130706433", "localhost", "0"):
        with pytest.raises(TargetRefused):
            resolved(Guard(), host)


# ---- what is allowed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "is_allowed"),
    [
        ("10.0.0.0/8", "db.example", "10.9.9.9", 8080, True),
        ("10.0.0.0/8", "db.example", "11.9.9.9", 8080, True),  # public anyway
        ("10.0.0.0/8", "db.example", "192.168.0.1", 8080, False),
        ("10.0.0.0/8", "db.example", "::ffff:10.9.9.9", 8080, False),
        ("10.0.0.0/8:8080", "db.example", "10.9.9.9", 8080, True),
        ("10.0.0.0/8:8080", "db.example", "10.9.9.9", 8081, False),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3", "10.1.2.4", "10.1.2.4", 80, False),
        ("10.1.2.3:81", "10.1.2.3", "10.1.2.3", 80, False),
        ("fd00::/8", "db.example", "fd12::1", 80, True),
        ("[fd00::1]:8080", "db.example", "fd00::1", 8080, True),
        ("[fd00::1]:8080", "db.example", "fd00::1", 80, False),
        ("[fd00::/8]:8080", "db.example", "fd99::1", 8080, True),
        ("worker", "worker", "172.18.0.5", 8000, True),
        ("Worker", "worker", "172.18.0.5", 8000, True),
        ("worker", "worker2", "172.18.0.5", 8000, False),
        ("worker", "a.worker", "172.18.0.5", 8000, False),
        ("worker:8000", "worker", "172.18.0.5", 8000, True),
        ("worker:8000", "worker", "172.18.0.5", 8001, False),
        ("*.internal", "a.internal", "172.18.0.5", 80, True),
        ("*.internal", "a.b.internal", "172.18.0.5", 80, True),
        ("*.internal", "internal", "172.18.0.5", 80, False),
        ("*.internal", "ainternal", "172.18.0.5", 80, False),
        ("*.internal", "a.internal.example", "172.18.0.5", 80, False),
    ],
)
def test_the_allow_list(entry: str, host: str, address: str, port: int, is_allowed: bool) -> None:
    guard = Guard([entry], resolve=Names([address]))
    if is_allowed:
        assert resolved(guard, host, port) == [address]
        return
    with pytest.raises(TargetRefused):
        resolved(guard, host, port)


def test_what_is_allowed_passes_the_check_of_a_url_too() -> None:
    Guard(["10.0.0.0/8"]).check_url("http://10.1.1.1/")
    Guard(["localhost"]).check_url("http://localhost:9000/")
    Guard(allow_loopback=True).check_url("http://localhost:9000/")
    Guard(allow_loopback=True).check_url("http://[::1]:9000/")
    for url in ("http://10.0.0.1/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/"):
        with pytest.raises(TargetRefused):
            Guard(allow_loopback=True).check_url(url)


@pytest.mark.parametrize(
    "entry", ["", "http://10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:65536", "10.1", "a b", "*", "*.", "a/8", "[::1", "::1]:80", "name:x"]
)  # fmt: skip
def test_an_entry_that_means_nothing_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the option's own sentence says what is allowed
        allowed.parse([entry])


def test_a_public_address_of_this_machine_is_refused_unless_it_is_listed() -> None:
    with pytest.raises(TargetRefused, match="is this machine"):
        Guard().check_connected("shop.example", 443, PUBLIC, PUBLIC)
    Guard().check_connected("shop.example", 443, "10.0.0.7", PUBLIC)
    Guard([PUBLIC]).check_connected("shop.example", 443, PUBLIC, PUBLIC)
    Guard(["shop.example"]).check_connected("shop.example", 443, PUBLIC, PUBLIC)
