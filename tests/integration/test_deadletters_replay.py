"""Replay on real databases: what is cut short is finished, what is enqueued twice is delivered once."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text, update

from producer.errors import BrokerUnavailable, EnqueueUncertain
from tests.burials import NOON, REQUEST_ID, a_burial, an_event, bury, row_of, rows_of, settle
from worker.deadletters import (
    Burial,
    DeadLetter,
    DeadLetterStore,
    DeadLetterStoreUnavailable,
    State,
    key_of_raw,
)
from worker.deadletters.discard import discard
from worker.deadletters.reading import count_by_cause, find, newest, stream
from worker.deadletters.replay import Replay, Report, plan
from worker.deadletters.selection import Selection, replayable
from worker.policy.journey import Journey
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from producer import FeedbackEvent

EVERYTHING = Selection()
_NEVER = datetime.max.replace(tzinfo=UTC)


class Queue:
    """A queue that tells what it was given, after doing what a test asks of it first."""

    def __init__(self, *first: Callable[[], object] | Exception) -> None:
        self.messages: list[dict[str, object]] = []
        self._first = list(first)

    def enqueue_messages(self, messages: Sequence[bytes], *, events: Sequence[FeedbackEvent] = ()) -> None:
        """Take messages, unless it is asked to do something else first."""
        assert len(messages) == len(events)
        if self._first:
            action = self._first.pop(0)
            if isinstance(action, Exception):
                raise action
            action()
        self.messages += map(json.loads, messages)

    @property
    def journeys(self) -> list[Journey]:
        """What a worker reads from the messages' headers."""
        return [
            Journey.from_header(message["headers"]["feedback"], message_id="tag", received_at=_NEVER)  # type: ignore[index] # JSON
            for message in self.messages
        ]

    @property
    def dead_letters(self) -> list[int | None]:
        """The rows that the messages are of."""
        return [journey.dead_letter for journey in self.journeys]


class KilledError(BaseException):
    """Stands for kill -9: nothing after it runs."""


def _killed() -> None:
    raise KilledError


def _replay(store: DeadLetterStore, queue: Queue, selection: Selection = EVERYTHING, **options: object) -> Report:
    limit = options.pop("limit", None)
    planned = plan(store.engine, selection, limit=limit)  # type: ignore[arg-type] # a test's own options
    return Replay(store.engine, queue, **options).run(planned.which, limit=limit)  # type: ignore[arg-type] # likewise


def _states(store: DeadLetterStore) -> list[tuple[State, int]]:
    return [(row.state, row.replay_count) for row in rows_of(store)]


def test_a_replay_is_a_new_journey_of_the_same_event(store: DeadLetterStore) -> None:
    """The event is word for word the one that died; its attempts and its horizon begin anew."""
    event = an_event(request_id=REQUEST_ID, status=False)
    row_id = bury(store, a_burial(event, reason=Reason.EXHAUSTED, attempts=60, first_enqueued_at=NOON))
    queue, before = Queue(), datetime.now(UTC)

    report = _replay(store, queue)

    (message,), (journey,) = queue.messages, queue.journeys
    assert json.loads(b64decode(str(message["body"])))[1] == event.to_wire()
    assert (journey.attempts, journey.dead_letter) == (0, row_id)
    assert before <= journey.enqueued_at <= datetime.now(UTC)
    assert report == Report(enqueued=1)


def test_a_replayed_row_is_on_its_way_until_its_outcome_comes(store: DeadLetterStore) -> None:
    """It is counted and timed, and keeps its first enqueue."""
    row_id = bury(store, a_burial())

    _replay(store, Queue())

    row = row_of(store, row_id)
    assert (row.state, row.replay_count, row.first_enqueued_at) == (State.REPLAYING, 1, NOON)
    assert row.last_replay_at is not None
    assert row.replay_enqueued_at is not None


def test_a_row_that_is_on_its_way_is_not_replayed_again(store: DeadLetterStore) -> None:
    """A second run right after the first finds nothing to do."""
    store.bury(a_burial())
    _replay(store, Queue())
    queue = Queue()

    assert _replay(store, queue) == Report()
    assert queue.messages == []


def test_a_row_whose_event_the_broker_has_lost_is_replayed_on_request(store: DeadLetterStore) -> None:
    """After Redis came back empty, no outcome will come: the operator names the state."""
    row_id = bury(store, a_burial())
    _replay(store, Queue())
    queue = Queue()

    _replay(store, queue, Selection(states=(State.REPLAYING,)))

    assert queue.dead_letters == [row_id]
    assert _states(store) == [(State.REPLAYING, 2)]


def test_a_kill_before_the_enqueue_loses_nothing(store: DeadLetterStore) -> None:
    """The rows are marked, and nobody knows whether their events are in the queue: the next run takes them."""
    ids = [bury(store, a_burial()) for _ in range(3)]
    with pytest.raises(KilledError):
        _replay(store, Queue(_killed))
    queue = Queue()

    report = _replay(store, queue)

    assert queue.dead_letters == ids
    assert report.enqueued == 3
    assert _states(store) == [(State.REPLAYING, 1)] * 3, "finishing a replay is no second one"


@pytest.mark.parametrize("state", [State.DEAD, State.DISCARDED])
def test_the_same_command_finishes_what_was_cut_short(store: DeadLetterStore, state: State) -> None:
    """Also one that names the state that the rows had before: they are marked now, and have it no longer."""
    row_id = bury(store, a_burial(an_event(org="org-2")))
    if state is State.DISCARDED:
        settle(store, row_id, state)
    selection = Selection(states=(state,), orgs=("org-2",))
    with pytest.raises(KilledError):
        _replay(store, Queue(_killed), selection)
    queue = Queue()

    _replay(store, queue, replace(selection, orgs=("org-1",)))
    _replay(store, queue, selection)

    assert queue.dead_letters == [row_id]


def test_a_kill_after_the_enqueue_enqueues_again(store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice in the queue is once at AquilaX; not at all would be a loss."""
    row_id = bury(store, a_burial())
    queue = Queue()

    run = Replay(store.engine, queue)
    monkeypatch.setattr(run, "_change", lambda *_: _killed())  # the instant between two steps
    with pytest.raises(KilledError):
        run.run(plan(store.engine, EVERYTHING).which)
    _replay(store, queue)

    assert queue.dead_letters == [row_id, row_id]
    assert _states(store) == [(State.REPLAYING, 1)]


def test_a_broker_that_is_away_leaves_the_rows_dead(store: DeadLetterStore) -> None:
    """Nothing was sent, so nothing was replayed, and the run says why it stopped."""
    for _ in range(3):
        store.bury(a_burial())

    away = BrokerUnavailable("connection refused")

    report = _replay(store, Queue(away))

    assert report == Report(failure=away)
    assert _states(store) == [(State.DEAD, 0)] * 3


def test_a_broker_that_is_away_leaves_a_discarded_row_discarded(store: DeadLetterStore) -> None:
    """An operator's word is not unsaid by a replay that did not happen; the same command finds the row again."""
    row_id = bury(store, a_burial())
    settle(store, row_id, State.DISCARDED)
    before = row_of(store, row_id)
    discarded = Selection(states=(State.DISCARDED,))

    _replay(store, Queue(BrokerUnavailable("connection refused")), discarded)

    after = row_of(store, row_id)
    assert (after.state, after.settled_at, after.replay_count) == (State.DISCARDED, before.settled_at, 0)
    assert plan(store.engine, discarded).rows == 1


def test_a_broker_that_is_away_leaves_what_was_cut_short_marked(store: DeadLetterStore) -> None:
    """Its event may be in the queue all the same, from the run before."""
    store.bury(a_burial())
    with pytest.raises(KilledError):
        _replay(store, Queue(_killed))

    _replay(store, Queue(BrokerUnavailable("connection refused")))

    assert _states(store) == [(State.REPLAYING, 1)]
    assert plan(store.engine, EVERYTHING).rows == 1


def test_a_database_that_goes_away_ends_the_run_and_loses_nothing(store: DeadLetterStore) -> None:
    """What was done before is told; the chunk at hand is in the queue and not confirmed, so the next run takes it."""
    first, second, third = (bury(store, a_burial()) for _ in range(3))
    queue = Queue(lambda: None, lambda: _rename(store, "dead_letters", "away"))

    report = _replay(store, queue, rate=1.9)

    assert report.enqueued == 1
    assert isinstance(report.failure, DeadLetterStoreUnavailable)
    _rename(store, "away", "dead_letters")
    assert _replay(store, queue).enqueued == 2
    assert queue.dead_letters == [first, second, second, third]


def test_an_uncertain_answer_is_asked_for_again(store: DeadLetterStore) -> None:
    """The chunk is enqueued once more: what Redis took twice is delivered once."""
    row_id = bury(store, a_burial())
    queue = Queue(EnqueueUncertain("no reply"), EnqueueUncertain("no reply"))

    assert _replay(store, queue) == Report(enqueued=1)
    assert queue.dead_letters == [row_id]


def test_after_many_uncertain_answers_the_rows_are_left_for_the_next_run(store: DeadLetterStore) -> None:
    """They may be in the queue, so they are not dead; they are not confirmed, so the next run takes them."""
    store.bury(a_burial())

    uncertain = EnqueueUncertain("no reply")

    report = _replay(store, Queue(*[uncertain] * 3))

    assert report == Report(failure=uncertain)
    assert _states(store) == [(State.REPLAYING, 1)]
    assert _replay(store, Queue()) == Report(enqueued=1)


def test_an_outcome_that_is_faster_than_the_confirmation_stays(store: DeadLetterStore) -> None:
    """A worker may deliver the event, or bury it, before the replay has written its time of enqueue."""
    delivered, dead = a_burial(), a_burial()
    delivered_id, dead_id = bury(store, delivered), bury(store, dead)

    def outcomes() -> None:
        settle(store, delivered_id, State.DELIVERED)
        store.bury(replace(dead, dead_letter=dead_id))

    _replay(store, Queue(outcomes))

    assert _states(store) == [(State.DELIVERED, 1), (State.DEAD, 1)]


def test_an_event_that_dies_again_is_not_replayed_twice_in_one_run(store: DeadLetterStore) -> None:
    """Each row has its turn once: a run over rows that die at once still ends."""
    burials = {bury(store, burial): burial for burial in (a_burial() for _ in range(3))}
    queue = Queue()

    def dies(done: int) -> None:
        row_id = queue.dead_letters[done - 1]
        assert row_id is not None
        store.bury(replace(burials[row_id], dead_letter=row_id))

    Replay(store.engine, queue, rate=1000).run(plan(store.engine, EVERYTHING).which, progress=dies)

    assert queue.dead_letters == list(burials)


def test_an_invalid_message_can_not_be_replayed(store: DeadLetterStore) -> None:
    """It holds no event; the plan counts it apart."""
    store.bury(_invalid())
    store.bury(a_burial())

    planned = plan(store.engine, EVERYTHING)
    report = _replay(store, Queue())

    assert (planned.rows, planned.invalid) == (1, 1)
    assert report == Report(enqueued=1)
    assert _states(store)[0] == (State.DEAD, 0)


def _rename(store: DeadLetterStore, old: str, new: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def _invalid() -> Burial:
    return replace(a_burial(), event=None, event_key=key_of_raw(b"\xff"), reason=Reason.INVALID, raw=b"\xff")


def test_a_row_that_makes_no_event_is_reported_and_the_rest_goes_on(store: DeadLetterStore) -> None:
    """Somebody mended a row by hand, and broke it."""
    broken, sound = bury(store, a_burial()), bury(store, a_burial())
    with store.engine.begin() as connection:
        connection.execute(update(DeadLetter).where(DeadLetter.id == broken).values(org=""))
    queue = Queue()

    report = _replay(store, queue)

    assert queue.dead_letters == [sound]
    assert report.enqueued == 1
    assert report.refused[0].startswith(f"dead letter {broken}: org is")
    assert _states(store)[0] == (State.DEAD, 0)


def test_a_limit_takes_the_oldest_rows(store: DeadLetterStore) -> None:
    """And no more than that, also over several chunks."""
    ids = [bury(store, a_burial()) for _ in range(5)]
    queue = Queue()

    _replay(store, queue, limit=3, rate=2000)

    assert queue.dead_letters == ids[:3]


def test_more_rows_than_one_chunk_holds_are_all_replayed(store: DeadLetterStore) -> None:
    """Chunk by chunk, each row once."""
    ids = [bury(store, a_burial()) for _ in range(250)]
    queue = Queue()

    assert _replay(store, queue).enqueued == 250
    assert queue.dead_letters == ids


def test_a_run_that_is_asked_to_stop_ends_after_its_chunk(store: DeadLetterStore) -> None:
    """What it has begun it finishes; the rest is for the next run."""
    for _ in range(3):
        store.bury(a_burial())
    stop = Event()

    report = _replay(store, Queue(stop.set), rate=1, stop=stop)

    assert report == Report(enqueued=1, interrupted=True)
    assert _states(store) == [(State.REPLAYING, 1), (State.DEAD, 0), (State.DEAD, 0)]


def test_a_rate_is_not_exceeded(store: DeadLetterStore) -> None:
    """Eleven events at ten a second: the last one may begin when the ten before it have had their second."""
    for _ in range(11):
        store.bury(a_burial())
    started = datetime.now(UTC)

    _replay(store, Queue(), rate=10)

    assert datetime.now(UTC) - started >= timedelta(seconds=1)


@pytest.mark.parametrize(("rate", "first"), [(1, 1), (50, 5), (999, 60), (None, 60)])
def test_a_rate_does_not_begin_with_a_burst(store: DeadLetterStore, rate: float | None, first: int) -> None:
    """A tenth of a second's worth at once is even enough; without a rate a chunk is as large as it may be."""
    for _ in range(60):
        store.bury(a_burial())
    stop = Event()

    assert _replay(store, Queue(stop.set), rate=rate, stop=stop).enqueued == first


def test_two_runs_at_once_lose_nothing(store: DeadLetterStore) -> None:
    """Two operators replay the same rows: each row is enqueued, and counted once where one run had it."""
    store.bury(a_burial())
    second = Queue()

    _replay(store, Queue(lambda: _replay(store, second)))

    assert len(second.messages) == 1
    assert _states(store) == [(State.REPLAYING, 1)]


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), [1, 2, 3]),
        (Selection(ids=(1, 3)), [1, 3]),
        (Selection(orgs=("org-2",)), [2]),
        (Selection(groups=("group-3", "group-2")), [3]),
        (Selection(reasons=(Reason.EXHAUSTED,)), [2]),
        (Selection(http_statuses=(503, 403)), [2]),
        (Selection(request_ids=(REQUEST_ID,)), [1]),
        (Selection(since=NOON + timedelta(hours=1)), [2, 3]),
        (Selection(until=NOON + timedelta(hours=1)), [1]),
        (Selection(states=(State.DISCARDED,)), [3]),
        (Selection(causes=("732a1c19a072",)), [1, 3]),
        (Selection(causes=("732a1c19a072",), orgs=("org-2",)), []),
    ],
)
def test_filters_choose_the_rows_that_fit_all_of_them(
    store: DeadLetterStore, selection: Selection, found: list[int]
) -> None:
    """Any of the values of one filter, and every filter."""
    store.bury(a_burial(an_event(request_id=REQUEST_ID)))
    store.bury(
        a_burial(an_event(org="org-2"), reason=Reason.EXHAUSTED, http_status=503, died_at=NOON + timedelta(hours=1))
    )
    third = bury(store, a_burial(an_event(group="group-3"), died_at=NOON + timedelta(hours=2)))
    settle(store, third, State.DISCARDED)

    pages = stream(store.engine, selection.clause(), page=1)

    assert [row.id for page in pages for row in page] == found
    assert [row.id for row in newest(store.engine, selection.clause(), 10)] == found[::-1]


def test_causes_are_counted_the_most_frequent_first(store: DeadLetterStore) -> None:
    """What to mend first at 3 a.m."""
    store.bury(a_burial(answer="boom 1", http_status=400))
    for hour in (1, 2):
        store.bury(a_burial(answer=f"job {hour} not found", died_at=NOON + timedelta(hours=hour)))

    first, second = count_by_cause(store.engine, EVERYTHING.clause())

    assert (first.cause_line, first.rows) == ("rejected 404: job <n> not found", 2)
    assert (first.first_died_at, first.last_died_at) == (NOON + timedelta(hours=1), NOON + timedelta(hours=2))
    assert (second.cause_line, second.rows) == ("rejected 400: boom <n>", 1)


def test_a_dead_letter_is_found_by_its_id_and_by_its_request_id(store: DeadLetterStore) -> None:
    """Whichever the operator has at hand."""
    row_id = bury(store, a_burial(an_event(request_id=REQUEST_ID)))

    for name in (str(row_id), REQUEST_ID, REQUEST_ID.upper()):
        assert [row.id for row in find(store.engine, name)] == [row_id]
    for name in ("4711", "9" * 40, "nonsense"):
        assert find(store.engine, name) == []


def test_discarded_rows_say_why_and_are_not_replayed(store: DeadLetterStore) -> None:
    """Unless they are asked for by their state: a discard can be taken back."""
    ids = [bury(store, a_burial()) for _ in range(3)]
    which = replayable(Selection(ids=tuple(ids[:2])))

    assert discard(store.engine, which, note="load test") == 2

    queue = Queue()
    _replay(store, queue)
    _replay(store, queue, Selection(states=(State.DISCARDED,)))
    assert [row.note for row in rows_of(store)] == ["load test", "load test", ""]
    assert queue.dead_letters == [ids[2], ids[0], ids[1]]


def test_a_delivered_row_is_never_taken(store: DeadLetterStore) -> None:
    """Not even on request: AquilaX has it."""
    settle(store, bury(store, a_burial()), State.DELIVERED)

    assert plan(store.engine, Selection(states=(State.DELIVERED,))).rows == 0
