"""One suite for what is set aside, over fakeredis, a real Valkey and a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from worker.accounting.key_types import find_odd_values
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.set_aside import SET_ASIDE, count_set_aside, give_back, give_one_back, moment_of

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.usefixtures("keys_are_declared")

URGENT, *_, LATER = broker_keys(None).lists("feedback")
NAMES = ["org:acme", "org:globex", "key:main", "key:default"]


def set_aside(client: redis.Redis, name: str, *messages: str, queue: str = URGENT) -> None:
    """Let messages wait under a name."""
    client.zadd(queue + DELAYED, dict.fromkeys(messages, moment_of(name)))


def waiting(client: redis.Redis, queue: str = URGENT) -> set[bytes]:
    """What stands in a list."""
    return set(client.lrange(queue, 0, -1))  # type: ignore[arg-type]  # redis-py's types have an awaitable too


def test_a_moment_is_a_time_that_every_program_can_tell() -> None:
    """Of each name its own, and always the same."""
    moments = sorted(map(moment_of, NAMES))

    assert all(first < second for first, second in pairwise(moments))
    assert all(moment in SET_ASIDE for moment in moments)
    assert datetime.fromtimestamp(SET_ASIDE.stop / 1000, UTC).year < datetime.max.year  # noqa: DTZ901 - only its year
    assert moment_of("org:acme") == 211007078092988


def test_all_goes_back_but_what_a_name_keeps(client: redis.Redis) -> None:
    """Also what stands under a name of which nothing is known any more; what is due some day stays."""
    for name in NAMES:
        set_aside(client, name, f"{name} 1", f"{name} 2")
    set_aside(client, "org:acme", "not urgent", queue=LATER)
    client.zadd(URGENT + DELAYED, {"in an hour": 2_000_000_000_000})

    given = give_back(client, but=["org:globex", "key:main"], most=100)

    assert given == (5, 5)
    assert waiting(client) == {b"org:acme 1", b"org:acme 2", b"key:default 1", b"key:default 2"}
    assert waiting(client, LATER) == {b"not urgent"}
    assert client.zcard(URGENT + DELAYED) == 5
    assert count_set_aside(client, NAMES) == [0, 2, 2, 0, 4]


def test_not_more_goes_back_than_asked_for(client: redis.Redis) -> None:
    """Other orgs' events wait behind it."""
    client.lpush(URGENT, "another's")
    set_aside(client, "org:acme", *(f"m{number}" for number in range(10)))

    assert give_back(client, but=[], most=4) == (4, 5)
    assert give_back(client, but=[], most=100) == (6, 11)
    assert give_back(client, but=[], most=100) == (0, 11)
    assert client.lindex(URGENT, 0) == b"another's"


def test_one_of_a_name_goes_back_for_a_probe(client: redis.Redis) -> None:
    """To the head of its own list."""
    client.lpush(LATER, "another's")
    set_aside(client, "key:main", "first", queue=LATER)
    set_aside(client, "org:acme", "held")

    assert give_one_back(client, "key:main")
    assert not give_one_back(client, "key:main")
    assert client.rpop(LATER) == b"first"
    assert count_set_aside(client, []) == [1]


def test_the_doctor_takes_it_for_no_message_that_is_never_due(client: redis.Redis) -> None:
    """What another program wrote with such a time is told all the same."""
    set_aside(client, "org:acme", "held")
    assert list(find_odd_values(client)) == []

    client.zadd(URGENT + DELAYED, {"in a thousand years": 40_000_000_000_000})

    [problem] = find_odd_values(client)
    assert "due in ten years or never: 1" in problem.summary
