"""One suite for the hold, over fakeredis, a real Valkey and a real Redis."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, cast

import fakeredis
import pytest
import redis

from worker.accounting.snapshot import take_snapshot
from worker.clients.redis.keys import FeedbackKeys
from worker.clients.redis.partitions import Partitions
from worker.delivery.hold import Announcer, Hold, HoldKind, HoldState
from worker.policy.classification import Classification

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")

HOLD = FeedbackKeys().hold

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NEVER = 10**15
"""A probe's time, in ms, that does not come while a test runs."""


@pytest.fixture
def hold(client: redis.Redis) -> Hold:
    """The hold, as one worker has it."""
    return Hold(client, actor="worker-1")


def fields(client: redis.Redis) -> dict[str, str]:
    """What stands in Redis."""
    found = cast("dict[bytes, bytes]", client.hgetall(HOLD))
    return {name.decode(): value.decode() for name, value in found.items()}


def now_of(client: redis.Redis) -> int:
    """Redis' clock, in ms."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def wait_of(client: redis.Redis) -> float:
    """Seconds until the next probe."""
    return (int(fields(client)["probe_at"]) - now_of(client)) / 1000


def state_of(hold: Hold) -> HoldState:
    """The hold, which must stand."""
    state = hold.state()
    assert state is not None
    return state


def locked_out(hold: Hold, *, asked: timedelta = timedelta(), probe: bool = False) -> bool:
    """AquilaX answers 401."""
    return hold.heard(Classification.UNAUTHORIZED, "401 Unauthorized", at=NOON, asked=asked, probe=probe)


def not_now(hold: Hold, *, at: datetime = NOON, asked: timedelta = timedelta(), probe: bool = False) -> bool:
    """AquilaX answers 503."""
    return hold.heard(Classification.RETRYABLE, "503 later", at=at, asked=asked, probe=probe)


def test_there_is_no_hold_at_first(hold: Hold) -> None:
    """A new Redis."""
    assert hold.state() is None


def test_one_answer_that_locks_us_out_holds_all(hold: Hold, client: redis.Redis) -> None:
    """Every event would get it."""
    assert locked_out(hold)

    state = state_of(hold)
    assert (state.kind, state.comment, state.actor, state.probes) == (
        HoldKind.LOCKED_OUT,
        "401 Unauthorized",
        "worker-1",
        0,
    )
    assert state.since is not None
    assert abs(state.since - datetime.now(UTC)) < timedelta(seconds=5)
    assert 0 < wait_of(client) <= 1


def test_a_hold_can_be_shown_as_json(hold: Hold) -> None:
    """In `celery inspect`, and in Flower."""
    locked_out(hold)

    shown = json.loads(json.dumps(state_of(hold).as_dict()))

    assert set(shown) == {"kind", "comment", "since", "actor", "probes", "probe_at"}
    assert (shown["kind"], shown["comment"]) == ("locked_out", "401 Unauthorized")
    assert datetime.fromisoformat(shown["since"]) < datetime.fromisoformat(shown["probe_at"])


def test_what_was_on_its_way_does_not_prolong_a_hold(hold: Hold, client: redis.Redis) -> None:
    """Fifty threads get the same 401 within a second."""
    locked_out(hold)
    client.hset(HOLD, "probe_at", NEVER)
    before = fields(client)

    assert locked_out(hold)
    assert not_now(hold)

    assert fields(client) == before


def test_each_failed_probe_doubles_the_wait_up_to_a_minute(hold: Hold, client: redis.Redis) -> None:
    """A key that was fixed is noticed within a minute."""
    locked_out(hold)

    waits = []
    for _ in range(8):
        locked_out(hold, probe=True)
        waits.append(wait_of(client))

    for wait, expected in zip(waits, [2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert expected - 1 < wait <= expected


def test_a_failed_probe_says_why_now(hold: Hold) -> None:
    """The key was fixed, and AquilaX is down."""
    locked_out(hold)
    since = state_of(hold).since

    assert not_now(hold, probe=True)

    state = state_of(hold)
    assert (state.kind, state.comment, state.since) == (HoldKind.BREAKER, "503 later", since)


def test_retry_after_is_obeyed_where_it_is_longer(hold: Hold, client: redis.Redis) -> None:
    """By the one that begins a hold, by a probe, and by what was on its way."""
    locked_out(hold, asked=30 * SECOND)
    assert 29 < wait_of(client) <= 30

    locked_out(hold, probe=True, asked=timedelta(hours=1))
    assert 3599 < wait_of(client) <= 3600

    locked_out(hold, asked=timedelta(hours=2))
    assert 7199 < wait_of(client) <= 7200

    locked_out(hold, asked=SECOND)
    assert 7198 < wait_of(client) <= 7200


@pytest.mark.parametrize(
    "classification", [Classification.DELIVERED, Classification.REJECTED, Classification.FORBIDDEN]
)
def test_a_good_answer_ends_the_hold_if_it_is_a_probes(hold: Hold, classification: Classification) -> None:
    """Any other was asked before."""
    locked_out(hold)

    assert not hold.heard(classification, "ok", at=NOON)
    assert hold.state() is not None

    assert not hold.heard(classification, "ok", at=NOON, probe=True)
    assert hold.state() is None


def test_a_hold_by_hand_and_one_that_began_by_itself_stand_together(hold: Hold, client: redis.Redis) -> None:
    """The one by hand has no probes; when it ends the other goes on, with a probe at once."""
    locked_out(hold)
    begun = state_of(hold)

    hold.hold("maintenance", actor="ann")
    hold.hold("longer maintenance", actor="bob")

    state = state_of(hold)
    assert (state.kind, state.comment, state.actor, state.probe_at) == (
        HoldKind.OPERATOR,
        "longer maintenance",
        "bob",
        None,
    )
    assert state.beneath is not None
    assert (state.beneath.kind, state.beneath.comment, state.beneath.since) == (
        HoldKind.LOCKED_OUT,
        "401 Unauthorized",
        begun.since,
    )
    assert state.as_dict()["beneath"]["kind"] == "locked_out"

    assert hold.resume()
    assert (state_of(hold).kind, state_of(hold).since, state_of(hold).beneath) == (
        HoldKind.LOCKED_OUT,
        begun.since,
        None,
    )
    assert wait_of(client) <= 0
    locked_out(hold, probe=True)
    assert 1 < wait_of(client) <= 2
    assert hold.resume()
    assert not hold.resume()


def test_a_hold_by_hand_stays_when_the_one_beneath_ends(hold: Hold) -> None:
    """A probe that was on its way was answered: then nothing is left when the operator resumes."""
    locked_out(hold)
    hold.hold("maintenance", actor="ann")

    hold.heard(Classification.DELIVERED, "", at=NOON, probe=True)

    assert (state_of(hold).kind, state_of(hold).beneath) == (HoldKind.OPERATOR, None)
    hold.hold("by hand", actor="ann")
    assert (now_held := hold.state()) is not None
    assert now_held.comment == "by hand"
    assert hold.resume()
    hold.resume()  # and what had begun by itself beneath
    assert hold.state() is None


def test_what_is_found_out_under_a_hold_by_hand_is_not_forgotten(hold: Hold, client: redis.Redis) -> None:
    """What was on its way gets 401: the operator who resumes finds that hold, and AquilaX no flood."""
    hold.hold("maintenance", actor="ann")

    assert locked_out(hold)
    assert not_now(hold, asked=timedelta(minutes=5))

    beneath = state_of(hold).beneath
    assert beneath is not None
    assert (beneath.kind, beneath.comment, beneath.actor) == (HoldKind.BREAKER, "503 later", "worker-1")
    hold.resume()
    assert 299 < wait_of(client) <= 300


def test_a_few_answers_not_now_hold_nobody(hold: Hold) -> None:
    """Each event is retried by itself."""
    assert not any(not_now(hold, at=NOON + number * SECOND) for number in range(19))
    assert hold.state() is None


def test_a_sustained_run_of_not_now_holds_all(hold: Hold) -> None:
    """AquilaX is down."""
    for number in range(19):
        not_now(hold, at=NOON + number * SECOND)

    assert not_now(hold, at=NOON + 19 * SECOND)

    assert state_of(hold).kind is HoldKind.BREAKER


def test_after_a_hold_a_run_begins_anew(hold: Hold) -> None:
    """One more "not now" once it has ended is a new run of one."""
    for number in range(20):
        not_now(hold, at=NOON + number * SECOND)
    hold.resume()

    assert not not_now(hold, at=NOON + 30 * SECOND)
    assert hold.state() is None


def test_threads_count_together(hold: Hold) -> None:
    """The run is the process's."""
    not_now(hold)

    threads = [Thread(target=not_now, args=(hold,), kwargs={"at": NOON + 6 * SECOND}) for _ in range(19)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert state_of(hold).kind is HoldKind.BREAKER


def test_a_probe_that_fails_after_its_hold_has_ended_begins_no_other(hold: Hold) -> None:
    """An operator has resumed: one "not now" is one event's."""
    locked_out(hold)
    hold.resume()

    assert not not_now(hold, probe=True)
    assert hold.state() is None


def test_an_operator_holds_until_an_operator_resumes(hold: Hold, client: redis.Redis) -> None:
    """There are no probes, and no answer changes it."""
    hold.hold("maintenance", actor="ann")
    by_ann = fields(client)

    assert not_now(hold)
    hold.heard(Classification.DELIVERED, "ok", at=NOON, probe=True)
    hold.probe_soon()

    assert fields(client) == by_ann
    state = state_of(hold)
    assert (state.kind, state.comment, state.actor, state.probe_at) == (HoldKind.OPERATOR, "maintenance", "ann", None)
    assert hold.resume()
    assert not hold.resume()
    assert hold.state() is None


def test_the_next_probe_can_be_let_go_at_once(hold: Hold, client: redis.Redis) -> None:
    """A worker with a new key has started; how long the waits are by now is not forgotten."""
    locked_out(hold)
    client.hset(HOLD, mapping={"probe_at": NEVER, "interval": 32_000})

    hold.probe_soon()

    assert wait_of(client) <= 0
    assert fields(client)["interval"] == "32000"


def test_a_worker_that_starts_obeys_retry_after(hold: Hold, client: redis.Redis) -> None:
    """But for a wrong key: a worker that has another need not wait."""
    locked_out(hold, asked=timedelta(hours=1))
    not_now(hold, asked=timedelta(hours=1), probe=True)
    hold.probe_soon()
    assert 3598 < wait_of(client) <= 3600

    locked_out(hold, asked=timedelta(hours=1), probe=True)
    hold.probe_soon()
    assert wait_of(client) <= 0


def test_no_probe_is_let_go_where_there_is_no_hold(hold: Hold, client: redis.Redis) -> None:
    """Nothing is written."""
    hold.probe_soon()

    assert not client.exists(HOLD)


def test_a_hold_is_announced_once_and_so_is_its_end(hold: Hold, caplog: pytest.LogCaptureFixture) -> None:
    """However many events it turns away; and again if there is another reason."""
    caplog.set_level(logging.INFO)
    locked_out(hold)
    locked_out(hold)
    hold.turned_away("401 Unauthorized", by_hand=False, at=NOON)
    not_now(hold, probe=True)
    hold.heard(Classification.DELIVERED, "ok", at=NOON, probe=True)
    hold.let_through(asked_at=NOON + SECOND)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "nothing is sent to AquilaX from now on but a probe now and then: 401 Unauthorized"),
        ("WARNING", "nothing is sent to AquilaX from now on but a probe now and then: 503 later"),
        ("INFO", "the hold has ended: feedback is sent to AquilaX again"),
    ]


def test_an_operators_hold_is_announced_with_the_way_out(caplog: pytest.LogCaptureFixture) -> None:
    """There are no probes."""
    Announcer().held("maintenance", by_hand=True)

    assert caplog.messages == ["nothing is sent to AquilaX until `aquilax-feedback resume`: maintenance"]


def test_an_event_that_was_let_through_before_the_hold_does_not_announce_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its thread hears of that later than another of the hold."""
    caplog.set_level(logging.INFO)
    announcer = Announcer()
    announcer.held("401", by_hand=False, at=NOON)

    announcer.ended(at=NOON - SECOND)
    assert len(caplog.messages) == 1

    announcer.ended(at=NOON + SECOND)
    announcer.ended(at=NOON + 2 * SECOND)
    assert len(caplog.messages) == 2


def test_a_redis_that_is_away_is_an_error() -> None:
    """The caller keeps the event."""
    server = fakeredis.FakeServer()
    hold = Hold(fakeredis.FakeRedis(server=server), actor="worker-1")
    server.connected = False

    with pytest.raises(redis.RedisError):
        locked_out(hold)
    with pytest.raises(redis.RedisError):
        hold.state()
    assert not hold.heard(Classification.DELIVERED, "ok", at=NOON)  # nothing had to be asked


def test_a_redis_whose_memory_is_full_can_be_held(valkey: RedisServer) -> None:
    """It is full of what could not be sent."""
    with redis.Redis(port=valkey.port) as client:
        memory = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        try:
            hold = Hold(client, actor="worker-1")
            assert locked_out(hold)
            assert locked_out(hold, probe=True)
            hold.probe_soon()
            hold.hold("maintenance", actor="ann")
            assert state_of(hold).kind is HoldKind.OPERATOR
        finally:
            client.config_set("maxmemory", memory)


def test_its_scripts_come_back_after_a_restart(client: redis.Redis, hold: Hold) -> None:
    """A Redis that has restarted knows none."""
    locked_out(hold)
    client.script_flush()

    assert locked_out(hold, probe=True)
    assert fields(client)["interval"] == "2000"


def test_who_begins_a_hold_is_told_of_it_once(client: redis.Redis) -> None:
    """Not of one that stands, that a probe prolongs, or that another one began: each is counted once in the fleet."""
    begun: list[tuple[str, HoldKind]] = []
    first = Hold(client, actor="first", begun=lambda kind: begun.append(("first", kind)))
    second = Hold(client, actor="second", begun=lambda kind: begun.append(("second", kind)))

    first.heard(Classification.UNAUTHORIZED, "401", at=NOON)
    first.heard(Classification.UNAUTHORIZED, "401", at=NOON)
    second.heard(Classification.UNAUTHORIZED, "401", at=NOON, probe=True)
    first.resume()
    second.heard(Classification.UNAUTHORIZED, "401", at=NOON)
    second.hold("maintenance", actor="me")
    first.heard(Classification.UNAUTHORIZED, "401", at=NOON)

    assert begun == [("first", HoldKind.LOCKED_OUT), ("second", HoldKind.LOCKED_OUT)]


_ODD: list[dict[str, str] | str] = [
    "yes",
    {"kind": "pause"},
    {"kind": "", "comment": "x"},
    {"comment": "no kind"},
    {"kind": "locked_out", "probe_at": "soon", "since": "yesterday", "probes": "many", "interval": "x"},
    {"kind": "breaker", "probe_at": "9" * 30, "since": "9" * 30, "not_before": "later"},
    {"kind": "\ud83d", "since": "-1"},
]


@pytest.mark.parametrize("odd", _ODD, ids=str)
def test_whatever_stands_in_the_key_is_told_and_ended(
    hold: Hold, client: redis.Redis, odd: dict[str, str] | str
) -> None:
    """Nothing is handed out because of it, so it is a hold; status, reconcile, the pages and resume read it as one."""
    if isinstance(odd, str):
        client.set(HOLD, odd)
    else:
        client.hset(HOLD, mapping={name: value.encode(errors="surrogatepass") for name, value in odd.items()})

    told, shown = hold.state(), take_snapshot(Partitions([client])).hold
    with suppress(redis.ResponseError):  # of a wrong type; a worker is told that all is held before it gets here
        hold.heard(Classification.UNAUTHORIZED, "401", at=NOON, probe=True)
        hold.probe_soon()
        assert hold.state() is not None

    assert told is not None
    assert shown is not None
    assert told.as_dict().keys() == shown.as_dict().keys()
    assert told.kind in HoldKind
    assert hold.resume()
    assert hold.state() is None
