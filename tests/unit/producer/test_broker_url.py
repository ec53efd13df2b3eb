"""A URL that names sentinels: read as Kombu reads it, refused where it can't be meant, and shown without secrets."""

from __future__ import annotations

from typing import Any

import pytest

from producer import AsyncFeedbackProducer, FeedbackProducer
from producer.address import Address
from producer.broker_url import BrokerUrl

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("sentinel://one", (("one", 26379),)),
        ("sentinel://one:7000/0", (("one", 7000),)),
        ("sentinel://one;sentinel://two:7000;sentinel://[::1]:7001/0", (("one", 26379), ("two", 7000), ("::1", 7001))),
        ("sentinel://:pw@one;sentinel://:pw@two", (("one", 26379), ("two", 26379))),
    ],
)
def test_a_url_says_where_the_sentinels_are(url: str, places: tuple[tuple[str, int], ...]) -> None:
    """What is left out is the port that sentinels have by themselves."""
    assert BrokerUrl.read(url, "mymaster").sentinels == places


@pytest.mark.parametrize(
    ("url", "redis"),
    [
        ("sentinel://one;sentinel://two", "redis://one/0?"),
        ("sentinel://one:7000;sentinel://two/3", "redis://one:7000/3?"),
        ("sentinel://one/3;sentinel://two", "redis://one/3?"),
        ("sentinel://one/3;sentinel://two/3", "redis://one/3?"),
        ("sentinel://u:p%40s@one;sentinel://two/3", "redis://u:p%40s@one/3?"),
        ("sentinel://one;sentinel://u:p%40s@two/3", "redis://u:p%40s@one/3?"),
        ("sentinel://one;sentinel://two/0?client_name=chat", "redis://one/0?client_name=chat"),
        ("sentinel://one/0?ssl_cert_reqs=CERT_NONE", "rediss://one/0?ssl_cert_reqs=none&ssl_check_hostname=false"),
        ("sentinel://one/0?sentinel_username=u&sentinel_password=p", "redis://one/0?"),
    ],
)
def test_login_database_and_options_are_those_of_redis(url: str, redis: str) -> None:
    """They may stand at any of the sentinels."""
    assert BrokerUrl.read(url, "mymaster").redis == redis


def test_sentinels_may_have_a_login_of_their_own() -> None:
    """It is not Redis's."""
    read = BrokerUrl.read("sentinel://u:p@one/0?sentinel_username=su&sentinel_password=s%40p", "mymaster")

    assert read.options.sentinel_login == {"username": "su", "password": "s@p"}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"sentinel://:{SECRET}@one;sentinel://:other@two/0", "different logins"),
        (f"sentinel://:{SECRET}@one/0;sentinel://two/1", "different databases"),
        (f"sentinel://:{SECRET}@one/0?client_name=a;sentinel://two/0?client_name=b", "different options"),
        (f"sentinel://:{SECRET}@one;redis://two/0", "expected sentinel://host:port for each"),
        (f"sentinel://:{SECRET}@one;two/0", "its path is not the number of a database|begins with"),
        (f"sentinel://:{SECRET}@one;sentinel:///0", "expected sentinel://host:port for each"),
        (f"sentinel://:{SECRET}@one;", "begins with"),
        (f"sentinel://:{SECRET}#@one/0", "percent-encode the password"),
        (f"sentinel://:12#{SECRET}@one/0", "percent-encode the password"),
        (f"sentinel://:{SECRET}@one/0?no_such_option=1", "its option no_such_option is not accepted"),
        (f"sentinel://:{SECRET}@one/0?db=one", "db"),
    ],
)
@pytest.mark.parametrize("kind", [FeedbackProducer, AsyncFeedbackProducer])
def test_what_cannot_be_meant_is_refused_at_once_and_not_repeated(kind: Any, url: str, problem: str) -> None:
    """The password may be anywhere in it, and the message ends in a log."""
    with pytest.raises(ValueError, match=f"the broker's URL can't be read: .*({problem})") as refusal:
        kind(url, sentinel_master="mymaster")

    assert SECRET not in str(refusal.value)


def test_sentinels_without_the_masters_name_are_refused() -> None:
    """They may watch several."""
    with pytest.raises(ValueError, match=r"the name of the master that they watch is missing \(sentinel_master, "):
        FeedbackProducer(f"sentinel://:{SECRET}@one/0")


@pytest.mark.parametrize("url", ["redis://one/0", "rediss://one/0", "unix:///run/redis.sock"])
def test_a_masters_name_without_sentinels_is_refused(url: str) -> None:
    """A backend that sets it believes that sentinels watch."""
    with pytest.raises(ValueError, match=r"names no sentinels, and sentinel_master .* is given"):
        FeedbackProducer(url, sentinel_master="mymaster")


@pytest.mark.parametrize("kind", [FeedbackProducer, AsyncFeedbackProducer])
def test_a_producer_shows_its_sentinels_and_no_password(kind: Any) -> None:
    """A repr ends in logs and in error reports."""
    url = f"sentinel://u:{SECRET}@one:7000;sentinel://:{SECRET}@two/1?sentinel_password={SECRET}"
    with pytest.raises(ValueError, match="different logins"):
        kind(url, sentinel_master="mymaster")

    made = kind(url.replace("//:", "//u:"), sentinel_master="mymaster")

    assert repr(made) == (
        f"{kind.__name__}('sentinel://u:***@one:7000;sentinel://u:***@two/1', timeout=0.25, queue='feedback')"
    )


def test_what_is_read_shows_no_secret_either() -> None:
    """A value of a dataclass ends in tracebacks."""
    assert SECRET not in repr(BrokerUrl.read(f"sentinel://:{SECRET}@one/0?sentinel_password={SECRET}", "mymaster"))
    assert SECRET not in repr(BrokerUrl.read(f"redis://one/0?password={SECRET}"))


def test_a_sentinel_is_not_logged_in_to_with_rediss_password() -> None:
    """Nor asked for its database; encrypted it is as Redis is."""
    address: Any = Address(
        f"sentinel://u:{SECRET}@one/2?client_name=chat&ssl_ca_certs=/etc/ca.pem", patience=1, sentinel_master="mymaster"
    )

    sentinels = address.locator("key")
    sentinel = sentinels.sentinel_at(("two", 7000))
    master = sentinels.redis_at(("three", 7001))

    assert (sentinel.host, sentinel.port, sentinel.db, sentinel.username, sentinel.password) == (
        "two",
        7000,
        0,
        None,
        None,
    )
    assert (master.host, master.port, master.db, master.username, master.password) == ("three", 7001, 2, "u", SECRET)
    assert sentinel.ca_certs == master.ca_certs == "/etc/ca.pem"
    assert address.tls
