"""The clients of all partitions: who is asked, who has answered, and on which node a key lies."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis

from producer.cluster import SlotRange
from producer.partitions import partition_of, partition_of_digest, slot_of, tags
from worker.clients.redis.cluster import ask_slot_ranges
from worker.clients.redis.keys import prefix_of, with_prefix
from worker.clients.redis.partitions import Partitions

if TYPE_CHECKING:
    from collections.abc import Callable


def partitions(count: int, *, cluster: bool = False, patience: float | None = None) -> Partitions:
    """So many, of clients that reach nothing; in a cluster, or in one Redis."""
    clients = [with_prefix(fakeredis.FakeRedis(), prefix) for prefix in tags(count)]
    return Partitions(clients, node=(lambda _: fakeredis.FakeRedis()) if cluster else None, patience=patience)


def refusing(*prefixes: str, error: redis.RedisError) -> Callable[[redis.Redis], str]:
    """A question that partitions with these prefixes refuse."""

    def ask(client: redis.Redis) -> str:
        if prefix_of(client) in prefixes:
            raise error
        return prefix_of(client)

    return ask


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (b"{user1000}.following", "user1000"),
        (b"foo{}{bar}", "foo{}{bar}"),
        (b"foo{{bar}}zap", "{bar"),
        (b"foo{bar}{zap}", "bar"),
        (b"foo{bar", "foo{bar"),
    ],
)
def test_what_is_between_the_first_braces_chooses_the_slot(key: bytes, tag: str) -> None:
    """The examples of the cluster's specification."""
    assert slot_of(key) == slot_of(tag)


def test_a_digest_belongs_where_its_request_id_does() -> None:
    """As votes are moved by it."""
    from hashlib import blake2b  # noqa: PLC0415 - only this test looks into the digest

    for name in map(str, range(100)):
        assert partition_of_digest(blake2b(name.encode(), digest_size=16).digest(), 16) == partition_of(name, 16)


@pytest.mark.parametrize("cluster", [False, True])
def test_answers_come_by_number_and_an_error_names_its_partition(cluster: bool) -> None:
    """In one Redis one after the other, in a cluster at the same time."""
    several = partitions(4, cluster=cluster)

    assert several.ask_all(prefix_of) == list(tags(4))
    assert several.ask_all(prefix_of, only=[2]) == [tags(4)[2]]
    with pytest.raises(redis.ResponseError, match=r"^partition 02: WRONGTYPE$") as raised:
        several.ask_all(refusing(tags(4)[2], error=redis.ResponseError("WRONGTYPE")))
    assert type(raised.value) is redis.ResponseError
    answers = several.ask(refusing(tags(4)[2], error=redis.ResponseError("WRONGTYPE")))
    assert (sorted(answers.of), sorted(answers.errors)) == ([0, 1, 3], [2])


def test_what_all_refuse_is_of_no_partition() -> None:
    """The login is wrong, say."""
    error = redis.AuthenticationError("WRONGPASS")
    with pytest.raises(redis.AuthenticationError, match=r"^WRONGPASS$"):
        partitions(4, cluster=True).ask_all(refusing(*tags(4), error=error))


@pytest.mark.parametrize("cluster", [False, True])
def test_a_fault_is_raised_where_it_was_asked(cluster: bool) -> None:
    """It is no outage."""

    def fault(_: redis.Redis) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        partitions(3, cluster=cluster).ask(fault)


def test_who_does_not_answer_in_time_is_not_asked_anew_until_it_has() -> None:
    """It would hold up everyone who looks."""
    several, go_on, asked = partitions(3, cluster=True), threading.Event(), []

    def ask(client: redis.Redis) -> str:
        asked.append(prefix_of(client))
        if prefix_of(client) == tags(3)[1]:
            go_on.wait(30)
        return prefix_of(client)

    first = several.ask(ask, within=0.2)
    second = several.ask(ask, within=0.2)
    late = several._late[1]
    go_on.set()
    assert late.wait(30)
    third = several.ask(ask, within=30)

    assert [sorted(answers.errors) for answers in (first, second, third)] == [[1], [1], []]
    assert asked.count(tags(3)[1]) == 2


class _Cluster:
    """What a client has of a cluster that tells its slots."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply
        self.connection_pool = fakeredis.FakeRedis(host="asked").connection_pool

    def execute_command(self, *_: str) -> Any:
        return self._reply


def test_slots_are_told_with_their_nodes() -> None:
    """A node without a name is the one that was asked; a range without a node is nobody's."""
    reply = [
        [0, 99, [b"one", 1, b"id", []], [b"two", 2, b"id", []]],
        [100, 199, [None, 3, b"id", []]],
        [200, 299, [b"?", 4, b"id", []]],
        [300, 399],
    ]
    client: Any = _Cluster(reply)
    asked = str(client.connection_pool.connection_kwargs.get("host"))

    assert ask_slot_ranges(client) == [
        SlotRange(0, 99, ("one", 1), (("two", 2),)),
        SlotRange(100, 199, (asked, 3)),
        SlotRange(200, 299, (asked, 4)),
    ]
    places = partitions(2).places([SlotRange(0, 8191, ("one", 1)), SlotRange(8192, 9000, ("two", 2))])
    assert places[0] == ("one", 1)
