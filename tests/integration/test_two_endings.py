"""A message whose two attempts ended differently, as a worker was lost in between: it is counted once, with its row.

Each test also checks the equation that `reconcile` checks: accepted = delivered + dead, and rows made = rows counted.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.dead_letter_records import NOON, an_event, rows_of
from tests.support.places import Places, places_of
from worker.accounting.table_counts import look_at_table
from worker.database.models import State
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import Hold
from worker.delivery.idempotency import IdempotencyStore
from worker.delivery.org_holds import OrgHolds
from worker.delivery.service import DeliveryService
from worker.policy.classification import Response
from worker.policy.envelope import Envelope
from worker.policy.message import Message
from worker.policy.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from producer import FeedbackEvent
    from tests.support.processes import RedisServer
    from worker.clients.aquilax.client import AquilaX
    from worker.policy.dead_letter import DeadLetterRecord

pytestmark = pytest.mark.usefixtures("keys_are_declared")

OK = Response(status=200)
NOT_FOUND = Response(status=404, text="Request ID not found")
BUSY = Response(status=503)
POLICY = RetryPolicy(max_attempts=1, base=timedelta(seconds=1), cap=timedelta(minutes=1), horizon=timedelta(hours=1))
MESSAGE = Message(event=an_event(), envelope=Envelope(enqueued_at=NOON, message_id="m1"), delivery_tag="m1")
AGAIN = replace(MESSAGE, redelivered=True)
"""The same message, after its worker was lost."""


class Killed(BaseException):
    """The worker ends here, as by SIGKILL: no handler of it runs."""


class Meanwhile(DeadLetterStore):
    """A dead-letter table on which something else happens just before or after a dead letter is committed."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)

    def add(self, record: DeadLetterRecord) -> bool:
        """Add the row, and let that happen."""
        self.before()
        made = super().add(record)
        self.after()
        return made


@dataclass
class FakeAquilaX:
    """Answers as it is told."""

    answers: list[Response | Callable[[], Response]] = field(default_factory=list)

    def send(self, event: FeedbackEvent) -> Response:  # noqa: ARG002 - the client's signature
        """Take an event."""
        answer = self.answers.pop(0)
        return answer if isinstance(answer, Response) else answer()


class Scene:
    """Workers on one Redis and one dead-letter table."""

    def __init__(self, places: Places, url: str) -> None:
        self.places = places
        self.store = DeadLetterStore.connect(url)
        self._url = url
        self._open: list[DeadLetterStore] = [self.store]

    def worker(self, *answers: Any, before: Any = None, after: Any = None) -> DeliveryService:
        """A worker whose AquilaX answers so."""
        store = Meanwhile.connect(self._url)
        store.before, store.after = before or store.before, after or store.after
        self._open.append(store)
        return DeliveryService(
            aquilax=cast("AquilaX", FakeAquilaX(list(answers))),
            idempotency=IdempotencyStore(self.places.client, ttl=timedelta(days=7), lease=timedelta(seconds=40)),
            hold=Hold(self.places.client, actor="worker"),
            org_holds=OrgHolds(self.places.client, actor="worker"),
            dead_letters=store,
            policy=POLICY,
            now=lambda: NOON,
        )

    def hand_out(self, message: Message = MESSAGE) -> None:
        """The message is in flight."""
        self.places.take(b"{}", message.delivery_tag)

    def lose(self, message: Message = MESSAGE) -> None:
        """The lease has ended: the message is back in the queue."""
        self.places.client.hdel("unacked", message.delivery_tag)

    def end_claim(self) -> None:
        """So much time has passed that the killed worker's claim on the request_id has expired."""
        self.places.client.delete(f"feedback:claim:{MESSAGE.event.request_id}")

    def outcome(self) -> tuple[dict[str, int], list[State]]:
        """What was counted, and the rows' states; as many rows are marked as counted as were counted."""
        found = cast("dict[bytes, bytes]", self.places.client.hgetall("feedback:counts"))
        counts = {name.decode(): int(number) for name, number in found.items()}
        assert look_at_table(self.store.engine).made == counts.get("dead_letters_inserted", 0)
        return counts, [row.state for row in rows_of(self.store)]

    def close(self) -> None:
        """Close every connection."""
        for store in self._open:
            store.close()


@pytest.fixture
def scene(valkey: RedisServer, sqlite_url: str) -> Iterator[Scene]:
    """An empty Redis and an empty table."""
    upgrade(sqlite_url)
    with places_of(valkey) as places, closing(Scene(places, sqlite_url)) as scene:
        yield scene


@contextmanager
def dying() -> Iterator[None]:
    """In the block a worker is killed."""
    with pytest.raises(Killed):
        yield


def _die() -> None:
    raise Killed


def test_a_record_whose_worker_was_killed_is_one_row_counted_once(scene: Scene) -> None:
    """Between the database's commit and the end of the message."""
    scene.hand_out()
    with dying():
        scene.worker(NOT_FOUND, after=_die).deliver(MESSAGE)

    scene.worker(NOT_FOUND).deliver(AGAIN)

    assert scene.outcome() == ({"dead": 1, "dead:rejected": 1, "dead_letters_inserted": 1}, [State.DEAD])


def test_what_is_delivered_after_it_died_is_delivered_in_its_row_too(scene: Scene) -> None:
    """AquilaX knows the request_id by now: nothing is left for an operator to replay."""
    scene.hand_out()
    with dying():
        scene.worker(NOT_FOUND, after=_die).deliver(MESSAGE)

    scene.worker(OK).deliver(AGAIN)

    assert scene.outcome() == ({"delivered": 1, "dead_letters_inserted": 1}, [State.DELIVERED])
    assert "its worker was lost after it was inserted" in rows_of(scene.store)[0].comment


def test_what_is_a_duplicate_after_it_died_is_delivered_in_its_row_too(scene: Scene) -> None:
    """The same press, enqueued twice, arrived in between."""
    scene.hand_out()
    with dying():
        scene.worker(NOT_FOUND, after=_die).deliver(MESSAGE)
    scene.end_claim()
    press = replace(MESSAGE, envelope=replace(MESSAGE.envelope, message_id="m2"), delivery_tag="m2")
    scene.hand_out(press)
    scene.worker(OK).deliver(press)

    scene.worker().deliver(AGAIN)

    assert scene.outcome() == ({"delivered": 1, "duplicate": 1, "dead_letters_inserted": 1}, [State.DELIVERED])


def test_a_redelivery_that_never_died_needs_no_row(scene: Scene) -> None:
    """As nearly every redelivery."""
    scene.hand_out()
    scene.worker(OK).deliver(AGAIN)

    assert scene.outcome() == ({"delivered": 1}, [])


def test_a_lease_that_ends_while_its_owner_adds_a_row_leaves_no_dead_row(scene: Scene) -> None:
    """Another worker has delivered the message before the first one commits its row."""
    scene.hand_out()

    def deliver_elsewhere() -> None:
        scene.lose()
        scene.hand_out()
        scene.worker(OK).deliver(AGAIN)

    scene.worker(NOT_FOUND, before=deliver_elsewhere).deliver(MESSAGE)

    assert scene.outcome() == ({"delivered": 1}, [State.DELIVERED])
    assert "the lease of the one that inserted it had ended" in rows_of(scene.store)[0].comment


def test_a_lease_that_ends_between_commit_and_count_is_counted_by_the_next_worker(scene: Scene) -> None:
    """The next worker finds the row, and ends the message before the first one can."""
    scene.hand_out()

    def deliver_elsewhere() -> None:
        scene.lose()
        scene.hand_out()
        scene.worker(OK).deliver(AGAIN)

    scene.worker(NOT_FOUND, after=deliver_elsewhere).deliver(MESSAGE)

    assert scene.outcome() == ({"delivered": 1, "dead_letters_inserted": 1}, [State.DELIVERED])


def test_a_first_worker_that_delivers_while_the_second_adds_a_row_counts_it_once(scene: Scene) -> None:
    """The first one's lease ended while AquilaX took its time."""
    scene.hand_out()

    def die_elsewhere() -> Response:
        scene.worker(NOT_FOUND).deliver(AGAIN)
        return OK

    scene.worker(die_elsewhere).deliver(MESSAGE)

    assert scene.outcome() == ({"dead": 1, "dead:rejected": 1, "dead_letters_inserted": 1}, [State.DEAD])


def test_a_press_that_is_enqueued_twice_may_be_both_dead_and_delivered(scene: Scene) -> None:
    """Two messages, two ends: the first is exhausted, the second arrives. A replay of the row is then a duplicate."""
    press = replace(MESSAGE, envelope=replace(MESSAGE.envelope, message_id="m2"), delivery_tag="m2")
    scene.hand_out()
    scene.hand_out(press)

    scene.worker(BUSY).deliver(MESSAGE)
    scene.worker(OK).deliver(press)

    counts, states = scene.outcome()
    assert counts == {"dead": 1, "dead:exhausted": 1, "dead_letters_inserted": 1, "delivered": 1}
    assert states == [State.DEAD]


def test_an_answer_that_got_lost_may_leave_a_dead_letter_that_aquilax_has(scene: Scene) -> None:
    """AquilaX took it, the answer came too late, and what followed was a refusal: one message, one end, one row."""
    taken: list[str] = []

    def take_and_hang() -> Response:
        taken.append("AquilaX has it")
        return Response(status=None, text="timeout")

    scene.hand_out()
    scene.worker(take_and_hang).deliver(MESSAGE)

    assert taken
    assert scene.outcome() == ({"dead": 1, "dead:exhausted": 1, "dead_letters_inserted": 1}, [State.DEAD])
