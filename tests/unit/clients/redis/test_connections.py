"""One broker's URL for the producer, the worker and the commands: what one of them takes, all of them take alike."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import redis.connection
from kombu.transport.redis import Channel
from redis.connection import URL_QUERY_ARGUMENT_PARSERS

from producer import AsyncFeedbackProducer, FeedbackProducer
from producer.address import Address
from producer.url_options import ACCEPTED
from worker.app import create_app
from worker.clients.redis.connections import kombu_broker, redis_client
from worker.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUES = {
    "db": "0",
    "virtual_host": "0",
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": "true",
    "sentinel_username": "u",
    "sentinel_password": "p",
}
"""Of the options that take not just any text."""

_OF_LIBRARIES = sorted(
    {
        *URL_QUERY_ARGUMENT_PARSERS,
        *Channel.from_transport_options,
        *("client_name", "credential_provider", "decode_responses", "encoding", "encoding_errors", "host", "lib_name"),
        *("parser_class", "port", "redis_connect_func", "retry", "ssl", "ssl_ca_data", "ssl_password", "userid"),
        *("username", "password", "virtual_host", "path", "ssl_min_version", "socket_type", "command_packer"),
        *(name for name in ACCEPTED if not name.startswith("sentinel_")),
    }
)
"""What redis-py or Kombu know by name, in a URL or elsewhere."""


def _configure(url: str) -> None:
    load_settings(feedback_broker_url=url)


_PARTIES: dict[str, Callable[[str], Any]] = {
    "producer": FeedbackProducer,
    "asyncio producer": AsyncFeedbackProducer,
    "settings of worker, commands, doctor and Flower": _configure,
    "client": lambda url: redis_client(url, connections=1),
    "Kombu": kombu_broker,
}


def _verdicts(url: str) -> dict[str, str]:
    def classification(party: Callable[[str], Any]) -> str:
        try:
            party(url)
        except (ValueError, SettingsError) as error:
            return str(error).removeprefix("FEEDBACK_BROKER_URL: ")
        return "accepted"

    return {name: classification(party) for name, party in _PARTIES.items()}


@pytest.mark.parametrize("name", _OF_LIBRARIES)
def test_an_option_is_accepted_by_all_or_refused_by_all_by_its_name(name: str) -> None:
    """An option that passes the producer, and ends every worker at its start, loses the events of a weekend."""
    found = set(_verdicts(f"rediss://broker?{name}={_VALUES.get(name, 'x')}").values())

    assert len(found) == 1
    said = found.pop()
    if name in ACCEPTED:
        assert said == "accepted"
    else:
        assert said.endswith(f"its option {name} is not accepted; accepted are {', '.join(ACCEPTED)}")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://broker?ssl_ca_certs=/ca.pem", "ssl_ca_certs is for rediss"),
        ("redis+socket:///redis.sock?ssl_cert_reqs=none", "ssl_cert_reqs is for rediss"),
        ("redis://broker?sentinel_password=x", "sentinel_password is for sentinel"),
        ("redis://broker/1?db=2", "name different databases"),
        ("redis://broker?db=2&virtual_host=2", "db and virtual_host mean the same"),
        ("redis://broker?db=2&db=2", "db stands there twice"),
        ("redis://broker?db=", "db has no value"),
        ("redis://broker?db=-1", "db is not the number of a database"),
        ("redis://:x@broker?password=x", "another one among its options"),
        ("redis://broker?client_name=a%20b", "client_name has characters"),
        ("rediss://broker?ssl_check_hostname=perhaps", "ssl_check_hostname is neither true nor false"),
        ("rediss://broker?ssl_cert_reqs=none&ssl_check_hostname=true", "ssl_cert_reqs=none checks nothing"),
        ("redis://chat:12?s3cret=x@broker/0", "percent-encode the password"),
        ("redis://broker?s3cret", "its query is not accepted"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_all(url: str, problem: str) -> None:
    """The message names the option, and repeats nothing that may be part of a password."""
    found = set(_verdicts(url).values())

    assert len(found) == 1
    said = found.pop()
    assert problem in said
    assert "s3cret" not in said


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize("spelt", ["/3", "?db=3", "?virtual_host=3", "/3?db=3"])
def test_all_use_the_same_database(scheme: str, spelt: str) -> None:
    """A worker that looks into another one than the producer fills is at peace while events wait."""
    url = f"{scheme}://broker{spelt}"
    of_producer: Any = Address(url, patience=1).connection()
    of_client: Any = redis_client(url, connections=1).connection_pool.make_connection()

    assert of_producer.db == of_client.db == 3
    assert kombu_broker(url).url == f"{scheme}://broker/3"


def test_a_unix_socket_is_spelt_either_way() -> None:
    """As redis-py has it, and as Kombu has it."""
    spelt = ("unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?virtual_host=2")

    assert {kombu_broker(url).url for url in spelt} == {spelt[1]}
    for url in spelt:
        connection: Any = redis_client(url, connections=1).connection_pool.make_connection()
        assert (connection.path, connection.db) == ("/run/redis.sock", 2)


@pytest.mark.parametrize(
    ("query", "mode", "name_checked"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("ssl_ca_certs=/ca.pem", ssl.CERT_REQUIRED, True),
        ("ssl_cert_reqs=CERT_OPTIONAL", ssl.CERT_OPTIONAL, True),
        ("ssl_check_hostname=no", ssl.CERT_REQUIRED, False),
        ("ssl_cert_reqs=none", ssl.CERT_NONE, False),
    ],
)
def test_all_check_a_certificate_alike(query: str, mode: ssl.VerifyMode, name_checked: bool) -> None:
    """Kombu checks nothing where the URL says nothing, and reads `no` as yes."""
    url = f"rediss://broker/0?{query}"
    app = create_app(load_settings(feedback_broker_url=url))
    with app.connection_for_read() as kombu_connection:
        given = kombu_connection.ssl
    connections: list[Any] = [
        Address(url, patience=1).connection(),
        redis_client(url, connections=1).connection_pool.make_connection(),
        redis.connection.SSLConnection(**given),
    ]

    for connection in connections:
        assert (connection.cert_reqs, connection.check_hostname) == (mode, name_checked)
        assert connection.ca_certs == ("/ca.pem" if "ca.pem" in query else None)


def test_all_call_themselves_by_the_clients_name() -> None:
    """An operator finds them in CLIENT LIST."""
    url = "redis://broker/0?client_name=feedback"
    of_producer: Any = Address(url, patience=1).connection()
    of_client: Any = redis_client(url, connections=1).connection_pool.make_connection()

    assert of_producer.client_name == of_client.client_name == "feedback"
    assert kombu_broker(url).transport_options == {"client_name": "feedback"}
