"""The broker's URL: both spellings are read, and no password is ever shown."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from producer import AsyncFeedbackProducer, FeedbackProducer
from producer.address import Address

SECRET = "s3cr3t"


def _connection(url: str) -> Any:
    return Address(url, patience=1).connection()


@pytest.mark.parametrize(
    ("url", "host", "port", "db"),
    [
        ("redis://", "localhost", 6379, 0),
        ("redis://broker", "broker", 6379, 0),
        ("redis://broker:7000/3", "broker", 7000, 3),
        ("redis://broker/?db=4", "broker", 6379, 4),
        ("redis://[::1]:7000/0", "::1", 7000, 0),
        ("redis://broker/?virtual_host=4", "broker", 6379, 4),
        ("redis://broker/4?db=4", "broker", 6379, 4),
    ],
)
def test_a_url_says_where_redis_is(url: str, host: str, port: int, db: int) -> None:
    """What is left out is as redis-py has it."""
    connection = _connection(url)

    assert (connection.host, connection.port, connection.db) == (host, port, db)


@pytest.mark.parametrize(
    "url",
    ["redis://us%3Aer:p%40ss%2Fword@broker/0", "redis://broker/0?username=us%3Aer&password=p%40ss%2Fword"],
)
def test_a_login_is_percent_decoded(url: str) -> None:
    """Passwords have characters that URLs give another meaning."""
    connection = _connection(url)

    assert (connection.username, connection.password) == ("us:er", "p@ss/word")


@pytest.mark.parametrize(
    ("spelt", "mode"),
    [
        ("required", ssl.CERT_REQUIRED),
        ("CERT_REQUIRED", ssl.CERT_REQUIRED),
        ("optional", ssl.CERT_OPTIONAL),
        ("CERT_OPTIONAL", ssl.CERT_OPTIONAL),
        ("none", ssl.CERT_NONE),
        ("CERT_NONE", ssl.CERT_NONE),
    ],
)
def test_both_spellings_of_certificate_checks_are_read(spelt: str, mode: ssl.VerifyMode) -> None:
    """One URL serves the producer, which asks redis-py, and the worker, which asks Kombu."""
    connection = _connection(f"rediss://broker/0?ssl_cert_reqs={spelt}&ssl_ca_certs=/etc/ssl/our%20ca.pem")

    assert connection.cert_reqs is mode
    assert connection.check_hostname is (mode is not ssl.CERT_NONE)
    assert connection.ca_certs == "/etc/ssl/our ca.pem"


def test_tls_checks_the_certificate_and_the_name_unless_told_otherwise() -> None:
    """redis-py 5 does not check the name by default."""
    connection = _connection("rediss://broker/0")

    assert connection.cert_reqs is ssl.CERT_REQUIRED
    assert connection.check_hostname is True


@pytest.mark.parametrize("url", ["unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?virtual_host=2"])
def test_both_spellings_of_a_unix_socket_are_read(url: str) -> None:
    """redis-py's and Kombu's."""
    connection = _connection(url)

    assert (connection.path, connection.db) == ("/run/redis.sock", 2)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@broker/0",
        f"redis://:{SECRET}#1@broker/0",
        f"redis://:12#{SECRET}@broker/0",
        f"redis://:{SECRET}/1@broker/0",
        f"redis://:12/{SECRET}@broker/0",
        f"redis://:{SECRET}@broker/not-a-number",
        f"redis://:{SECRET}@broker:{SECRET}/0",
        f"redis://:{SECRET}@[broker/0",
        f"redis://:{SECRET}@broker/0?db=one",
        f"redis://:{SECRET}@broker/0?no_such_option=1",
        f"rediss://:{SECRET}@broker/0?ssl_cert_reqs=perhaps",
        f"{SECRET}",
    ],
)
@pytest.mark.parametrize("kind", [FeedbackProducer, AsyncFeedbackProducer])
def test_a_url_that_cannot_be_read_is_refused_at_once_and_not_repeated(kind: Any, url: str) -> None:
    """The password may be anywhere in it, and the message ends in a log."""
    with pytest.raises(ValueError, match="the broker's URL can't be read: ") as refusal:
        kind(url)

    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@broker:7000/1", "redis://:***@broker:7000/1"),
        (f"rediss://broker/1?username=ann&password={SECRET}", "rediss://broker/1"),
        (f"redis://broker/0?password={SECRET}", "redis://broker/0"),
        (f"redis://:{SECRET}@[::1]/0", "redis://:***@[::1]/0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
@pytest.mark.parametrize("kind", [FeedbackProducer, AsyncFeedbackProducer])
def test_a_producer_shows_where_it_sends_and_not_its_password(kind: Any, url: str, shown: str) -> None:
    """A repr ends in logs and in error reports."""
    assert repr(kind(url)) == f"{kind.__name__}({shown!r}, timeout=0.25, queue='feedback')"
