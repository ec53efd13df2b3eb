"""Causes as operators triage them, on every database: written down cheaply, never forgotten, and back when they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, event, update

from tests.support.dead_letter_records import a_record, an_event
from worker.database.audit_log import actions
from worker.database.cause_models import Cause, CauseState
from worker.database.models import DeadLetter, State
from worker.dead_letters.cause_sightings import QUIET, RecentSightings
from worker.dead_letters.causes import causes_over_time
from worker.dead_letters.discard import discard
from worker.dead_letters.group_commit import Insertion, commit
from worker.dead_letters.pruning import prune
from worker.dead_letters.selection import Selection
from worker.dead_letters.triage import NoSuchCause, Triage, triage_of
from worker.operations.cause_decisions import Verb, decide
from worker.operations.causes import Show, details_of, trend, triaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.dead_letters.store import DeadLetterStore

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
NOT_FOUND = "732a1c19a072"
"""The fingerprint of what `a_record` died of."""
DEAD = Selection(states=(State.DEAD,))


def die(engine: Engine, *ages: timedelta, recent: RecentSightings | None = None, **changes: Any) -> None:
    """Insert one dead letter of each age, all at once."""
    records = [a_record(failed_at=NOW - age, **changes) for age in ages]
    assert commit(engine, [Insertion(record) for record in records], recent=recent) == [True] * len(ages)


def known(store: DeadLetterStore, fingerprint: str = NOT_FOUND) -> Triage:
    """What is written down of a cause."""
    found = triage_of(store.engine, fingerprint)
    assert found is not None
    return found


def said(store: DeadLetterStore, verb: Verb, at: datetime = NOW, **given: Any) -> Triage:
    """Decide something of the cause."""
    return decide(store.engine, NOT_FOUND, verb, **({"actor": "ann"} | given), now=at)


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Yield the statements that touch the table of causes."""
    seen: list[str] = []

    def note(_1: object, _2: object, statement: str, *_rest: object) -> None:
        seen.extend([statement] if "dead_letter_causes" in statement else [])

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_when_a_cause_was_first_seen_outlives_its_rows(store: DeadLetterStore) -> None:
    """Discarded and pruned: what dies of it after that was known already."""
    die(store.engine, 120 * DAY, 3 * DAY)
    discard(store.engine, DEAD.clause(), comment="old", actor="ann")
    with store.engine.begin() as connection:
        connection.execute(update(DeadLetter).values(resolved_at=NOW - 100 * DAY, failed_at=NOW - 110 * DAY))
    assert prune(store.engine, NOW - 90 * DAY).dead_letters == 2

    die(store.engine, timedelta())

    (cause,) = triaged(store.engine, DEAD, now=NOW).causes
    assert (cause.triage.first_seen_at, cause.triage.last_seen_at) == (NOW - 120 * DAY, NOW)
    assert not cause.is_new
    assert cause.count.first_failed_at == NOW


def test_a_storm_of_one_cause_writes_it_down_once_a_minute(store: DeadLetterStore) -> None:
    """Groups within the minute carry out no statement for it; another cause is written down at once."""
    clock = [0.0]
    recent = RecentSightings(clock=lambda: clock[0])
    die(store.engine, DAY, timedelta(), 2 * DAY, recent=recent)
    assert (known(store).first_seen_at, known(store).last_seen_at) == (NOW - 2 * DAY, NOW)

    clock[0] = 59
    with statements(store.engine) as seen:
        die(store.engine, -timedelta(seconds=59), recent=recent)
        assert not seen
        die(store.engine, timedelta(), recent=recent, response_body="Another cause")
        assert seen

    clock[0] = 60
    die(store.engine, -timedelta(minutes=1), recent=recent)
    assert known(store).last_seen_at == NOW + timedelta(minutes=1)


def test_a_group_that_is_not_committed_leaves_its_cause_to_the_next(store: DeadLetterStore) -> None:
    """Else nothing would write it down for a minute."""
    recent = RecentSightings()
    refused = Insertion(a_record(attempts=10**30))
    assert isinstance(commit(store.engine, [refused], recent=recent)[0], Exception)
    assert triage_of(store.engine, NOT_FOUND) is None

    die(store.engine, timedelta(), recent=recent)

    assert known(store).first_seen_at == NOW


def test_processes_that_meet_the_same_new_causes_do_not_disturb_each_other(store: DeadLetterStore) -> None:
    """Each inserts ten, in its own order, at the same time."""
    barrier = Barrier(2)

    def insert(numbers: list[int]) -> list[bool | Exception]:
        names = ["abcdefghij"[number] * 3 for number in numbers]
        barrier.wait()
        return commit(store.engine, [Insertion(a_record(an_event(), response_body=name)) for name in names])

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(insert, [list(range(10)), list(reversed(range(10)))]))

    assert both == [[True] * 10] * 2
    assert len(triaged(store.engine, DEAD, now=NOW).causes) == 10


@pytest.mark.parametrize("written_down", [True, False], ids=["written down", "within the minute"])
def test_a_resolved_cause_of_which_more_dies_has_come_back(store: DeadLetterStore, *, written_down: bool) -> None:
    """Also within the minute in which no process writes it down: then its rows tell."""
    recent = RecentSightings()
    die(store.engine, 3 * DAY, recent=recent)
    said(store, Verb.RESOLVE, NOW - 2 * DAY, comment="fixed in 1.2")
    (resolved,) = triaged(store.engine, DEAD, now=NOW).causes
    assert (resolved.triage.state, resolved.triage.came_back) == (CauseState.RESOLVED, False)

    die(store.engine, DAY / 2, recent=None if written_down else recent)

    assert (known(store).state is CauseState.OPEN) is written_down
    (cause,) = triaged(store.engine, DEAD, show=Show.NEW, now=NOW).causes
    assert (cause.triage.came_back, cause.triage.returned_at) == (True, NOW - DAY / 2)
    assert said(store, Verb.ACKNOWLEDGE).came_back is False
    assert details_of(store.engine, NOT_FOUND, now=NOW).triage.state is CauseState.ACKNOWLEDGED


def test_what_died_before_it_was_resolved_does_not_bring_it_back(store: DeadLetterStore) -> None:
    """A worker may insert it after that."""
    die(store.engine, 3 * DAY)
    said(store, Verb.RESOLVE, NOW - DAY)

    die(store.engine, 2 * DAY)

    assert known(store).state is CauseState.RESOLVED
    assert not triaged(store.engine, DEAD, show=Show.NEW, now=NOW).causes


def test_a_cause_that_was_quiet_has_come_back(store: DeadLetterStore) -> None:
    """Acknowledged or not: what was decided was about another time."""
    die(store.engine, QUIET + 2 * DAY)
    said(store, Verb.ACKNOWLEDGE, NOW - QUIET - DAY)

    die(store.engine, DAY)

    assert (known(store).came_back, known(store).state) == (True, CauseState.OPEN)


def test_an_acknowledged_cause_stays_so_while_it_goes_on(store: DeadLetterStore) -> None:
    """It is known that it goes on."""
    die(store.engine, 3 * DAY)
    said(store, Verb.ACKNOWLEDGE, NOW - 2 * DAY)
    die(store.engine, timedelta())
    assert known(store).state is CauseState.ACKNOWLEDGED
    assert not known(store).is_new(NOW)


def test_a_mute_ends_by_itself(store: DeadLetterStore) -> None:
    """Until then lists leave it out, and the notifier is told so."""
    die(store.engine, timedelta())
    until = NOW + timedelta(hours=4)
    assert said(store, Verb.MUTE, value="4h").muted_until == until

    for at, muted in ((NOW, True), (until - timedelta(seconds=1), True), (until, False)):
        assert _is_muted(store, at) is muted
        found = triaged(store.engine, DEAD, now=at)
        assert (len(found.causes), found.numbers[Show.MUTED]) == ((0, 1) if muted else (1, 0))
        assert len(triaged(store.engine, DEAD, show=Show.ANY, now=at).causes) == 1
    said(store, Verb.UNMUTE)
    assert not _is_muted(store, NOW)


def _is_muted(store: DeadLetterStore, at: datetime) -> bool:
    decided = triage_of(store.engine, NOT_FOUND)
    return decided is not None and decided.is_muted(at)


def test_new_causes_come_first_then_the_unacknowledged_then_the_rest(store: DeadLetterStore) -> None:
    """Among equals the most frequent one."""
    die(store.engine, 3 * DAY, 3 * DAY, 3 * DAY)
    die(store.engine, 3 * DAY, 3 * DAY, response_body="open")
    die(store.engine, 3 * DAY, response_body="rarer")
    die(store.engine, DAY / 2, response_body="new")
    said(store, Verb.ACKNOWLEDGE)

    found = triaged(store.engine, DEAD, now=NOW)

    assert [cause.count.summary.rpartition(" ")[2] for cause in found.causes] == ["new", "open", "rarer", "found"]
    assert [found.numbers[show] for show in (Show.UNMUTED, Show.NEW, Show.UNACKNOWLEDGED)] == [4, 1, 3]


def test_a_cause_is_not_new_because_its_latest_rows_were_asked_for(store: DeadLetterStore) -> None:
    """An older release had inserted the others, and written no cause down."""
    die(store.engine, 3 * DAY, timedelta(minutes=5))
    with store.engine.begin() as connection:
        connection.execute(update(Cause).values(first_seen_at=NOW - timedelta(minutes=5)))

    for selection in (DEAD, replace(DEAD, since=NOW - timedelta(hours=1))):
        found = triaged(store.engine, selection, now=NOW)
        assert (found.numbers[Show.NEW], found.numbers[Show.UNMUTED]) == (0, 1)
        assert found.causes[0].triage.first_seen_at == NOW - 3 * DAY


@pytest.mark.parametrize(
    ("last", "before", "told"),
    [
        (0, 0, "none within 48 hours"),
        (7, 7, "steady: 7 within 24 hours, as before"),
        (1, 0, "1 within 24 hours, 0 in the 24 before"),
        (110, 90, "steady: 110 within 24 hours, 90 in the 24 before"),
        (5, 0, "rising: 5 within 24 hours, 0 in the 24 before"),
        (1_100, 900, "rising: 1,100 within 24 hours, 900 in the 24 before"),
        (0, 5, "falling: 0 within 24 hours, 5 in the 24 before"),
    ],
)
def test_a_trend_is_more_than_chance(last: int, before: int, told: str) -> None:
    """One death more or less is none."""
    assert trend(last, before) == told


def test_every_change_is_in_the_audit_log(store: DeadLetterStore) -> None:
    """In the transaction of the change; a note is there alone."""
    die(store.engine, timedelta())
    said(store, Verb.ASSIGN, value="bob")
    said(store, Verb.RUNBOOK, value="https://wiki.example.com/404")
    said(store, Verb.NOTE, comment="seen before")
    with pytest.raises(NoSuchCause):
        decide(store.engine, "000000000000", Verb.RESOLVE, actor="ann", now=NOW)

    done = actions(store.engine)

    assert {each.target for each in done} == {f"cause {NOT_FOUND}"}
    assert [(each.action, each.comment, dict(each.details)) for each in done] == [
        ("cause.note", "seen before", {}),
        ("cause.runbook", "", {"url": "https://wiki.example.com/404"}),
        ("cause.assign", "", {"owner": "bob"}),
    ]
    details = details_of(store.engine, NOT_FOUND, now=NOW)
    assert [each.id for each in details.history] == [each.id for each in done]
    assert (details.triage.owner, details.triage.runbook_url) == ("bob", "https://wiki.example.com/404")


def test_rows_of_an_older_release_make_a_cause(store: DeadLetterStore) -> None:
    """It writes none down: it is listed by its rows, and a decision writes it down."""
    die(store.engine, 3 * DAY, timedelta())
    with store.engine.begin() as connection:
        connection.execute(delete(Cause))

    (cause,) = triaged(store.engine, DEAD, now=NOW).causes
    assert cause.triage.first_seen_at == NOW - 3 * DAY
    said(store, Verb.ACKNOWLEDGE)

    assert (known(store).first_seen_at, known(store).state) == (NOW - 3 * DAY, CauseState.ACKNOWLEDGED)


def test_the_last_day_is_counted_beside_the_one_before(store: DeadLetterStore) -> None:
    """Alike by each way of counting: of few rows, and by the ranges of an index, whatever the stretches are."""
    ages = [0.1, 0.5, 0.9, 0.999, 1.001, 1.5, 1.999, 2.001, 2.5]
    for oldest in (3, 40, 400):
        die(store.engine, *(age * DAY for age in [*ages, oldest]))
        few, many = (causes_over_time(store.engine, DEAD, few=number, now=NOW) for number in (2_000, 0))
        assert few == many
        (cause,) = many.causes
        assert (cause.last_day, cause.day_before) == (4, 3)
        later = causes_over_time(store.engine, DEAD, few=0, now=NOW + 3 * DAY).causes[0]
        assert (later.last_day, later.day_before) == (0, 0)
        with store.engine.begin() as connection:
            connection.execute(delete(DeadLetter))


def test_a_cause_is_forgotten_a_year_after_its_rows(store: DeadLetterStore) -> None:
    """Unless an operator has decided anything of it."""
    die(store.engine, 500 * DAY)
    die(store.engine, 500 * DAY, response_body="forgotten")
    die(store.engine, 500 * DAY, response_body="still dead")
    said(store, Verb.RESOLVE, NOW - 499 * DAY)
    with store.engine.begin() as connection:
        connection.execute(delete(DeadLetter).where(DeadLetter.response_body != "still dead"))

    prune(store.engine, NOW - 90 * DAY)
    left = _fingerprints(store)

    assert len(left) == 2
    assert NOT_FOUND in left


def _fingerprints(store: DeadLetterStore) -> list[str]:
    with store.engine.connect() as connection:
        return [row.fingerprint for row in connection.execute(Cause.__table__.select())]


@pytest.mark.parametrize(
    ("verb", "value", "expected"),
    [
        (Verb.MUTE, "", "until is"),
        (Verb.MUTE, "2020-01-01", "a time to come"),
        (Verb.MUTE, "400d", "within 366 days"),
        (Verb.MUTE, "999999w", "expected a time"),
        (Verb.ASSIGN, "x" * 129, "at most 128 characters"),
        (Verb.ASSIGN, "a\nb", "control characters"),
        (Verb.RUNBOOK, "javascript:alert(1)", "http or https"),
        (Verb.RUNBOOK, "https://", "http or https"),
        (Verb.RUNBOOK, "https://[", "http or https"),
        (Verb.RUNBOOK, "https://ann:secret@wiki.example.com", "without them"),
        (Verb.RUNBOOK, "https://x/" + "y" * 500, "at most 500"),
        (Verb.NOTE, "", "the text of the note"),
    ],
)
def test_what_can_not_be_read_is_refused(sqlite_store: DeadLetterStore, verb: Verb, value: str, expected: str) -> None:
    """With the field's name and what is expected; nothing is changed, and no secret is repeated."""
    die(sqlite_store.engine, timedelta())
    with pytest.raises(ValueError, match=expected) as caught:
        said(sqlite_store, verb, value=value)
    assert "secret" not in str(caught.value)
    assert not actions(sqlite_store.engine)
