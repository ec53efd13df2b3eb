"""Each refusal of Redis has its own advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from producer import BrokerUnavailable
from producer._resp import require_taken
from tests.integration.broker.consumers import connect
from worker.broker.server_errors import ServerError, advice
from worker.operations.doctor.broker import ask_server, broker_unavailable, look_at_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

RULES = {
    "+@all ~* &*": "",
    "+@all ~* &* -evalsha": "the right +evalsha",
    "+@all ~x &*": "its keys",
    "+@all ~* resetchannels": "its channels",
}


@pytest.fixture
def login(broker: RedisServer) -> Iterator[Any]:
    """An administrator, who takes the login away again."""
    client: Any
    with broker.client() as client:
        yield client
        client.execute_command("ACL", "DELUSER", "app")


@pytest.mark.parametrize("rules", RULES)
def test_a_right_that_is_missing_is_named(broker: RedisServer, login: Any, rules: str) -> None:
    """The transport takes Redis for unavailable: a worker comes again, and goes on once it has the right."""
    login.execute_command("ACL", "SETUSER", "app", "reset", "on", ">secret", *rules.split())
    url = broker.url.replace("://", "://app:secret@")

    def use() -> None:
        with connect(_At(url)) as connection:  # type: ignore[arg-type]  # a server is asked for its URL alone
            channel: Any = connection.default_channel
            channel.basic_get("feedback")
            with channel.conn_or_acquire() as client:
                client.publish("/0.celery.pidbox", "x")

    if not RULES[rules]:
        use()
        return
    with pytest.raises(ServerError, match="give the broker's login") as refused:
        use()
    assert RULES[rules] in str(refused.value)


class _At:
    def __init__(self, url: str) -> None:
        self.url = url


def test_a_login_without_info_is_yellow(broker: RedisServer, login: Any) -> None:
    """Managed services take it away; deliveries go on."""
    login.execute_command("ACL", "SETUSER", "app", "reset", "on", ">secret", "~*", "&*", "+@all", "-@dangerous")
    with redis.Redis.from_url(broker.url.replace("://", "://app:secret@")) as client:
        found = {finding.check: finding for finding in look_at_broker(ask_server(client))}

    assert {check: finding.level for check, finding in found.items()} == {"broker": "yellow", "broker clock": "green"}
    assert "+info" in found["broker"].fix


@pytest.mark.parametrize(
    "words",
    [
        "CROSSSLOT Keys in request don't hash to the same slot",
        "Keys in request don't hash to the same slot",
        "MOVED 1234 127.0.0.1:7000",
        "SELECT is not allowed in cluster mode",
    ],
)
def test_a_cluster_is_refused_in_words(words: str) -> None:
    """As redis-py has it, which cuts the code off, and as Redis has it."""
    assert "as redis+cluster://host:port,host:port" in advice(words)
    assert (
        "as redis+cluster://host:port,host:port" in broker_unavailable(redis.ResponseError(words), "redis://broker").fix
    )


def test_a_producer_says_that_it_is_a_cluster() -> None:
    """Its error ends in a backend's log."""
    with pytest.raises(BrokerUnavailable, match=r"a cluster is named by redis\+cluster://"):
        require_taken(b"-CROSSSLOT Keys in request don't hash to the same slot")
