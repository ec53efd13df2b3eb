"""What is told of what is seen: each beginning and each end once, whatever else is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from worker.accounting.continuity import Continuity, Kind
from worker.accounting.snapshot import PartitionLook, Snapshot, sum_of
from worker.database.redis_generations import Recorded
from worker.dead_letters.new_causes import NewCause
from worker.dead_letters.replays.stopped import StoppedReplay
from worker.delivery.hold import HoldKind, HoldState
from worker.delivery.org_holds import OrgHold, key_scope, org_scope
from worker.notifications.episodes import noted
from worker.notifications.events import Event, EventKind
from worker.notifications.observation import Observation
from worker.notifications.state import NotifierState

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
AGE = timedelta(minutes=15)
SECOND = timedelta(seconds=1)


def moment(at: datetime = NOON, *, hold: HoldState | None = None, oldest: datetime | None = None, **counts: int) -> Any:
    """The queue, in which a message waits if any is the oldest."""
    queued = int(oldest is not None)
    return Snapshot(
        at=at,
        counts={"accepted": queued} | counts,
        queued=queued,
        in_flight=0,
        scheduled=0,
        oldest=oldest,
        hold=hold,
        holders=(),
    )


def a_hold(kind: HoldKind, comment: str = "HTTP 401", beneath: HoldState | None = None) -> HoldState:
    """One that has begun a moment ago."""
    return HoldState(kind=kind, comment=comment, since=NOON, actor="ada", probes=0, probe_at=None, beneath=beneath)


def seen(now: Snapshot, **more: Any) -> Observation:
    """An observation of a Redis that has lost nothing, and of a database in which nothing is new."""
    rest: dict[str, Any] = {"continuity": Continuity(kind=Kind.SAME, now=now), "causes": (), "replays": ()}
    return Observation(snapshot=now, **(rest | more))


def look(state: NotifierState, observation: Observation) -> tuple[NotifierState, list[Event]]:
    """Observe; return what is known then, and what is new."""
    after = noted(state, observation, backlog_age=AGE, redact=lambda text: text.replace("s3cret", "[redacted]"))
    return after, list(after.pending[len(state.pending) :])


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    """The kinds and the subjects."""
    return [(event.kind.value, event.subject) for event in events]


def test_a_hold_is_told_when_it_begins_and_when_it_ends() -> None:
    """Once each; that the key is wrong is urgent, and so is the end of that."""
    held = a_hold(HoldKind.LOCKED_OUT, "HTTP 401: s3cret is no key")

    state, begun = look(NotifierState(), seen(moment(hold=held)))
    state, nothing = look(state, seen(moment(NOON + 10 * SECOND, hold=held)))
    state, ended = look(state, seen(moment(NOON + 95 * SECOND)))
    _, then = look(state, seen(moment(NOON + 99 * SECOND)))

    assert (kinds(begun), nothing, then) == ([("hold_begun", "locked_out")], [], [])
    assert begun[0].text == (
        "nothing is sent to AquilaX: AquilaX refuses our key, or is elsewhere: HTTP 401: [redacted] is no key"
    )
    assert (ended[0].kind, ended[0].text) == (
        EventKind.HOLD_ENDED,
        "the hold has ended after 1 min 35 s: feedback is sent again",
    )
    assert [event.urgent for event in (*begun, *ended)] == [True, True]


def test_a_hold_beneath_another_goes_on_when_that_ends() -> None:
    """An operator who resumes is not told that feedback is sent while it is not."""
    breaker = a_hold(HoldKind.BREAKER, "HTTP 503")

    state, first = look(NotifierState(), seen(moment(hold=a_hold(HoldKind.OPERATOR, "upgrade", beneath=breaker))))
    state, second = look(state, seen(moment(NOON + SECOND, hold=breaker)))

    assert kinds(first) == [("hold_begun", "operator"), ("hold_begun", "breaker")]
    assert first[0].text == "nothing is sent to AquilaX: an operator holds (ada): upgrade"
    assert (kinds(second), second[0].text) == (
        [("hold_ended", "operator")],
        "the hold has ended after 1.0 s; another one stands",
    )
    assert not any(event.urgent for event in (*first, *second))


def test_an_old_backlog_ends_well_below_the_age_at_which_it_begins() -> None:
    """Around that age it would be told again and again."""
    minutes = [14, 15, 14, 16, 8, 7, 14]
    state, told = NotifierState(), []
    for minute, age in enumerate(minutes):
        now = NOON + timedelta(minutes=minute)
        state, events = look(state, seen(moment(now, oldest=now - timedelta(minutes=age))))
        told.append(kinds(events))

    assert told == [[], [("backlog_old", "")], [], [], [], [("backlog_ended", "")], []]


def test_what_a_hold_kept_waiting_is_no_backlog() -> None:
    """Neither while it stands, nor just after: then the queue has to catch up first."""
    state, _ = look(NotifierState(), seen(moment(hold=a_hold(HoldKind.BREAKER), oldest=NOON - 5 * AGE)))
    state, after = look(state, seen(moment(NOON + SECOND, oldest=NOON - 5 * AGE)))
    state, soon = look(state, seen(moment(NOON + AGE, oldest=NOON - 5 * AGE)))
    _, later = look(state, seen(moment(NOON + AGE + 2 * SECOND, oldest=NOON - 5 * AGE)))

    assert [kinds(events) for events in (after, soon, later)] == [
        [("hold_ended", "breaker")],
        [],
        [("backlog_old", "")],
    ]
    assert "enqueued 1 h 30 min ago" in later[0].text


def test_a_loss_is_told_once_it_was_seen_for_several_looks() -> None:
    """What is odd for a moment is not told; and what is missing in one partition no other makes up for."""
    wrong = sum_of(
        [PartitionLook(number=0, snapshot=moment(delivered=1)), PartitionLook(number=1, snapshot=moment(accepted=1))]
    )
    right = sum_of([PartitionLook(number=0, snapshot=moment()), PartitionLook(number=1, snapshot=moment())])
    state, told = NotifierState(), []
    for now in (wrong, right, wrong, wrong, wrong, wrong, right):
        state, events = look(state, seen(now))
        told.append(kinds(events))

    assert wrong.balance.missing == 0
    assert told == [[], [], [], [], [("loss_found", "balance")], [], [("loss_ended", "")]]
    assert [event.urgent for event in state.pending] == [True, True]
    assert state.pending[0].text == "1 events are missing in partition 01: `aquilax-feedback reconcile` says which"


def test_orgs_that_are_held_are_told_each_by_itself() -> None:
    """At once at night too if AquilaX refuses a key: nobody has decided that."""
    refused = OrgHold(scope=key_scope("acme"), state=a_hold(HoldKind.LOCKED_OUT))
    by_hand = OrgHold(scope=org_scope("other"), state=a_hold(HoldKind.OPERATOR, "they move"))

    state, begun = look(NotifierState(), seen(moment(), org_holds=(refused, by_hand)))
    state, same = look(state, seen(moment(NOON + SECOND), org_holds=(refused, by_hand)))
    state, first = look(state, seen(moment(NOON + AGE), org_holds=(by_hand,)))
    _, last = look(state, seen(moment(NOON + AGE)))

    assert [(event.text, event.urgent) for event in begun] == [
        ("nothing is sent for the orgs of the key acme: AquilaX refuses our key, or is elsewhere: HTTP 401", True),
        ("nothing is sent for the org other: an operator holds (ada): they move", False),
    ]
    assert (same, [kinds(events) for events in (first, last)]) == (
        [],
        [[("hold_ended", "key:acme")], [("hold_ended", "org:other")]],
    )
    assert (first[0].text, first[0].urgent) == ("the hold of the orgs of the key acme has ended after 15 min", True)


def test_a_redis_that_lost_its_data_is_told_until_that_is_taken_as_it_is() -> None:
    """At the first look; what it lost is not told again as missing."""
    known = Recorded(generation="7", at=NOON, waiting=3, totals={"accepted": 3})
    now = moment()
    lost = Continuity(kind=Kind.NEW, now=now, known=known)

    state, first = look(NotifierState(), seen(now, continuity=lost))
    state, second = look(state, seen(now, continuity=lost))
    state, asleep = look(state, seen(now, continuity=None, causes=None, replays=None))
    _, third = look(state, seen(now))

    assert [kinds(events) for events in (first, second, asleep, third)] == [
        [("loss_found", "data")],
        [],
        [],
        [("loss_ended", "")],
    ]
    assert first[0].text.startswith("Redis has lost data: Redis was emptied, lost its volume, or is another one")


def test_of_a_partition_that_is_unavailable_nothing_is_told() -> None:
    """What can't be seen has neither begun nor ended."""
    wrong = [PartitionLook(number=number, snapshot=moment(accepted=number)) for number in (0, 1)]
    state = NotifierState()
    for _ in range(3):
        state, events = look(state, seen(sum_of(wrong)))
    away = [wrong[0], PartitionLook(number=1, error=redis.ConnectionError("away"))]
    state, unseen = look(state, seen(sum_of(away)))
    _, again = look(state, seen(sum_of(wrong)))

    assert (kinds(events), unseen, again) == ([("loss_found", "balance")], [], [])


def test_while_a_queue_moves_to_another_redis_nothing_is_lost() -> None:
    """What is gone here is there."""
    state = NotifierState()
    for _ in range(4):
        state, events = look(state, seen(moment(accepted=5, moving=1)))

    assert (events, state.standing) == ([], {})


def a_cause(name: str, first: datetime = NOON, **fields: Any) -> NewCause:
    """A cause of a few rows."""
    numbers = {"rows": 12, "orgs": 3} | fields
    return NewCause(fingerprint=name, summary="rejected 404: not found", first_failed_at=first, **numbers)


def test_a_cause_is_told_when_it_is_new_and_not_before_notifications_began() -> None:
    """The first look of all finds what was there: that is known from then on."""
    state, first = look(NotifierState(), seen(moment(), causes=(a_cause("a"),)))
    state, second = look(state, seen(moment(NOON + SECOND), causes=(a_cause("a"), a_cause("b"))))
    state, third = look(state, seen(moment(NOON + 2 * SECOND), causes=(a_cause("a"), a_cause("b"))))

    assert [kinds(events) for events in (first, second, third)] == [[], [("new_cause", "b")], []]
    assert second[0].text == ("new cause of dead letters: rejected 404: not found (12 dead letters of 3 orgs so far)")
    assert second[0].page == "/feedback/causes/b"
    assert (state.known_until, sorted(state.causes)) == (NOON + 2 * SECOND, ["a", "b"])


def test_what_is_known_of_causes_does_not_grow_for_ever() -> None:
    """The database is asked for recent ones alone."""
    state = NotifierState(known_until=NOON, causes={"old": NOON - timedelta(hours=3), "recent": NOON - SECOND})

    after, _ = look(state, seen(moment()))

    assert sorted(after.causes) == ["recent"]


def test_a_database_that_is_unavailable_makes_nothing_old() -> None:
    """What dies meanwhile is new once it can be asked again."""
    state = NotifierState(known_until=NOON)

    after, _ = look(state, seen(moment(NOON + AGE), continuity=None, causes=None, replays=None))

    assert after.known_until == NOON


def test_a_replay_that_its_canary_stopped_is_told_once() -> None:
    """With its number, and why."""
    stopped = StoppedReplay(id=12, stopped_because="10 of 10 died again", ended_at=NOON)

    state, first = look(NotifierState(known_until=NOON), seen(moment(), replays=(stopped,)))
    _, second = look(state, seen(moment(), replays=(stopped,)))

    assert (first[0].text, first[0].page) == (
        "replay 12 was stopped by its canary: 10 of 10 died again",
        "/feedback/replays/12",
    )
    assert (len(first), second) == (1, [])


def test_a_text_is_one_line_of_some_length() -> None:
    """AquilaX' own words are in it."""
    held = a_hold(HoldKind.BREAKER, "HTTP 503:\n" + "x" * 4000)

    _, (event,) = look(NotifierState(), seen(moment(hold=held)))

    assert (len(event.text), "\n" in event.text, event.text[-1]) == (400, False, "…")


def test_of_very_many_events_the_rest_is_counted() -> None:
    """A night of quiet hours must not fill Redis."""
    causes = tuple(a_cause(f"{number:012x}") for number in range(250))

    after, _ = look(NotifierState(known_until=NOON), seen(moment(), causes=causes))

    assert (len(after.pending), after.dropped) == (200, 50)


def test_of_very_many_events_an_urgent_one_is_kept() -> None:
    """It is told once, and stands as told from then on."""
    causes = tuple(a_cause(f"{number:012x}") for number in range(250))
    state, _ = look(NotifierState(known_until=NOON), seen(moment(), causes=causes))

    after, _ = look(state, seen(moment(hold=a_hold(HoldKind.LOCKED_OUT))))

    assert (len(after.pending), after.dropped, after.pending[-1].urgent) == (200, 51, True)
    assert [event.subject for event in after.pending[:199]] == [cause.fingerprint for cause in causes[:199]]


def test_what_a_held_org_keeps_waiting_is_no_backlog_until_some_time_after_its_end() -> None:
    """Its events are as old as its hold, and go back to the queue as they are."""
    old = NOON - 2 * AGE
    held = OrgHold(scope=org_scope("acme"), state=a_hold(HoldKind.OPERATOR))

    state, first = look(NotifierState(), seen(moment(oldest=old), org_holds=(held,)))
    state, second = look(state, seen(moment(NOON + AGE, oldest=old)))
    _, third = look(state, seen(moment(NOON + 2 * AGE, oldest=old)))

    assert [kinds(events) for events in (first, second, third)] == [
        [("hold_begun", "org:acme")],
        [("hold_ended", "org:acme")],
        [("backlog_old", "")],
    ]
