"""Messages go back to whatever queue they came from, though its lists' keys are not known before they are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
import redis

from worker.broker.destinations import Destinations
from worker.broker.keys import DELAYED, KEYS
from worker.broker.lease_scripts import LeaseScripts
from worker.broker.scripts import SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import RedisServer

HOLDER: Final = "host:1:a"
PRIORITIES: Final = (0, 2, 3, 7, 9, None)
QUEUES: Final = ("feedback", "orders", "mails", 'q"uoted', "ключ")


@pytest.fixture
def client(broker: RedisServer) -> Iterator[redis.Redis]:
    """A connection that answers in bytes."""
    with redis.Redis(port=broker.port) as client:
        yield client


def scripts(client: redis.Redis, holder: str = HOLDER) -> LeaseScripts:
    """What a lease has its messages moved with."""
    return LeaseScripts(client.connection_pool, KEYS, name=holder, lease_ms=60_000)


def put_in_flight(client: redis.Redis, tag: str, queue: str, priority: int | None = 0) -> None:
    """As Kombu's own code does it too, and `lua/fetch.lua`."""
    properties: dict[str, Any] = {"delivery_tag": tag, "delivery_info": {}}
    if priority is not None:
        properties["priority"] = priority
    row = [{"headers": {"id": tag}, "properties": properties}, "", queue]
    text = json.dumps(row, ensure_ascii=queue.isascii()).replace('\\"', "\\u0022")
    client.hset(KEYS.unacked, tag, text)
    client.zadd(KEYS.index, {tag: 1})
    client.sadd(KEYS.held_prefix + HOLDER, tag)
    client.zadd(KEYS.leases, {HOLDER: 4_102_444_800_000})


def put_all_in_flight(client: redis.Redis) -> list[tuple[str, str, int | None]]:
    """One message for each queue and priority."""
    messages = [(f"{queue} {priority}", queue, priority) for queue in QUEUES for priority in PRIORITIES]
    for message in messages:
        put_in_flight(client, *message)
    return messages


def _requeue(client: redis.Redis, tags: list[str]) -> str:
    assert scripts(client).requeue(tags, end="back") == len(tags)
    return ""


def _release(client: redis.Redis, tags: list[str]) -> str:
    assert scripts(client).requeue([], end="head", keep=()) == len(tags)
    assert not client.exists(KEYS.leases)
    return ""


def _schedule(client: redis.Redis, tags: list[str]) -> str:
    scripts(client).schedule(dict.fromkeys(tags, "+60000"))
    return DELAYED


def _reclaim(client: redis.Redis, tags: list[str]) -> str:
    client.zadd(KEYS.leases, {HOLDER: 1})
    heir = scripts(client, "host:2:b")
    heir.heartbeat()
    client.hset(KEYS.pulse, "grace", 0)
    _, dead = heir.heartbeat()
    assert heir.reclaim(dead) == (len(tags), [HOLDER])
    assert client.zrange(KEYS.leases, 0, -1) == [b"host:2:b"]
    return ""


@pytest.mark.parametrize("move", [_requeue, _release, _schedule, _reclaim])
def test_each_message_goes_to_the_list_of_its_queue_and_priority(
    client: redis.Redis, move: Callable[[redis.Redis, list[str]], str]
) -> None:
    """Whichever queue that is: of the most the script has not heard before."""
    messages = put_all_in_flight(client)

    suffix = move(client, [tag for tag, _, _ in messages])

    for queue in QUEUES:
        for name in KEYS.lists(queue):
            expected = {tag for tag, of, priority in messages if of == queue and KEYS.list_of(of, priority) == name}
            entries: Any = client.zrange(name + suffix, 0, -1) if suffix else client.lrange(name, 0, -1)
            assert {json.loads(entry)["headers"]["id"] for entry in entries} == expected
    assert not client.exists(KEYS.unacked, KEYS.index, KEYS.held_prefix + HOLDER)


def test_messages_keep_their_order_where_their_queue_was_not_known(client: redis.Redis) -> None:
    """Those that go back to the head are handed out next in the order in which they were handed out."""
    tags = [f"{number}" for number in range(6)]
    for tag in tags:
        put_in_flight(client, tag, "orders" if int(tag) % 2 else "feedback")

    scripts(client).requeue(tags, end="head")

    for queue, ids in (("feedback", ["0", "2", "4"]), ("orders", ["1", "3", "5"])):
        assert [json.loads(entry)["headers"]["id"] for entry in reversed(client.lrange(queue, 0, -1))] == ids


class Cut(Exception):
    """The process ends here."""


def test_who_dies_before_it_has_asked_again_loses_nothing(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not known where to go is in flight still, under the lease, from which it comes back."""
    put_in_flight(client, "1", "feedback")
    put_in_flight(client, "2", "orders")
    dying = scripts(client)
    monkeypatch.setattr(Destinations, "_expect", _cut)

    with pytest.raises(Cut):
        dying.requeue(["1", "2"], end="head")

    assert client.llen("feedback") == 1
    assert client.hkeys(KEYS.unacked) == [b"2"]
    assert client.smembers(KEYS.held_prefix + HOLDER) == {b"2"}
    assert client.zscore(KEYS.leases, HOLDER)
    monkeypatch.undo()
    _reclaim(client, ["2"])
    assert client.llen("orders") == 1


def _cut(*_: object) -> None:
    raise Cut


def test_queues_that_were_met_are_declared_from_then_on(client: redis.Redis) -> None:
    """So each of them costs one call more, once."""
    own = scripts(client)
    for tag in ("1", "2", "3"):
        put_in_flight(client, tag, "orders")
    client.config_resetstat()

    for tag in ("1", "2", "3"):
        own.requeue([tag], end="back")

    stats: dict[str, Any] = client.info("commandstats")
    assert sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha")) <= 3 + 1 + 1


def test_not_every_queue_is_remembered_for_ever(client: redis.Redis) -> None:
    """Clients may make any number; those of the last ones are declared, and ours always."""
    destinations = Destinations(KEYS)
    for number in range(40):
        put_in_flight(client, str(number), f"queue {number}")
        own = [KEYS.unacked, KEYS.index, KEYS.held_prefix + HOLDER]
        destinations.run(SCHEDULE, client, own, [str(number), "+1000"], suffix=DELAYED)

    assert list(destinations._expected) == ["feedback", *(f"queue {number}" for number in range(24, 40))]


def test_queues_that_keep_coming_are_no_loop_without_end() -> None:
    """The lease's thread tries again later; nothing was done with those messages."""
    asked: list[int] = []

    def ever_another(_client: object, _keys: object, _arguments: object) -> list[Any]:
        asked.append(1)
        return [0, [b"queue %d" % len(asked)]]

    with pytest.raises(redis.RedisError, match="not met before"):
        Destinations(KEYS).run(ever_another, None, [], [])  # type: ignore[arg-type]  # nothing of either is used

    assert len(asked) == 5


def _renewed(client: redis.Redis) -> None:
    client.zadd(KEYS.leases, {HOLDER: 4_102_444_800_000})


def _redis_was_away(client: redis.Redis) -> None:
    client.hset(KEYS.pulse, "at", 1)


def _grace(client: redis.Redis) -> None:
    seconds, _ = client.time()
    client.hset(KEYS.pulse, "grace", (int(seconds) + 60) * 1000)


@pytest.mark.parametrize("since", [_renewed, _redis_was_away, _grace])
def test_a_dead_holder_that_lives_again_keeps_what_it_holds(
    client: redis.Redis, since: Callable[[redis.Redis], None]
) -> None:
    """Between the heartbeat that named it and the step that would return what it holds."""
    put_in_flight(client, "1", "feedback")
    client.zadd(KEYS.leases, {HOLDER: 1})
    heir = scripts(client, "host:2:b")
    heir.heartbeat()
    client.hset(KEYS.pulse, "grace", 0)
    _, dead = heir.heartbeat()
    assert dead == [HOLDER.encode()]

    since(client)

    assert heir.reclaim(dead) == (0, [])
    assert client.hkeys(KEYS.unacked) == [b"1"]
    assert client.sismember(KEYS.held_prefix + HOLDER, "1")
