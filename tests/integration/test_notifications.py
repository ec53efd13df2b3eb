"""The whole fleet tells once what needs attention: by real rounds over a real Redis and a real database."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import update

from tests.support.commands import command, record_of, succeed
from tests.support.dead_letter_records import a_record, add, an_event
from tests.support.plans import Steps
from tests.support.processes import eventually
from tests.support.receivers import http_receiver
from worker.accounting.continuity import record
from worker.clients.redis.keys import FeedbackKeys
from worker.database.models import DeadLetter
from worker.database.replay_models import Replay, ReplayState
from worker.database.schema import checked_engine
from worker.dead_letters.new_causes import new_causes
from worker.dead_letters.replays.stopped import stopped_replays
from worker.dead_letters.triage import change
from worker.delivery.hold import Hold
from worker.delivery.org_holds import OrgHolds, org_scope
from worker.notifications import outbox
from worker.notifications.metrics import OfNotifications
from worker.notifications.notifier import PERIOD, Notifier
from worker.notifications.store import NotifierStore
from worker.observability.redaction import secrets_of
from worker.operations.doctor.finding import Level
from worker.operations.doctor.notifications import look_at_notifications
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason
from worker.runtime import notifications as notifications_step
from worker.runtime.notifications import Notifications
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis
    from sqlalchemy import Engine

    from tests.support.places import Places
    from tests.support.receivers import HttpReceiver
    from worker.clients.redis.partitions import Partitions
    from worker.dead_letters.store import DeadLetterStore
    from worker.notifications.rendering import Rendered
    from worker.policy.notification_receiver import Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "T0K3N-0f-the-receiver"
URLS = f"json://me:{TOKEN}@127.0.0.1:1/ webhook+https://127.0.0.1:1/{TOKEN}"

pytestmark = pytest.mark.usefixtures("keys_are_declared")


class Phone:
    """What sends, without a process: keeps the texts that came through."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Rendered]] = []
        self.problems: dict[str, list[str]] = {}
        """Of the next attempts of a receiver; none after these."""

    def __call__(self, receiver: Receiver, message: Rendered, *, keys: Sequence[bytes]) -> str:  # noqa: ARG002 - the signature is `Send`'s
        """See `Send`."""
        if problems := self.problems.get(receiver.name):
            return problems.pop(0)
        self.messages.append((receiver.name, message))
        return ""

    def told(self) -> list[str]:
        """The kind of each event that the first receiver was told of."""
        payloads = [json.loads(message.payload) for name, message in self.messages if name.startswith("1:")]
        return [event["kind"] for payload in payloads for event in payload["data"]["events"]]


class Fleet:
    """Workers that take rounds, one after the other; each round is due at once."""

    def __init__(self, partitions: Partitions, engine: Engine, **settings: Any) -> None:
        self.phone = Phone()
        self.partitions = partitions
        self._engine = engine
        self.settings = load_settings(
            _env_file=None,
            feedback_notify_urls=URLS,
            feedback_notify_secret=SECRET,
            feedback_notify_window=0.001,
            **settings,
        )

    def worker(self, name: str = "w1", **parts: Any) -> Notifier:
        """One of them."""
        given: dict[str, Any] = {"by": self.phone, "database": self._database} | parts
        return Notifier(settings=self.settings, token=name, **given)

    def rounds(self, number: int, *names: str) -> list[str]:
        """Take rounds by these workers in turn; return all that was told until then."""
        for turn in range(number):
            self.partitions.home.delete(FeedbackKeys().notifier_lease)
            assert self.worker((names or ("w1", "w2"))[turn % (len(names) or 2)]).take_round(self.partitions)
        return self.phone.told()

    @contextmanager
    def _database(self) -> Iterator[Engine]:
        yield self._engine


@pytest.fixture
def fleet(places: Places, table: DeadLetterStore) -> Fleet:
    """Workers of an empty queue."""
    return Fleet(places.partitions, table.engine)


def fail(table: DeadLetterStore, answer: str, *, ago: timedelta = timedelta(), org: str = "org-1") -> int:
    """An event dies of something."""
    return add(table, a_record(an_event(org=org), failed_at=datetime.now(UTC) - ago, response_body=answer))


def test_the_fleet_tells_each_event_once(fleet: Fleet, places: Places, table: DeadLetterStore) -> None:
    """However many workers there are, and whichever takes the next round."""
    fail(table, "an old cause", ago=timedelta(days=2))
    first = fleet.rounds(2)
    Hold(places.client, actor="ada").hold("upgrade", actor="ada")
    fail(table, "quite another cause")
    fail(table, "quite another cause", org="org-2")
    fail(table, "an old cause")
    begun = fleet.rounds(4)
    Hold(places.client, actor="ada").resume()
    ended = fleet.rounds(4)

    assert (first, begun, ended) == (
        [],
        ["hold_begun", "new_cause"],
        ["hold_begun", "new_cause", "hold_ended"],
    )
    texts = [message.body for name, message in fleet.phone.messages if name == "2:webhook+https"]
    assert "an operator holds (ada): upgrade" in texts[0]
    assert "new cause of dead letters: rejected 404: quite another cause (2 dead letters of 2 orgs so far)" in texts[0]
    assert len(texts) == 2


def test_only_one_worker_takes_a_round_and_the_next_one_a_while_later(fleet: Fleet) -> None:
    """The lease lasts from the beginning of a round to that of the next; one that has no end is given one."""
    home, key = fleet.partitions.home, FeedbackKeys().notifier_lease

    taken = [fleet.worker(name).take_round(fleet.partitions) for name in ("w1", "w2", "w1")]
    rest = home.pttl(key)
    home.set(key, "another program")
    fleet.worker("w2").take_round(fleet.partitions)

    assert taken == [True, False, False]
    assert 0 < rest <= 9000
    assert 0 < home.pttl(key) <= 90_000


def test_what_a_worker_without_the_lease_knows_is_not_written_down(places: Places) -> None:
    """It hung for longer than its lease, and another one has told meanwhile."""
    late, other = NotifierStore(places.client, "late"), NotifierStore(places.client, "other")
    assert late.acquire()
    state = late.load()
    places.client.delete(FeedbackKeys().notifier_lease)
    assert other.acquire()

    assert (late.save(state), other.save(state), late.save(state)) == (False, True, False)
    late.release(timedelta(milliseconds=1))
    assert places.client.get(FeedbackKeys().notifier_lease) == b"other"


def test_a_worker_that_dies_while_it_sends_leaves_a_repeat_with_the_same_id(fleet: Fleet, places: Places) -> None:
    """And no gap: what is to be sent is written down before."""
    Hold(places.client, actor="ada").hold("upgrade", actor="ada")
    fleet.rounds(1)
    ids: list[str] = []

    def dies(receiver: Receiver, message: Rendered, *, keys: Sequence[bytes]) -> str:  # noqa: ARG001 - the signature is `Send`'s
        ids.append(message.id)
        if receiver.number == 1:  # in the thread of the round
            raise SystemExit
        return ""

    places.client.delete(FeedbackKeys().notifier_lease)
    with pytest.raises(SystemExit):
        fleet.worker("w1", by=dies).take_round(fleet.partitions)

    assert fleet.rounds(2, "w2") == ["hold_begun"]
    assert len(ids) == len(fleet.phone.messages) == 2
    assert {message.id for _, message in fleet.phone.messages} == set(ids)


def test_a_receiver_that_fails_is_told_later_and_is_seen(
    fleet: Fleet, places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log once, by the command, by the doctor and by Prometheus; the other one has its message meanwhile."""
    monkeypatch.setattr(outbox, "_FIRST_WAIT", timedelta())
    Hold(places.client, actor="ada").hold("upgrade", actor="ada")
    fleet.rounds(1)
    fleet.phone.problems = {"1:json": [f"it responded 500 to {TOKEN}", "it responded 502"]}
    with caplog.at_level(logging.INFO):
        fleet.rounds(2)
        failing = record_of(_environment(fleet.settings), "notify")["receivers"]
        levels = [(one.level, one.summary) for one in look_at_notifications(fleet.settings)]
        metrics = _metrics(places.client)
        told = fleet.rounds(1)

    assert told == ["hold_begun"]
    assert [line.getMessage() for line in caplog.records] == [
        "the receiver 1:json did not take a notification, and is tried again: it responded 500 to [redacted]",
        "the receiver 1:json takes notifications again",
    ]
    assert [(one["receiver"], one["failures"], one["problem"], one["waiting"]) for one in failing] == [
        ("1:json", 2, "it responded 502", 1),
        ("2:webhook+https", 0, "", 0),
    ]
    assert levels == [
        (Level.YELLOW, "the receiver 1:json did not take 2 attempts in a row: it responded 502; 1 messages wait"),
        (Level.GREEN, ANY),
    ]
    assert 'aquilax_feedback_notification_failures{receiver="1:json"} 2.0' in metrics
    assert 'aquilax_feedback_notification_waiting_messages{receiver="1:json"} 1.0' in metrics
    assert 'aquilax_feedback_notification_given_up_messages{receiver="2:webhook+https"} 0.0' in metrics


def _metrics(client: redis.Redis) -> str:
    registry = CollectorRegistry()
    registry.register(OfNotifications(NotifierStore(client, "").load))
    return generate_latest(registry).decode()


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "FEEDBACK_BROKER_URL": settings.feedback_broker_url.get_secret_value(),
        "FEEDBACK_DATABASE_URL": settings.feedback_database_url.get_secret_value(),
        "FEEDBACK_NOTIFY_URLS": URLS,
        "FEEDBACK_NOTIFY_SECRET": SECRET,
    }


def test_a_redis_that_lost_its_data_is_told_although_it_lost_what_was_told(
    fleet: Fleet, places: Places, table: DeadLetterStore
) -> None:
    """And nothing that was told before is told again by it."""
    places.enqueue(3)
    record(places.partitions, table.engine)
    fail(table, "a cause")
    fleet.rounds(2)
    places.client.flushall()

    told = fleet.rounds(4)

    assert told == ["loss_found"]
    assert "3 at least" in fleet.phone.messages[0][1].body


def test_a_cause_that_is_muted_before_it_is_told_is_not(fleet: Fleet, table: DeadLetterStore) -> None:
    """In quiet hours, or within the window."""
    fleet.rounds(1)
    fail(table, "a cause")
    fail(table, "another cause")
    fleet.rounds(1)
    muted = fingerprint_of(Reason.REJECTED, 404, "a cause").fingerprint
    until = datetime.now(UTC) + timedelta(hours=1)
    change(table.engine, muted, action="mute", values={"muted_until": until}, actor="ada")

    assert fleet.rounds(2) == ["new_cause"]
    assert "another cause" in fleet.phone.messages[0][1].body


def test_events_that_are_nowhere_are_told(fleet: Fleet, places: Places) -> None:
    """After three looks in a row; and that they were written off."""
    fleet.rounds(1)
    places.count(accepted=2)

    assert fleet.rounds(2) == []
    assert fleet.rounds(3) == ["loss_found"]
    places.count(written_off=2)
    assert fleet.rounds(2) == ["loss_found", "loss_ended"]


def test_a_replay_that_its_canary_stopped_is_told(fleet: Fleet, places: Places, table: DeadLetterStore) -> None:
    """Once, also after it was cleared up."""
    row_id = fail(table, "a cause", ago=timedelta(days=1))
    steps = Steps(table, places.client)
    plan = steps.plan()
    fleet.rounds(1)
    because = f"row {row_id}, a canary, died again"
    now = datetime.now(UTC)
    _change(table, plan.id, state=ReplayState.STOPPED, stopped_because=because, ended_at=now)
    first = fleet.rounds(2)
    _change(table, plan.id, closed_at=now)

    assert (first, fleet.rounds(2)) == (["replay_stopped"], ["replay_stopped"])
    assert f"replay {plan.id} was stopped by its canary: {because}" in fleet.phone.messages[0][1].body


def _change(table: DeadLetterStore, replay_id: int, **values: Any) -> None:
    with table.engine.begin() as connection:
        connection.execute(update(Replay).where(Replay.id == replay_id).values(values))


def test_a_database_that_is_unavailable_keeps_no_hold_from_being_told(fleet: Fleet, places: Places) -> None:
    """What it would say is told once it is back."""
    fleet.rounds(1)
    Hold(places.client, actor="ada").hold("upgrade", actor="ada")
    for _ in range(2):
        places.client.delete(FeedbackKeys().notifier_lease)
        fleet.worker(database=lambda: checked_engine("sqlite:///nowhere/at-all.sqlite3")).take_round(fleet.partitions)

    assert fleet.phone.told() == ["hold_begun"]


def test_an_org_that_is_held_is_told(fleet: Fleet, places: Places) -> None:
    """And the end of that, by the org's name."""
    holds = OrgHolds(places.client, actor="ada")
    holds.hold("org-1", "they move", actor="ada")
    begun = fleet.rounds(2)
    holds.resume(org_scope("org-1"))

    assert (begun, fleet.rounds(2)) == (["hold_begun"], ["hold_begun", "hold_ended"])
    texts = [message.body for name, message in fleet.phone.messages if name.startswith("1:")]
    assert "nothing is sent for the org org-1: an operator holds (ada): they move" in texts[0]
    assert "the hold of the org org-1 has ended after" in texts[1]


def test_what_is_known_begins_again_where_it_can_not_be_read(
    fleet: Fleet, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program wrote there; that is said, and notifications go on."""
    places.client.set(FeedbackKeys().notifier, "not ours")

    fleet.rounds(2)

    assert [line.getMessage().split(":")[0] for line in caplog.records] == ["the key feedback"]
    assert '{"version":1' in str(places.client.get(FeedbackKeys().notifier))


def test_nothing_of_an_address_is_in_redis(fleet: Fleet, places: Places) -> None:
    """There every program of the queue reads."""
    fleet.phone.problems = {"1:json": [f"{TOKEN} is wrong"] * 3}
    fleet.rounds(1)
    Hold(places.client, actor="ada").hold(f"comment with {TOKEN}", actor="ada")
    fleet.rounds(3)

    known = places.client.get(FeedbackKeys().notifier) or b""
    assert b"hold:operator" in known
    assert TOKEN.encode() not in known
    assert {TOKEN, SECRET} <= secrets_of(fleet.settings)


def test_new_causes_are_found_in_every_database(store: DeadLetterStore) -> None:
    """By the first row of each, whatever has become of it."""
    since = datetime.now(UTC) - timedelta(hours=1)
    for answer, ago in (("old", 90), ("old", 1), ("new", 30), ("new", 20), ("newer", 10)):
        fail(store, answer, ago=timedelta(minutes=ago), org=f"org-{ago}")

    found = new_causes(store.engine, since)
    known = new_causes(store.engine, since, known=[found[0].fingerprint])

    assert [(one.summary, one.rows, one.orgs) for one in found] == [
        ("rejected 404: new", 2, 2),
        ("rejected 404: newer", 1, 1),
    ]
    assert abs(found[0].first_failed_at - (datetime.now(UTC) - timedelta(minutes=30))) < timedelta(minutes=1)
    assert known == found[1:]
    assert new_causes(store.engine, datetime.now(UTC)) == []
    assert stopped_replays(store.engine, since) == []


def test_an_old_cause_of_which_a_row_dies_again_is_not_new(store: DeadLetterStore) -> None:
    """The row says when it died last; the cause, when something first died of it."""
    fail(store, "old", ago=timedelta(days=8))
    with store.engine.begin() as connection:
        connection.execute(update(DeadLetter).values(failed_at=datetime.now(UTC)))

    assert new_causes(store.engine, datetime.now(UTC) - timedelta(hours=1)) == []


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """A receiver over HTTP."""
    with http_receiver() as receiver:
        yield receiver


@pytest.mark.usefixtures("table")
def test_workers_tell_a_real_receiver_once(
    places: Places,
    http: HttpReceiver,
    sqlite_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By threads of their own, with real processes that send; a wrong address is said when they start."""
    monkeypatch.setattr(notifications_step, "_LOOK_EVERY", 0.05)
    settings = load_settings(
        feedback_database_url=sqlite_url,
        feedback_notify_urls=f"webhook+http://{http.address}/{TOKEN} nosuch://{TOKEN}",
        feedback_notify_secret=SECRET,
        feedback_notify_window=0.001,
    )
    Hold(places.client, actor="ada").hold("upgrade", actor="ada")
    steps = [_start(settings, name) for name in ("a", "b")]
    try:
        eventually(lambda: _next_round(places) or _kinds(http), what="the hold is told")
        Hold(places.client, actor="ada").resume()
        eventually(lambda: _next_round(places) or "hold_ended" in _kinds(http), what="its end is told")
    finally:
        for step in steps:
            step.stop(NO_WORKER)

    assert _kinds(http) == ["hold_begun", "hold_ended"]
    texts = {line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING}
    assert any(text.startswith("FEEDBACK_NOTIFY_URLS: the receiver 2:nosuch can't be told: Apprise") for text in texts)
    assert not [text for text in texts if TOKEN in text]


def _kinds(http: HttpReceiver) -> list[str]:
    payloads = [json.loads(request.body) for request in http.received]
    return [event["kind"] for payload in payloads for event in payload["data"]["events"]]


def _next_round(places: Places) -> bool:
    """Let it begin at once where one has ended: the rest of its period is not waited for."""
    if (places.client.pttl(FeedbackKeys().notifier_lease) or 0) <= PERIOD / timedelta(milliseconds=1):
        places.client.delete(FeedbackKeys().notifier_lease)
    return False


def _start(settings: Settings, name: str) -> Notifications:
    worker: Any = SimpleNamespace(
        app=SimpleNamespace(feedback=SimpleNamespace(settings=settings)), hostname=name, steps=[]
    )
    step = Notifications(worker)
    assert step.include_if(worker)
    step.start(worker)
    return step


def test_the_command_tries_each_receiver(http: HttpReceiver, places: Places) -> None:  # noqa: ARG001 - its Redis is that of the settings
    """And says which took it, by its name alone; the exit status says whether all did."""
    urls = f"webhook+http://{http.address}/{TOKEN} json://{http.address}/{TOKEN}"
    environment = {"FEEDBACK_NOTIFY_URLS": urls, "FEEDBACK_NOTIFY_SECRET": SECRET, "USER": "ada"}

    good = succeed(environment, "notify", "--test")
    http.statuses = [500, 500]
    bad = command(environment, "notify", "--test", "--json")

    assert good.splitlines() == ["1:webhook+http       took it", "2:json               took it"]
    assert bad.exit_code == 1
    assert [one["taken"] for one in json.loads(bad.stdout)["receivers"]] == [False, False]
    assert TOKEN not in good + bad.stdout
    events = [json.loads(one.body)["data"]["events"] for one in http.received if "webhook-id" in one.headers]
    assert [event["kind"] for (event,) in events] == ["test", "test"]


def test_the_command_says_how_the_receivers_do(fleet: Fleet, places: Places) -> None:
    """As the workers know it."""
    before = command(_environment(fleet.settings), "notify")
    Hold(places.client, actor="ada").hold("upgrade", actor="ada")
    fleet.phone.problems = {"1:json": ["it responded 500"]}
    fleet.rounds(2)
    after = command(_environment(fleet.settings) | {"FEEDBACK_NOTIFY_QUIET": "00:00-23:59"}, "notify", "--status")

    assert (before.exit_code, after.exit_code) == (0, 1)
    assert before.stdout.splitlines()[-1] == "no worker with FEEDBACK_NOTIFY_URLS has looked yet"
    assert "took nothing yet; 1 attempts failed since: it responded 500; 1 messages wait" in after.stdout
    assert "0 events wait to be told; it is a quiet hour" in after.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], "FEEDBACK_NOTIFY_URLS is not set"), (["--test", "--status"], "can't be given together")],
)
def test_a_command_that_can_do_nothing_says_why(options: list[str], expected: str) -> None:
    """With the setting's name."""
    ended = command({}, "notify", *options)

    assert ended.exit_code == 2
    assert expected in ended.output


def test_the_doctor_names_an_address_that_can_not_be_told(places: Places) -> None:  # noqa: ARG001 - its Redis is that of the settings
    """And that no worker looks; never the address."""
    found = list(look_at_notifications(load_settings(feedback_notify_urls=f"nosuch://{TOKEN}")))

    assert [(one.level, one.check) for one in found] == [
        (Level.RED, "notifications"),
        (Level.GREEN, "notifications"),
        (Level.YELLOW, "notifications"),
    ]
    assert found[0].summary.startswith("the receiver 1:nosuch can't be told: Apprise can't read the address")
    assert not [one for one in found if TOKEN in one.summary + one.fix]


NO_WORKER: Any = None
"""The step asks it nothing as it stops."""
