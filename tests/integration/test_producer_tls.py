"""Both producers over TLS, on Debian's Redis."""

from __future__ import annotations

import datetime as dt
import ipaddress
import sys
from subprocess import run
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from producer import BrokerUnavailable
from tests.support.cluster_load import an_event_of
from tests.support.clusters import redis_cluster
from tests.support.processes import ROOT, RedisServer, need, redis_server
from tests.support.producers import EVENT, attempt, first_enqueue, produce
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for 127.0.0.1, which is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(signed.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted))
    return folder


@pytest.fixture
def tls_server(certificate: Path, tmp_path: Path) -> Iterator[tuple[RedisServer, str]]:
    """Debian's Redis, and its address over TLS."""
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    for option, file in (("cert", "cert"), ("key", "key"), ("ca-cert", "cert")):
        options += [f"--tls-{option}-file", str(certificate / f"{file}.pem")]
    with redis_server(need("redis-server"), tmp_path, *options) as server:
        yield server, f"rediss://127.0.0.1:{port}/0"


@both
@pytest.mark.parametrize("spelt", ["required", "CERT_REQUIRED"])
def test_events_go_over_tls(kind: str, spelt: str, certificate: Path, tls_server: tuple[RedisServer, str]) -> None:
    """With the option as redis-py spells it and as Kombu does; a large chunk takes more than one record."""
    server, url = tls_server
    with (
        server.client() as client,
        produce(kind, f"{url}?ssl_cert_reqs={spelt}&ssl_ca_certs={certificate / 'cert.pem'}", timeout=5) as producer,
    ):
        producer.enqueue(EVENT)
        made = client.info("stats")["total_connections_received"]
        producer.enqueue_many([EVENT] * 1_000)
        for _ in range(10):
            producer.enqueue(EVENT)

        assert client.llen("feedback") == 1_011
        assert client.info("stats")["total_connections_received"] == made


def test_a_forked_backend_never_shares_a_session(certificate: Path, tls_server: tuple[RedisServer, str]) -> None:
    """A child that wrote on its parent's session would garble it for both."""
    server, url = tls_server
    url = f"{url}?ssl_ca_certs={certificate / 'cert.pem'}"
    command = [sys.executable, "-m", "tests.integration.forking_backend", url]

    backend = run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert backend.returncode == 0, backend.stderr
    with server.client() as client:
        assert client.llen("feedback") == int(backend.stdout)


def test_nothing_is_imported_for_the_first_session(certificate: Path, tls_server: tuple[RedisServer, str]) -> None:
    """A fork in the middle of an import leaves the child a lock that no thread of its own will release."""
    assert first_enqueue(f"{tls_server[1]}?ssl_ca_certs={certificate / 'cert.pem'}") == (True, "[]")


@both
def test_a_certificate_of_a_stranger_is_refused(kind: str, tls_server: tuple[RedisServer, str]) -> None:
    """Verification is on unless it is turned off by name."""
    with produce(kind, tls_server[1], timeout=5) as producer:
        outcome = attempt(producer)

    assert type(outcome.error) is BrokerUnavailable
    assert "certificate" in str(outcome.error).lower()


@both
def test_a_certificate_for_another_name_is_refused(
    kind: str, certificate: Path, tls_server: tuple[RedisServer, str]
) -> None:
    """It is good for 127.0.0.1 and not for localhost."""
    url = tls_server[1].replace("127.0.0.1", "localhost")
    with produce(kind, f"{url}?ssl_ca_certs={certificate / 'cert.pem'}", timeout=5) as producer:
        outcome = attempt(producer)

    assert type(outcome.error) is BrokerUnavailable
    assert "certificate" in str(outcome.error).lower()


@both
@pytest.mark.parametrize("spelt", ["none", "CERT_NONE"])
def test_verification_is_off_when_it_is_turned_off(kind: str, spelt: str, tls_server: tuple[RedisServer, str]) -> None:
    """A laboratory has no certificates."""
    with produce(kind, f"{tls_server[1]}?ssl_cert_reqs={spelt}", timeout=5) as producer:
        assert attempt(producer).error is None


@pytest.mark.alone
@both
def test_a_frozen_server_is_not_waited_for_over_tls_either(
    kind: str, certificate: Path, tls_server: tuple[RedisServer, str]
) -> None:
    """Neither for an answer, nor for a handshake."""
    server, url = tls_server
    with produce(kind, f"{url}?ssl_ca_certs={certificate / 'cert.pem'}") as producer:
        producer.enqueue(EVENT, timeout=5)
        server.run.pause()
        outcomes = [attempt(producer) for _ in range(3)]
        server.run.thaw()

    assert all(outcome.error for outcome in outcomes)
    assert max(outcome.seconds for outcome in outcomes) < 0.25 + 0.15


@both
def test_a_cluster_over_tls(kind: str, certificate: Path, tmp_path: Path) -> None:
    """Every node is reached over TLS, at the port that the others tell of; chunks go to all of them at once."""
    ports = [free_port() for _ in range(3)]
    options = ["--tls-cluster", "yes", "--tls-auth-clients", "no"]
    for option, file in (("cert", "cert"), ("key", "key"), ("ca-cert", "cert")):
        options += [f"--tls-{option}-file", str(certificate / f"{file}.pem")]
    own = [("--tls-port", str(port)) for port in ports]
    with redis_cluster(
        need("redis-server"), tmp_path / "cluster", replicas=False, options=options, own_options=own
    ) as cluster:
        events = [an_event_of() for _ in range(2_000)]
        url = f"rediss+cluster://127.0.0.1:{ports[0]}?ssl_ca_certs={certificate / 'cert.pem'}"
        with produce(kind, url, timeout=20) as producer:
            producer.enqueue(EVENT)
            assert producer.enqueue_many(events) == 2_000
            clients = [cluster.ask(server, "CLIENT", "LIST") for server in cluster.servers]

        assert cluster.queued() == (2_001, 2_001)
        for port, told in zip(ports, clients, strict=True):
            assert f"laddr=127.0.0.1:{port} " in told
