"""One suite for the mirrors of a hold, over fakeredis, a real Valkey and a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any, cast

import fakeredis
import pytest
import redis

from producer.message import QUEUE, to_message
from producer.partitions import tags
from tests.support.dead_letter_records import an_event
from worker.broker.keys import broker_keys
from worker.broker.payload import MAX_BYTES
from worker.broker.scripts import FETCH
from worker.clients.redis.keys import feedback_keys, with_prefix
from worker.clients.redis.partitions import Partitions
from worker.delivery.hold import Hold, HoldKind
from worker.delivery.hold_mirrors import HoldMirrors
from worker.policy.classification import Classification

LONG_DUE = "1"
"""A probe's time, in ms: it has been due for longer than the first partition is waited for."""

_NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
_FETCHES = count()


@pytest.fixture
def partitions(client: redis.Redis) -> Partitions:
    """Three partitions, each with a client of its own."""
    if isinstance(client, fakeredis.FakeRedis):
        made: list[redis.Redis] = [fakeredis.FakeRedis(connection_pool=client.connection_pool) for _ in range(3)]
    else:
        made = [redis.Redis(connection_pool=client.connection_pool) for _ in range(3)]
    return Partitions([with_prefix(each, prefix) for each, prefix in zip(made, tags(3), strict=True)])


@pytest.fixture
def mirrors(partitions: Partitions) -> HoldMirrors:
    """The hold in all of them."""
    return HoldMirrors(partitions)


@pytest.fixture
def hold(partitions: Partitions) -> Hold:
    """The hold, as one worker has it."""
    return Hold(partitions.home, actor="worker-1")


def fields(client: redis.Redis) -> dict[str, str]:
    """A hold as it stands in a partition."""
    found = cast("dict[bytes, bytes]", client.hgetall(feedback_keys(client).hold))
    return {name.decode(): value.decode() for name, value in found.items()}


def follow(mirrors: HoldMirrors) -> bool:
    """Look, as a worker does twice a second."""
    return mirrors.follow(mirrors.state())


def begin(hold: Hold) -> None:
    """AquilaX does not take our key."""
    hold.heard(Classification.UNAUTHORIZED, "HTTP 401", at=_NOON)


def probe_at(client: redis.Redis, moment: str = LONG_DUE) -> None:
    """Let the next probe be due then."""
    client.hset(feedback_keys(client).hold, "probe_at", moment)


def in_a_minute(client: redis.Redis) -> str:
    """A moment, in ms of Redis' clock."""
    seconds, _ = client.time()
    return str((int(seconds) + 60) * 1000)


def queue(client: redis.Redis, number: int = 1) -> None:
    """Let messages wait."""
    client.lpush(broker_keys(client).lists(QUEUE)[0], *[to_message(an_event()) for _ in range(number)])


def handed_out(client: redis.Redis) -> list[int]:
    """What a fetch of many hands out: for each message whether it is a probe."""
    keys = broker_keys(client)
    shared = keys.counts_of(QUEUE), keys.hold_of(QUEUE)
    names = [part for name in keys.lists(QUEUE) for part in (name, f"{name}:delayed", *shared)]
    arguments: list[Any] = ["lease", 20_000, 10, *[QUEUE, "1"] * 4, f"0123456789ab.{next(_FETCHES)}", MAX_BYTES]
    own = [keys.unacked, keys.index, keys.leases, f"{keys.held_prefix}lease"]
    _, _, taken = FETCH(client, [*own, *names], arguments)
    return [int(probe) for _, _, _, probe in taken]


def test_a_hold_stands_in_every_partition_until_it_ends(
    partitions: Partitions, mirrors: HoldMirrors, hold: Hold
) -> None:
    """So that none hands anything out; why it stands can be read in each."""
    for client in partitions:
        queue(client)
    begin(hold)
    probe_at(partitions.home, in_a_minute(partitions.home))

    follow(mirrors)

    state = mirrors.state()
    assert state is not None
    assert state.kind is HoldKind.LOCKED_OUT
    assert [handed_out(client) for client in partitions] == [[], [], []]
    assert [fields(client)["comment"] for client in partitions] == ["HTTP 401"] * 3
    assert [fields(client)["since"] for client in partitions] == [fields(partitions.home)["since"]] * 3

    hold.resume()
    assert follow(mirrors)
    assert mirrors.state() is None
    assert [handed_out(client) for client in partitions] == [[0], [0], [0]]


def test_a_mirror_has_no_probes_of_its_own(partitions: Partitions, mirrors: HoldMirrors, hold: Hold) -> None:
    """There is one at a time for all of them, of which the first partition knows."""
    begin(hold)
    probe_at(partitions.home)
    queue(partitions[1])

    follow(mirrors)
    follow(mirrors)

    for client in list(partitions)[1:]:
        assert fields(client).keys() == {"kind", "comment", "since", "actor", "mirrors"}
    assert handed_out(partitions[1]) == []


def test_a_probe_is_lent_once_to_a_partition_that_has_messages(
    partitions: Partitions, mirrors: HoldMirrors, hold: Hold
) -> None:
    """One message goes out, though two partitions have some."""
    begin(hold)
    follow(mirrors)
    queue(partitions[1], 3)
    queue(partitions[2], 3)
    probe_at(partitions.home)

    assert mirrors.lend_probe()
    assert not mirrors.lend_probe()
    follow(mirrors)  # which leaves what was lent

    assert [handed_out(client) for client in list(partitions)[1:]] == [[1], []]
    assert handed_out(partitions[1]) == []
    assert fields(partitions.home)["probes"] == "1"


def test_a_lent_probe_that_was_handed_out_is_not_lent_again_before_it_lasts(
    partitions: Partitions, mirrors: HoldMirrors, hold: Hold
) -> None:
    """Its answer is under way: it ends the hold, or says when the next may be sent."""
    begin(hold)
    follow(mirrors)
    queue(partitions[1], 3)
    probe_at(partitions.home)
    mirrors.lend_probe()
    assert handed_out(partitions[1]) == [1]

    follow(mirrors)
    assert not mirrors.lend_probe()
    assert handed_out(partitions[1]) == []
    assert "probe_at" not in fields(partitions[1])

    hold.heard(Classification.UNAUTHORIZED, "HTTP 401 again", at=_NOON, probe=True)
    probe_at(partitions.home)
    follow(mirrors)
    assert mirrors.lend_probe()
    assert handed_out(partitions[1]) == [1]


def test_a_probe_that_the_first_partition_has_sent_is_not_lent(
    partitions: Partitions, mirrors: HoldMirrors, hold: Hold
) -> None:
    """Nor one that it may send itself: it has a moment for that."""
    begin(hold)
    follow(mirrors)
    queue(partitions[1])
    queue(partitions.home)
    probe_at(partitions.home, in_a_minute(partitions.home))
    assert not mirrors.lend_probe()  # it is not due

    probe_at(partitions.home)
    assert handed_out(partitions.home) == [1]
    assert not mirrors.lend_probe()
    assert handed_out(partitions[1]) == []


def test_no_probe_is_lent_where_nothing_waits(partitions: Partitions, mirrors: HoldMirrors, hold: Hold) -> None:
    """It stays due: the next message that comes, wherever, is the probe."""
    begin(hold)
    follow(mirrors)
    probe_at(partitions.home)

    assert not mirrors.lend_probe()
    queue(partitions[2])
    assert mirrors.lend_probe()
    assert handed_out(partitions[2]) == [1]


def test_an_operators_hold_has_no_probes_anywhere(partitions: Partitions, mirrors: HoldMirrors, hold: Hold) -> None:
    """Not even one that was lent before; when it ends the hold beneath goes on."""
    begin(hold)
    follow(mirrors)
    queue(partitions[1])
    probe_at(partitions.home)
    mirrors.lend_probe()

    hold.hold("maintenance", actor="ann")
    follow(mirrors)

    assert not mirrors.lend_probe()
    assert handed_out(partitions[1]) == []
    assert (fields(partitions[1])["kind"], fields(partitions[1])["actor"]) == ("operator", "ann")
    hold.resume()
    follow(mirrors)
    assert fields(partitions[1])["kind"] == "locked_out"
    probe_at(partitions.home)
    assert mirrors.lend_probe()
    assert handed_out(partitions[1]) == [1]


@pytest.mark.parametrize("of_another_type", [True, False])
def test_an_unreadable_hold_holds_every_partition(
    partitions: Partitions, mirrors: HoldMirrors, hold: Hold, of_another_type: bool
) -> None:
    """Whatever stands there, until an operator deletes it."""
    key = feedback_keys(partitions.home).hold
    if of_another_type:
        partitions.home.set(key, "text")
    else:
        partitions.home.hset(key, "kind", "nonsense")
    for client in list(partitions)[1:]:
        queue(client)

    follow(mirrors)
    follow(mirrors)
    assert not mirrors.lend_probe()
    assert [handed_out(client) for client in list(partitions)[1:]] == [[], []]

    hold.resume()
    follow(mirrors)
    assert [handed_out(client) for client in list(partitions)[1:]] == [[0], [0]]


def test_what_stands_in_place_of_a_mirror_hands_nothing_out_and_goes_when_the_hold_ends(
    partitions: Partitions, mirrors: HoldMirrors, hold: Hold
) -> None:
    """A key of another type; the other partitions follow all the same."""
    partitions[1].set(feedback_keys(partitions[1]).hold, "text")
    begin(hold)
    for client in list(partitions)[1:]:
        queue(client)

    follow(mirrors)
    assert [handed_out(client) for client in list(partitions)[1:]] == [[], []]

    hold.resume()
    follow(mirrors)
    assert [handed_out(client) for client in list(partitions)[1:]] == [[0], [0]]


def test_a_partition_whose_server_is_away_keeps_no_other_from_following(partitions: Partitions, hold: Hold) -> None:
    """It follows once its server is there; of the first partition's absence the caller hears."""

    class Away:
        key_prefix = tags(3)[1]

        def evalsha(self, *_: object) -> None:
            raise redis.ConnectionError("refused")

        eval = evalsha

        def pipeline(self, **_: object) -> None:
            raise redis.ConnectionError("refused")

        def hgetall(self, *_: object) -> None:
            raise redis.ConnectionError("refused")

    away = cast("redis.Redis", Away())
    begin(hold)
    queue(partitions[2])

    mirrors = HoldMirrors(Partitions([partitions.home, away, partitions[2]], node=lambda _: away))
    assert not follow(mirrors)
    probe_at(partitions.home)
    assert fields(partitions[2])["kind"] == "locked_out"
    assert mirrors.lend_probe()
    assert handed_out(partitions[2]) == [1]
    with pytest.raises(redis.ConnectionError, match="refused"):
        HoldMirrors(Partitions([away, partitions[1]])).state()
