"""How a backend tests what it writes into its outbox: with the relay and a producer that records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from examples.outbox_chat import Answer, Base, pressed, serve
from producer import outbox
from producer.testing import RecordingProducer
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The backend's database, with one answer in it."""
    engine = create_engine(f"sqlite:///{tmp_path}/chat.sqlite3")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Answer(request_id=REQUEST_ID, org="o", group="g"))
    yield engine
    engine.dispose()


def test_a_press_is_kept_and_handed_over(engine: Engine) -> None:
    """In one transaction, and by one group of the relay."""
    producer = RecordingProducer()
    with Session(engine) as session:
        pressed(session, REQUEST_ID, True)
        assert session.get_one(Answer, REQUEST_ID).helpful is True

    outbox.Relay(engine, producer).run_once()

    producer.assert_enqueued(request_id=REQUEST_ID, status=True, org="o", group="g")


def test_a_press_on_no_answer_is_not(engine: Engine) -> None:
    """Nothing is committed, so nothing is handed over."""
    producer = RecordingProducer()
    with Session(engine) as session, pytest.raises(NoResultFound):
        pressed(session, REQUEST_ID.replace("7", "8"), True)

    outbox.Relay(engine, producer).run_once()

    producer.refute_enqueued()


def test_the_backend_may_carry_it_itself(engine: Engine) -> None:
    """While it serves."""
    producer = RecordingProducer()

    def until_stopped() -> None:
        with Session(engine) as session:
            pressed(session, REQUEST_ID, False)
        eventually(lambda: producer.recorded, what="the press is handed over")

    serve(engine, producer, until_stopped)

    producer.assert_enqueued(status=False)
