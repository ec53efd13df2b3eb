"""Replay plans on real databases and a real Valkey: no row is missed, and none is enqueued twice for one plan."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from sqlalchemy import delete, update

from tests.support.dead_letter_records import (
    NOON,
    REQUEST_ID,
    a_record,
    add,
    an_event,
    an_unreadable_record,
    row_of,
    rows_of,
    settle,
)
from tests.support.dead_letters import fill
from tests.support.plans import EVERYTHING, LEASE, Steps
from worker.accounting.table_counts import put_back_to_dead, replaying
from worker.broker.keys import KEYS
from worker.database.audit_log import actions
from worker.database.models import DeadLetter, State
from worker.database.replay_models import ReplayState, RowState
from worker.dead_letters.discard import discard
from worker.dead_letters.replays import policy, step
from worker.dead_letters.replays.advancer import overdue
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.errors import NoSuchReplay, NothingToReplay, NotPossible
from worker.dead_letters.replays.lifecycle import cancel, pause, resume
from worker.dead_letters.replays.planning import create, preview
from worker.dead_letters.replays.queries import Progress, find, plans, replays_of, rows
from worker.dead_letters.replays.queue import LIST
from worker.dead_letters.replays.step import NextStep, ReplayEnded, StepTaken
from worker.dead_letters.selection import Selection, holds_event, replayable
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("keys_are_declared")


class KilledError(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.fixture
def steps(store: DeadLetterStore, valkey: RedisServer) -> Iterator[Steps]:
    """One who advances plans."""
    with valkey.client() as client:
        yield Steps(store, client)


def _add_rows(store: DeadLetterStore, number: int, **changes: Any) -> list[int]:
    return [add(store, a_record(**changes)) for _ in range(number)]


def _letters(store: DeadLetterStore) -> list[tuple[State, int]]:
    return [(row.state, row.replay_count) for row in rows_of(store)]


def _kill_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Kill the next step before it does a part of its work."""

    def killed(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise KilledError

    monkeypatch.setattr(step, name, killed)


def test_a_replay_is_a_new_journey_of_the_same_event(steps: Steps) -> None:
    """The event is word for word the one that died; its attempts and its horizon begin again."""
    event = an_event(request_id=REQUEST_ID, status=False)
    row_id = add(steps.store, a_record(event, reason=Reason.EXHAUSTED, attempts=60, first_enqueued_at=NOON))

    steps.run(steps.plan())

    (message,), (envelope,) = steps.messages, steps.envelopes
    assert json.loads(str(message["body"]))[1] == event.to_wire()
    assert (envelope.attempts, envelope.dead_letter) == (0, row_id)
    assert envelope.enqueued_at > NOON


def test_a_replay_never_holds_fresh_feedback_up(steps: Steps) -> None:
    """Its messages are of the least urgent priority, in the list that is emptied last; they are counted as all are."""
    _add_rows(steps.store, 3)

    steps.run(steps.plan())

    assert KEYS.lists("feedback")[-1] == LIST
    assert {message["properties"]["priority"] for message in steps.messages} == {9}
    assert steps.client.hget("feedback:counts", "accepted") == "3"


def test_a_replayed_row_is_on_its_way_until_its_outcome_comes(steps: Steps) -> None:
    """It is counted and timed, and keeps its first enqueue."""
    row_id = add(steps.store, a_record())

    plan = steps.run(steps.plan())

    row = row_of(steps.store, row_id)
    assert (row.state, row.replay_count, row.first_enqueued_at) == (State.REPLAYING, 1, NOON)
    assert None not in {row.last_replay_at, row.replay_enqueued_at}
    assert (plan.state, plan.progress) == (ReplayState.RUNNING, Progress(enqueued=1))


def test_a_plan_is_finished_when_every_row_has_its_outcome(steps: Steps) -> None:
    """Delivered, dead again or overtaken: each is written down where the worker ends the message."""
    records = {add(steps.store, record): record for record in (a_record() for _ in range(3))}
    delivered, dead, stale = records
    plan = steps.plan()
    steps.run(plan)
    run = steps.envelopes[0].replay

    settle(steps.store, delivered, State.DELIVERED, replay=run)
    steps.store.add(replace(records[dead], dead_letter=dead, replay=run))
    assert steps.run(plan).state is ReplayState.RUNNING
    settle(steps.store, stale, State.DISCARDED, replay=run, comment="stale")

    ended = steps.run(plan)
    assert (ended.state, ended.progress) == (ReplayState.FINISHED, Progress(delivered=1, dead=1, discarded=1))
    assert ended.ended_at is not None
    assert [row.comment for row in rows(steps.store.engine, plan.id, states=(RowState.DISCARDED,))] == ["stale"]


def test_the_rows_are_chosen_when_the_plan_is_made(steps: Steps) -> None:
    """What dies later is not in it."""
    first = add(steps.store, a_record())
    plan = steps.plan()
    add(steps.store, a_record())

    steps.run(plan)

    assert steps.queued == [first]


def test_rows_of_another_plan_are_left_out(steps: Steps) -> None:
    """As long as that has not ended; they are counted."""
    _add_rows(steps.store, 3)
    first = steps.plan(limit=2)

    second = steps.plan()
    assert (second.total, second.elsewhere) == (1, 2)
    with pytest.raises(NothingToReplay):
        steps.plan()
    assert len(plans(steps.store.engine)) == 2, "a plan of nothing is none"

    cancel(steps.store.engine, first.id, actor="test")
    assert steps.plan().total == 2


def test_invalid_rows_are_left_out(steps: Steps) -> None:
    """They hold no event."""
    steps.store.add(an_unreadable_record())
    sound = add(steps.store, a_record())

    plan = steps.plan()

    assert (plan.total, plan.invalid) == (1, 1)
    assert list(steps.states(plan)) == [sound]


def test_a_preview_says_what_a_plan_would_do_and_changes_nothing(steps: Steps) -> None:
    """How many by cause and by org, how many are left out, and how long it takes."""
    steps.store.add(an_unreadable_record())
    _add_rows(steps.store, 3)
    steps.store.add(a_record(an_event(org="org-2"), http_status=400, response_body="bad"))
    steps.plan(limit=1)

    found = preview(steps.store.engine, EVERYTHING, rate=2)

    assert (found.rows, found.invalid, found.elsewhere, found.duration) == (3, 1, 1, timedelta(seconds=1.5))
    assert [(count.summary, count.rows) for count in found.by_cause] == [
        ("rejected 404: Request ID not found", 2),
        ("rejected 400: bad", 1),
    ]
    assert [(count.name, count.rows) for count in found.by_org] == [("org-1", 2), ("org-2", 1)]
    assert preview(steps.store.engine, EVERYTHING, limit=2).rows == 2
    assert len(plans(steps.store.engine)) == 1


@pytest.mark.parametrize("states", [(), (State.DEAD, State.REPLAYING), (State.DISCARDED,), (State.REPLAYING,)])
def test_a_preview_counts_the_rows_that_a_replay_takes(steps: Steps, states: tuple[State, ...]) -> None:
    """However they are found: by groups, row by row for a filter within groups, or past those that a plan has."""
    store, now = steps.store, datetime.now(UTC)
    fill(store, 300, last_at=now)
    with store.engine.begin() as connection:
        on_their_way = update(DeadLetter).where(DeadLetter.id % 3 == 0).values(state=State.REPLAYING)
        connection.execute(on_their_way)
        connection.execute(update(DeadLetter).where(DeadLetter.id % 6 == 0).values(replay_enqueued_at=now))
        unreadable = {"org": None, "org_group": None, "reason": Reason.INVALID}
        connection.execute(update(DeadLetter).where(DeadLetter.id % 7 == 0).values(**unreadable))
    every = Selection(states=states)

    by_groups = preview(store.engine, every)
    assert (by_groups.rows, by_groups.invalid) == _fitting(store, states)
    assert preview(store.engine, replace(every, reasons=tuple(Reason))) == by_groups

    plan = create(store.engine, replace(every, http_statuses=(400,)), actor="operator")
    rest = preview(store.engine, every)
    assert (rest.rows, rest.elsewhere) == (by_groups.rows - plan.total, plan.total)
    assert sum(count.rows for count in rest.by_org) == rest.rows
    assert create(store.engine, every, actor="operator").total == rest.rows


def _fitting(store: DeadLetterStore, states: tuple[State, ...]) -> tuple[int, int]:
    """How many rows hold an event, and how many hold none, looked at one by one."""
    chosen = set(states or (State.DEAD,))
    fit = [
        row
        for row in rows_of(store)
        if row.state in chosen or (row.state is State.REPLAYING and row.replay_enqueued_at is None)
    ]
    events = sum(holds_event(row) for row in fit)
    return events, len(fit) - events


@pytest.mark.parametrize("at", ["_carry_out", "_confirm"], ids=["before it is enqueued", "after it is enqueued"])
def test_a_kill_misses_no_row_and_enqueues_none_twice(steps: Steps, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The same chunk is done again: Redis knows which of its rows have gone."""
    ids = _add_rows(steps.store, 3)
    plan = steps.plan()
    _kill_at(monkeypatch, at)
    with pytest.raises(KilledError):
        steps.step(plan)
    assert isinstance(steps.step(plan), StepTaken), "the owner of the lease may still be alive"

    steps.time += LEASE + timedelta(seconds=1)
    steps.run(plan)

    assert steps.queued == ids
    assert steps.client.hget("feedback:counts", "accepted") == "3"
    assert _letters(steps.store) == [(State.REPLAYING, 1)] * 3, "taking up what was cut short is no second replay"
    assert steps.look(plan).progress == Progress(enqueued=3)


@pytest.mark.parametrize("at", ["_carry_out", "_confirm"])
def test_a_kill_between_steps_that_follow_each_other_at_once_is_harmless(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The first step is confirmed in the transaction that marks the rows of the second."""
    ids = _add_rows(steps.store, 5)
    plan, done = steps.plan(), getattr(step, at)
    monkeypatch.setattr(policy, "_AT_ONCE", 2)

    def first(*arguments: Any) -> object:
        _kill_at(monkeypatch, at)
        return done(*arguments)

    monkeypatch.setattr(step, at, first)
    with pytest.raises(KilledError):
        steps.step(plan)
    assert steps.look(plan).progress == Progress(enqueued=2, sending=2, waiting=1)

    steps.time += LEASE + timedelta(seconds=1)
    steps.run(plan)

    assert steps.queued == ids
    assert _letters(steps.store) == [(State.REPLAYING, 1)] * 5


def test_steps_that_are_due_at_once_need_no_message_between_them(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for ever: after some of them another worker may go on."""
    ids = _add_rows(steps.store, 5)
    plan = steps.plan()
    monkeypatch.setattr(policy, "_AT_ONCE", 1)
    monkeypatch.setattr(step, "_AT_A_STRETCH", 3)

    assert steps.step(plan) == NextStep(step_number=3, after=timedelta())
    assert steps.queued == ids[:3]


def test_two_steps_at_once_enqueue_each_row_once(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """One was frozen until its lease had ended; it wakes when another has done its chunk, and does no harm."""
    ids = _add_rows(steps.store, 3)
    plan, carry_out = steps.plan(), step._carry_out

    def frozen(*arguments: Any) -> frozenset[int]:
        monkeypatch.undo()
        steps.time += LEASE + timedelta(seconds=1)
        steps.run(plan)
        steps.deliver()
        return carry_out(*arguments)

    monkeypatch.setattr(step, "_carry_out", frozen)
    steps.step(plan)

    assert steps.queued == ids
    assert set(steps.states(plan).values()) == {RowState.DELIVERED}
    assert steps.run(plan).state is ReplayState.FINISHED


def test_a_step_of_an_old_turn_does_nothing(steps: Steps) -> None:
    """Its message was sent twice: the plan goes no faster for it."""
    _add_rows(steps.store, 3)
    plan = steps.plan(rate=2)
    steps.step(plan, 0)

    assert isinstance(steps.step(plan, 0), StepTaken)
    assert len(steps.queued) == 1


def test_an_outcome_that_is_faster_than_the_confirmation_stays(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may end the message before the step has written down that it is in the queue."""
    row_id = add(steps.store, a_record())
    plan, confirm = steps.plan(), step._confirm

    def late(*arguments: Any) -> object:
        steps.deliver(row_id)
        return confirm(*arguments)

    monkeypatch.setattr(step, "_confirm", late)
    steps.step(plan)

    assert steps.states(plan) == {row_id: RowState.DELIVERED}
    assert _letters(steps.store) == [(State.DELIVERED, 1)]


def test_a_redis_that_is_away_leaves_the_rows_dead(steps: Steps) -> None:
    """Nothing is marked that can't be sent; the plan goes on when it is back."""
    _add_rows(steps.store, 3)
    plan, there = steps.plan(), steps.client
    with redis.Redis(port=1) as nowhere:
        steps.client = nowhere
        with pytest.raises(redis.RedisError):
            steps.step(plan)
    assert _letters(steps.store) == [(State.DEAD, 0)] * 3

    steps.client = there
    steps.run(plan)

    assert steps.look(plan).progress == Progress(enqueued=3)


def test_a_redis_that_lost_everything_gets_the_unconfirmed_rows_again(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set of the rows that have gone is lost with their messages."""
    ids = _add_rows(steps.store, 3)
    plan = steps.plan()
    _kill_at(monkeypatch, "_confirm")
    with pytest.raises(KilledError):
        steps.step(plan)
    steps.client.flushall()

    steps.time += LEASE + timedelta(seconds=1)
    steps.run(plan)

    assert steps.queued == ids


def test_a_redis_that_refuses_takes_nothing_of_a_chunk(steps: Steps) -> None:
    """Neither a message nor its count nor the mark that it has gone; the next try does it all."""
    ids = _add_rows(steps.store, 3)
    plan = steps.plan()
    steps.client.set(LIST, "not a list")
    with pytest.raises(redis.ResponseError):
        steps.step(plan)
    assert steps.client.hget("feedback:counts", "accepted") == "0"

    steps.client.delete(LIST)
    steps.time += timedelta(seconds=6)
    steps.run(plan)

    assert steps.queued == ids
    assert steps.client.hget("feedback:counts", "accepted") == "3"


def test_rows_that_have_nothing_to_send_any_more_are_skipped(steps: Steps) -> None:
    """Discarded, deleted or delivered between the choice and their turn; or edited so that they make no event."""
    discarded, gone, delivered, broken, sound = _add_rows(steps.store, 5)
    plan = steps.plan()
    discard(steps.store.engine, replayable(Selection(ids=(discarded,))), comment="x", actor="test")
    with steps.store.engine.begin() as connection:
        connection.execute(delete(DeadLetter).where(DeadLetter.id == gone))
        connection.execute(update(DeadLetter).where(DeadLetter.id == broken).values(org=""))
    settle(steps.store, delivered, State.DELIVERED)

    steps.run(plan)

    assert steps.queued == [sound]
    found = {row.dead_letter_id: (row.state, row.comment) for row in rows(steps.store.engine, plan.id)}
    assert found[discarded] == (RowState.SKIPPED, "discarded meanwhile")
    assert found[gone] == (RowState.SKIPPED, "the dead letter is gone")
    assert found[delivered] == (RowState.SKIPPED, "delivered meanwhile")
    assert found[broken][0] is RowState.REFUSED
    assert found[broken][1].startswith("org is")


def test_discarded_rows_are_replayed_on_request(steps: Steps) -> None:
    """A discard can be taken back."""
    row_id = add(steps.store, a_record())
    settle(steps.store, row_id, State.DISCARDED)

    steps.run(steps.plan(Selection(states=(State.DISCARDED,))))

    assert steps.queued == [row_id]


def test_a_row_whose_message_redis_has_lost_is_replayed_on_request(steps: Steps) -> None:
    """After Redis came back empty no outcome will come: its plan is cancelled, and another takes it."""
    row_id = add(steps.store, a_record())
    plan = steps.plan()
    steps.run(plan)
    steps.client.flushall()
    cancel(steps.store.engine, plan.id, actor="test")

    steps.run(steps.plan(Selection(states=(State.REPLAYING,))))

    assert steps.queued == [row_id]
    assert _letters(steps.store) == [(State.REPLAYING, 2)]


# Another org or group


def _wires(steps: Steps) -> list[dict[str, str]]:
    return [json.loads(str(message["body"]))[1] for message in steps.messages]


@pytest.mark.parametrize("at", ["_carry_out", "_confirm"])
def test_an_edit_reaches_every_event_whatever_becomes_of_its_replay(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Scheduled, with a canary, paused, resumed and killed: the votes stay, and none goes as it had died."""
    events = [an_event(status=bool(number % 2), org=f"wrong-{number % 2}") for number in range(4)]
    ids = [add(steps.store, a_record(event)) for event in events]
    begins_at = steps.time + timedelta(hours=2)
    plan = steps.plan(canary=1, begins_at=begins_at, edit=Edit(org="right", group="its-group"))
    assert {row.org for row in rows_of(steps.store)} == {"wrong-0", "wrong-1"}  # nothing has gone yet
    assert actions(steps.store.engine)[0].details.items() >= {"set_org": "right", "set_group": "its-group"}.items()
    steps.time = begins_at
    steps.run(plan)
    assert len(steps.queued) == 1
    steps.deliver()
    pause(steps.store.engine, plan.id, actor="ann")
    steps.run(plan)
    resume(steps.store.engine, plan.id, actor="ann")

    _kill_at(monkeypatch, at)
    with pytest.raises(KilledError):
        steps.run(plan)
    steps.time += LEASE + timedelta(seconds=1)
    steps.run(plan)

    assert sorted(steps.queued, key=str) == sorted(ids, key=str)
    died = {event.request_id: event.to_wire() for event in events}
    edited = [died[wire["request_id"]] | {"org": "right", "group": "its-group"} for wire in _wires(steps)]
    assert _wires(steps) == edited
    for row, event in zip(rows_of(steps.store), events, strict=True):
        assert (row.org, row.group, row.original_org, row.original_group) == (
            *("right", "its-group"),
            *(event.org, event.group),
        )


def test_what_it_died_with_first_outlives_every_edit(steps: Steps) -> None:
    """An event that dies again is edited again; one that has the value already has nothing to keep."""
    record, right = a_record(an_event(org="wrong")), add(steps.store, a_record(an_event(org="right")))
    row_id = add(steps.store, record)
    for org in ("wrong too", "right"):
        plan = steps.plan(edit=Edit(org=org), selection=Selection(ids=(row_id,)))
        steps.run(plan)
        assert _wires(steps)[-1]["org"] == org
        steps.store.add(replace(record, dead_letter=row_id, replay=steps.envelopes[-1].replay))

    steps.run(steps.plan(edit=Edit(org="right")))
    assert [(row.org, row.original_org) for row in rows_of(steps.store)] == [("right", None), ("right", "wrong")]
    assert {wire["org"] for wire in _wires(steps)[-2:]} == {"right"}
    assert steps.queued[-2:].count(right) == 1


def test_blanks_at_the_end_are_a_change(steps: Steps) -> None:
    """Also to MariaDB, whose comparison passes over them: or the row would be sent with them the next time."""
    add(steps.store, a_record(an_event(org="acme ")))

    (edited,) = preview(steps.store.engine, EVERYTHING, edit=Edit(org="acme")).edited
    steps.run(steps.plan(edit=Edit(org="acme")))

    (row,) = rows_of(steps.store)
    assert (edited.rows, row.org, row.original_org, _wires(steps)[0]["org"]) == (1, "acme", "acme ", "acme")


def test_a_preview_says_how_many_rows_an_edit_changes(steps: Steps) -> None:
    """Those that have the value already are not among them; nothing is changed."""
    _add_rows(steps.store, 2)
    add(steps.store, a_record(an_event(org="org-2", group="group-2")))

    seen = preview(steps.store.engine, EVERYTHING, edit=Edit(org="org-2", group="group-3"))

    assert [each.to_record() for each in seen.edited] == [
        {"field": "org", "value": "org-2", "rows": 2},
        {"field": "group", "value": "group-3", "rows": 3},
    ]
    assert (seen.rows, sorted(row.org or "" for row in rows_of(steps.store))) == (3, ["org-1", "org-1", "org-2"])


@pytest.mark.parametrize(
    ("before", "org", "original"),
    [((), "wrong", None), ((Edit(),), "wrong", None), ((Edit(org="right"),), "right", "wrong")],
    ids=["first", "replayed as it was", "replayed with the same edit"],
)
def test_what_was_edited_and_never_went_is_as_it_was(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, before: tuple[Edit, ...], org: str, original: str | None
) -> None:
    """A row that went before with the same value keeps it: that is what it died with last."""
    record = a_record(an_event(org="wrong"))
    row_id = add(steps.store, record)
    for edit in before:
        steps.run(steps.plan(edit=edit))
        steps.store.add(replace(record, dead_letter=row_id, replay=steps.envelopes[-1].replay))
    plan = steps.plan(edit=Edit(org="right"))
    _kill_at(monkeypatch, "_carry_out")
    with pytest.raises(KilledError):
        steps.step(plan)
    assert row_of(steps.store, row_id).org == "right"
    cancel(steps.store.engine, plan.id, actor="ann")
    steps.time += LEASE + timedelta(seconds=1)
    steps.run(plan)

    row = row_of(steps.store, row_id)
    assert (row.state, row.org, row.original_org) == (State.DEAD, org, original)


# A time to begin


def test_a_scheduled_replay_begins_when_it_is_time(steps: Steps) -> None:
    """Not before, whatever looks at it; then it is overdue, as one whose message was lost, and a worker takes it up."""
    _add_rows(steps.store, 3)
    begins_at = (steps.time + timedelta(hours=2)).replace(microsecond=0)
    plan = steps.plan(begins_at=begins_at)
    assert (plan.begins_at, plan.is_scheduled, plan.state) == (begins_at, True, ReplayState.PLANNED)
    assert actions(steps.store.engine)[0].details["begins_at"] == begins_at.isoformat()
    with pytest.raises(NothingToReplay):  # its rows are chosen
        steps.plan()

    for early in (timedelta(), timedelta(minutes=119)):
        assert overdue(steps.store.engine, now=steps.time + early) == []
    done = steps.step(plan)
    assert isinstance(done, NextStep)
    assert not steps.queued

    assert overdue(steps.store.engine, now=begins_at + timedelta(seconds=4)) == [(plan.id, done.step_number)]
    steps.time = begins_at + timedelta(seconds=4)
    begun = steps.run(plan)
    assert (begun.state, begun.is_scheduled, len(steps.queued)) == (ReplayState.RUNNING, False, 3)


def test_a_scheduled_replay_can_be_paused_and_cancelled(steps: Steps) -> None:
    """Resumed, it waits for its time as before; cancelled, it leaves its rows to others."""
    _add_rows(steps.store, 1)
    plan = steps.plan(begins_at=steps.time + timedelta(hours=2))
    pause(steps.store.engine, plan.id, actor="ann")
    resume(steps.store.engine, plan.id, actor="ann")
    assert overdue(steps.store.engine, now=steps.time + timedelta(hours=1)) == []

    cancel(steps.store.engine, plan.id, actor="ann")

    steps.run(plan)
    assert not steps.queued
    assert steps.plan(Selection(rest_of=(plan.id,))).total == 1


def test_a_time_to_begin_says_of_which_zone_it_is(steps: Steps) -> None:
    """Else it would be another one on each machine."""
    _add_rows(steps.store, 1)
    with pytest.raises(ValueError, match="expected a time with an offset"):
        steps.plan(begins_at=datetime(2027, 1, 1))  # noqa: DTZ001 - that is the mistake
    assert not plans(steps.store.engine)


# The canary


def test_the_rest_waits_for_the_canaries(steps: Steps) -> None:
    """Only when all of them have their outcome it goes."""
    ids = _add_rows(steps.store, 5)
    plan = steps.plan(canary=2)

    assert steps.run(plan).state is ReplayState.CANARY
    assert steps.queued == ids[:2]
    steps.deliver(ids[0])
    steps.run(plan)
    assert steps.queued == ids[:2]
    steps.deliver(ids[1])

    assert steps.run(plan).state is ReplayState.RUNNING
    assert steps.queued == ids
    assert steps.look(plan).canary_passed_at is not None


def test_there_is_a_canary_for_each_cause(steps: Steps) -> None:
    """As far as they suffice: what is fixed for one cause may not be for another."""
    ids = [*_add_rows(steps.store, 3), *_add_rows(steps.store, 2, http_status=400, response_body="bad")]
    plan = steps.plan(canary=2)

    steps.run(plan)

    assert steps.queued == [ids[0], ids[3]]
    assert list(steps.states(plan)) == [ids[0], ids[3], ids[1], ids[2], ids[4]]


@pytest.mark.parametrize(
    ("answer", "comment"),
    [
        ("Request ID not found", "of the same cause: rejected 404: Request ID"),
        ("oops", "of another cause: rejected 404: oops"),
    ],
)
def test_a_canary_that_dies_again_stops_the_plan(steps: Steps, answer: str, comment: str) -> None:
    """The rest stays dead, and the plan says which canary it was and of what it died."""
    record = a_record()
    canary, *others = [add(steps.store, record), *_add_rows(steps.store, 2)]
    plan = steps.plan(canary=1)
    steps.run(plan)
    (envelope,) = steps.envelopes

    steps.store.add(replace(record, response_body=answer, dead_letter=canary, replay=envelope.replay))
    stopped = steps.run(plan)

    assert (stopped.state, stopped.progress) == (ReplayState.STOPPED, Progress(dead=1, waiting=2))
    assert stopped.stopped_because.startswith(f"row {canary}, a canary, died again, {comment}")
    assert steps.plan().total == 3, "its rows are free for another"
    assert [row_of(steps.store, row_id).state for row_id in others] == [State.DEAD] * 2


def test_canaries_that_prove_nothing_are_followed_by_others(steps: Steps) -> None:
    """Where each was discarded meanwhile, it is not known whether the cause is fixed."""
    ids = _add_rows(steps.store, 4)
    plan = steps.plan(canary=1)
    discard(steps.store.engine, replayable(Selection(ids=(ids[0],))), comment="x", actor="test")

    steps.run(plan)

    assert steps.queued == [ids[1]]
    assert steps.look(plan).state is ReplayState.CANARY


# The rate


@pytest.mark.parametrize(("rate", "first"), [(1, 1), (50, 25), (999, 60), (None, 60)])
def test_a_rate_does_not_begin_with_a_burst(steps: Steps, rate: float | None, first: int) -> None:
    """Half a second's worth at once is even enough."""
    _add_rows(steps.store, 60)
    plan = steps.plan(rate=rate)

    steps.step(plan)

    assert len(steps.queued) == first


def test_a_rate_is_kept(steps: Steps) -> None:
    """Eleven rows at ten a second: the last goes when those before it have had their second."""
    _add_rows(steps.store, 11)
    plan = steps.plan(rate=10)
    began = steps.time

    while len(steps.queued) < 11:
        steps.step(plan)

    (last, *_) = steps.client.lrange(LIST, 0, 0)
    enqueued_at = datetime.fromisoformat(json.loads(last)["headers"]["feedback"]["enqueued_at"])
    assert enqueued_at - began == timedelta(seconds=1)


def test_a_step_that_comes_too_soon_waits(steps: Steps) -> None:
    """It does nothing, and says how long to wait."""
    _add_rows(steps.store, 3)
    plan = steps.plan(rate=1)
    steps.step(plan)
    steps.time -= timedelta(seconds=0.6)

    done = steps.step(plan)

    assert done == NextStep(step_number=1, after=timedelta(seconds=0.6))
    assert len(steps.queued) == 1


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": float("inf")}, {"rate": float("nan")}, {"canary": -1}])
def test_a_rate_that_means_nothing_is_refused(steps: Steps, options: dict[str, Any]) -> None:
    """Before anything is written."""
    _add_rows(steps.store, 1)

    with pytest.raises(ValueError, match="expected 0"):
        steps.plan(**options)

    assert plans(steps.store.engine) == []


# Pause, resume, cancel


def test_a_paused_plan_waits_until_it_is_resumed(steps: Steps) -> None:
    """What went goes on; no more goes."""
    ids = _add_rows(steps.store, 3)
    plan = steps.plan(rate=2)
    steps.step(plan)

    paused = pause(steps.store.engine, plan.id, actor="ann", comment="lunch")
    assert isinstance(steps.step(plan), ReplayEnded)
    assert (paused.state, steps.queued) == (ReplayState.PAUSED, ids[:1])
    assert overdue(steps.store.engine, now=steps.time + timedelta(hours=1)) == []

    assert resume(steps.store.engine, plan.id, actor="ann").state is ReplayState.RUNNING
    assert overdue(steps.store.engine, now=steps.time) == [(plan.id, steps.look(plan).step_number)]
    steps.run(plan)
    assert steps.queued == ids


def test_a_plan_resumed_among_its_canaries_goes_on_with_them(steps: Steps) -> None:
    """A pause does not open the way for the rest."""
    _add_rows(steps.store, 3)
    plan = steps.plan(canary=1)
    steps.run(plan)
    pause(steps.store.engine, plan.id, actor="ann")

    assert resume(steps.store.engine, plan.id, actor="ann").state is ReplayState.CANARY


def test_a_cancelled_plan_sends_no_more_and_still_hears_of_what_went(steps: Steps) -> None:
    """The rest stays dead, and is free for another plan."""
    ids = _add_rows(steps.store, 3)
    plan = steps.plan(rate=2)
    steps.step(plan)

    cancel(steps.store.engine, plan.id, actor="ann")
    assert isinstance(steps.step(plan), ReplayEnded)
    steps.deliver()

    assert steps.queued == ids[:1]
    assert steps.look(plan).progress == Progress(delivered=1, waiting=2)
    assert _letters(steps.store) == [(State.DELIVERED, 1), (State.DEAD, 0), (State.DEAD, 0)]


@pytest.mark.parametrize(
    ("at", "letters", "progress"),
    [
        ("_carry_out", (State.DEAD, 0), Progress(waiting=2)),
        ("_confirm", (State.REPLAYING, 1), Progress(enqueued=2)),
    ],
    ids=["before it is enqueued", "after it is enqueued"],
)
def test_a_plan_cancelled_while_a_chunk_was_cut_short_asks_redis_which_rows_went(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, at: str, letters: tuple[State, int], progress: Progress
) -> None:
    """Those that went are awaited, the others are dead again; and a step that was frozen sends none of them later."""
    _add_rows(steps.store, 2)
    plan, carry_out, late = steps.plan(), step._carry_out, list[Any]()

    def killed(*arguments: Any) -> None:
        monkeypatch.undo()
        late.append(arguments)
        if at == "_confirm":
            carry_out(*arguments)
        raise KilledError

    monkeypatch.setattr(step, "_carry_out", killed)
    with pytest.raises(KilledError):
        steps.step(plan)
    cancel(steps.store.engine, plan.id, actor="ann")
    steps.time += LEASE + timedelta(seconds=1)

    assert isinstance(steps.step(plan), ReplayEnded)

    before = len(steps.queued)
    carry_out(*late[0])
    assert len(steps.queued) == before
    assert _letters(steps.store) == [letters] * 2
    assert steps.look(plan).progress == progress


def test_what_can_not_be_said_of_a_plan_is_refused_in_words(steps: Steps) -> None:
    """And writes nothing down."""
    _add_rows(steps.store, 1)
    plan = steps.plan()
    engine = steps.store.engine

    with pytest.raises(NotPossible, match=f"replay {plan.id} is planned: it can't be resumed"):
        resume(engine, plan.id, actor="ann")
    cancel(engine, plan.id, actor="ann")
    with pytest.raises(NotPossible, match="is cancelled: it can't be cancelled"):
        cancel(engine, plan.id, actor="ann")
    with pytest.raises(NoSuchReplay, match="there is no replay 999"):
        find(engine, 999)

    assert [action.action for action in actions(engine)] == ["replay.cancel", "replay.create"]


def test_who_did_what_and_why_is_written_down(steps: Steps) -> None:
    """With the plan it was done to; the latest first, page by page."""
    _add_rows(steps.store, 2)
    engine = steps.store.engine
    plan = create(engine, Selection(orgs=("org-1",)), actor="ann", comment="fixed", rate=5, canary=1)
    pause(engine, plan.id, actor="bob", comment="lunch")

    paused, created = actions(engine, target=f"replay {plan.id}")

    assert (created.actor, created.action, created.comment) == ("ann", "replay.create", "fixed")
    assert created.details == {"rows": 2, "rate": 5, "canary": 1, "selection": {"orgs": ["org-1"]}}
    assert (paused.actor, paused.action, paused.comment) == ("bob", "replay.pause", "lunch")
    assert actions(engine, limit=1) == [paused]
    assert actions(engine, before=paused.id) == [created]
    assert actions(engine, target="replay 999") == []


# No worker advances it


def test_a_plan_that_nobody_is_at_is_found_by_one(steps: Steps) -> None:
    """A new one at once; one whose message was lost when it is late; never two times for two who look."""
    _add_rows(steps.store, 3)
    engine, plan = steps.store.engine, steps.plan(rate=2)

    assert overdue(engine, now=steps.time) == [(plan.id, 0)]
    assert overdue(engine, now=steps.time) == []
    steps.step(plan)
    assert overdue(engine, now=steps.time + timedelta(seconds=2)) == [], "it is not late yet"
    assert overdue(engine, now=steps.time + timedelta(seconds=4)) == [(plan.id, 1)]
    assert overdue(engine, now=steps.time + timedelta(seconds=4)) == []


def test_a_plan_that_somebody_is_at_is_left_to_him(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its lease has ended: then he is taken for dead."""
    _add_rows(steps.store, 3)
    engine, plan = steps.store.engine, steps.plan()
    _kill_at(monkeypatch, "_confirm")
    with pytest.raises(KilledError):
        steps.step(plan)

    assert overdue(engine, now=steps.time + LEASE - timedelta(seconds=1)) == []
    assert overdue(engine, now=steps.time + LEASE + timedelta(seconds=1)) == [(plan.id, 0)]


def test_what_reconcile_puts_back_is_lost_to_its_plan(steps: Steps) -> None:
    """It is dead again, and the plan ends; should the message turn up after all, that outcome counts."""
    row_id = add(steps.store, a_record())
    plan = steps.plan()
    steps.run(plan)
    run = steps.envelopes[0].replay
    with steps.store.engine.begin() as connection:
        connection.execute(update(DeadLetter).values(last_replay_at=NOON))

    assert put_back_to_dead(steps.store.engine, replaying(steps.store.engine)) == [row_id]

    ended = steps.run(plan)
    assert (ended.state, ended.progress) == (ReplayState.FINISHED, Progress(lost=1))
    settle(steps.store, row_id, State.DELIVERED, replay=run)
    assert steps.look(plan).progress == Progress(delivered=1)


def test_reconcile_leaves_what_was_cut_short_to_its_plan(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan takes it up; put back, it would go twice."""
    add(steps.store, a_record())
    plan = steps.plan()
    _kill_at(monkeypatch, "_carry_out")
    with pytest.raises(KilledError):
        steps.step(plan)
    with steps.store.engine.begin() as connection:
        connection.execute(update(DeadLetter).values(last_replay_at=NOON))

    assert replaying(steps.store.engine) == set()


def test_an_outcome_of_another_plan_is_not_booked(steps: Steps) -> None:
    """A late message of a plan of before, or of a database that was restored, says nothing of this one."""
    row_id = add(steps.store, a_record())
    plan = steps.plan()
    steps.run(plan)

    settle(steps.store, row_id, State.DELIVERED, replay="0" * 32)

    assert steps.states(plan) == {row_id: RowState.ENQUEUED}


def test_a_dead_letter_tells_of_its_replays(steps: Steps) -> None:
    """The latest first."""
    row_id = add(steps.store, a_record())
    first = steps.plan()
    cancel(steps.store.engine, first.id, actor="test")
    second = steps.plan()
    steps.run(second)
    steps.deliver()

    found = [(one.replay_id, one.state) for one in replays_of(steps.store.engine, row_id)]

    assert found == [(second.id, RowState.DELIVERED), (first.id, RowState.WAITING)]


def test_plans_are_listed_the_latest_first(steps: Steps) -> None:
    """Page by page, and those that have not ended by themselves."""
    _add_rows(steps.store, 2)
    engine = steps.store.engine
    first, second = steps.plan(limit=1), steps.plan()
    cancel(engine, first.id, actor="test")

    assert [plan.id for plan in plans(engine)] == [second.id, first.id]
    assert [plan.id for plan in plans(engine, limit=1)] == [second.id]
    assert [plan.id for plan in plans(engine, before=second.id)] == [first.id]
    assert [plan.id for plan in plans(engine, active=True)] == [second.id]


def test_rows_are_shown_page_by_page(steps: Steps) -> None:
    """In the order in which they go, with what they died of."""
    ids = _add_rows(steps.store, 3)
    plan = steps.plan(canary=1)

    page = rows(steps.store.engine, plan.id, limit=2)
    rest = rows(steps.store.engine, plan.id, after=page[-1].position)

    assert [(row.dead_letter_id, row.is_canary) for row in (*page, *rest)] == list(
        zip(ids, (True, False, False), strict=True)
    )
    assert page[0].summary == "rejected 404: Request ID not found"


def test_a_hundred_thousand_rows_are_frozen_in_large_steps(steps: Steps) -> None:
    """A statement for thousands of rows, and not one for each: a web page waits for it."""
    _many(steps.store, 100_000)
    began = datetime.now(UTC)

    plan = steps.plan(canary=10)

    assert plan.total == 100_000
    assert datetime.now(UTC) - began < timedelta(seconds=30), "2 seconds, on a machine that has nothing else to do"


def _many(store: DeadLetterStore, number: int) -> None:
    """Copies of one row."""
    store.add(a_record())
    columns = (
        "request_id, status, org, org_group, occurred_at, reason, http_status, response_body, fingerprint, summary, "
        "attempts, first_enqueued_at, failed_at, state, comment, replay_count"
    )
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))  # no recursion: MariaDB bounds it
    tens = "a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d"
    tables = ", ".join(f"({digits}) {name}" for name in "abcef")
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO dead_letters (dedup_key, {columns}) "  # noqa: S608 - no foreign text
            f"SELECT CAST({tens} AS CHAR(20)), {columns} FROM dead_letters, {tables} WHERE {tens} < {number - 1}"
        )
