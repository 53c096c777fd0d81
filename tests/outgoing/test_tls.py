"""TLS to the address that was checked, with the name in SNI and in the certificate."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from narrows.outgoing.caller import Caller
from narrows.outgoing.guard import Guard
from tests.outgoing.kit import GENEROUS_SECS, Names, Run, failed
from tests.outgoing.servers import Reader, Target, Writer, answer, saying, target

NAME = "shop.example"


class Issued:
    """A certificate that vouches for itself, and what both sides make of it."""

    def __init__(self, folder: Path, *names: str, days: int = 1) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        kinds = [_general(name) for name in names]
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - dt.timedelta(days=30))
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName(kinds), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.path = folder / "cert.pem"
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, *private)
            + made.public_bytes(serialization.Encoding.PEM)
        )
        self.asked_names: list[str | None] = []

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        context.sni_callback = lambda _, name, __: self.asked_names.append(name)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    return Issued(tmp_path, NAME, "127.0.0.1")


def test_the_name_stands_in_sni_and_host_and_the_connection_goes_to_the_address(
    run: Run, issued: Issued
) -> None:
    async def story() -> None:
        names = Names(["127.0.0.1"])
        mine = Caller(Guard(allow_loopback=True, resolve=names), tls=issued.client())
        async with target(saying(answer(b"1")), tls=issued.server()) as made:
            url = made.url(host="Shop.Example", scheme="https")
            for _ in range(2):
                found = await mine.post(url, b"", {}, timeout_secs=GENEROUS_SECS)
                assert (found.error, found.body) == (None, b"1")
            await mine.close()
            await made.gone.wait()
        assert issued.asked_names == [NAME]
        assert f"\r\nhost: {NAME}:{made.port}\r\n".encode() in made.requests[0][0].lower()
        assert (names.asked, made.connections) == (1, 1)

    run(story())


def test_an_address_has_no_sni_and_has_to_stand_in_the_certificate(run: Run, issued: Issued) -> None:
    async def story() -> None:
        mine = Caller(Guard(allow_loopback=True), tls=issued.client())
        async with target(saying(answer(b"1")), tls=issued.server()) as made:
            found = await mine.post(made.url(scheme="https"), b"", {}, timeout_secs=GENEROUS_SECS)
            await mine.close()
        assert found.body == b"1"
        assert issued.asked_names == [None]

    run(story())


def test_a_certificate_of_another_name_is_refused_and_nothing_is_sent(run: Run, issued: Issued) -> None:
    async def story() -> None:
        mine = Caller(Guard(allow_loopback=True, resolve=Names(["127.0.0.1"])), tls=issued.client())
        async with target(saying(answer()), tls=issued.server()) as made:
            url = made.url(host="other.example", scheme="https")
            failed(await mine.post(url, b"", {}, timeout_secs=GENEROUS_SECS), "certificate that is not valid")
        assert made.requests == []

    run(story())


def test_a_certificate_that_nobody_known_vouches_for_is_refused(run: Run, issued: Issued) -> None:
    async def story() -> None:
        mine = Caller(Guard(allow_loopback=True))
        async with target(saying(answer()), tls=issued.server()) as made:
            failed(
                await mine.post(made.url(scheme="https"), b"", {}, timeout_secs=GENEROUS_SECS),
                "certificate that is not valid",
            )
        assert made.requests == []

    run(story())


def test_a_certificate_that_has_expired_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        old = Issued(tmp_path, "127.0.0.1", days=-1)
        mine = Caller(Guard(allow_loopback=True), tls=old.client())
        async with target(saying(answer()), tls=old.server()) as made:
            failed(await mine.post(made.url(scheme="https"), b"", {}, timeout_secs=GENEROUS_SECS), "expired")

    asyncio.run(story())


def test_a_server_without_tls_is_told(run: Run) -> None:
    async def plain(made: Target, reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        await made.send(writer, answer(b"", "400 X"))

    async def story() -> None:
        mine = Caller(Guard(allow_loopback=True))
        async with target(plain) as made:
            failed(await mine.post(made.url(scheme="https"), b"", {}, timeout_secs=GENEROUS_SECS), "TLS")

    run(story())


def test_a_handshake_that_never_ends_is_given_up(run: Run) -> None:
    async def deaf(made: Target, reader: Reader, writer: Writer) -> None:
        await reader.read()

    async def story() -> None:
        mine = Caller(Guard(allow_loopback=True), connect_secs=0.1)
        async with target(deaf) as made:
            found = await mine.post(made.url(scheme="https"), b"", {}, timeout_secs=GENEROUS_SECS)
            failed(found, "within 0.1 s")
            await made.gone.wait()

    run(story())


def test_old_versions_of_tls_are_not_spoken(issued: Issued) -> None:
    async def story() -> None:
        mine = Caller(Guard(allow_loopback=True))
        assert (await mine._tls_context()).minimum_version == ssl.TLSVersion.TLSv1_2

    asyncio.run(story())
