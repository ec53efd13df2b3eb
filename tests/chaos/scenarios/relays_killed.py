"""Relays that are killed while they carry the outbox of a backend, which commits and rolls back all the while."""

from __future__ import annotations

import random
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from producer import outbox
from tests.chaos.load import Numbers, event_of
from tests.chaos.postgres import postgres
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.run import Run
    from worker.sandbox.stack import Part

__all__ = ["SCENARIOS"]

_RELAYS: Final = 2
_MOST_OF_ONE: Final = 20
_ROLLED_BACK: Final = 0.25


class _Backend(threading.Thread):
    """Presses in transactions of some events each, of which a part is rolled back.

    Attributes:
        committed: The request_ids of what was committed.
        rolled_back: And of what was not.
    """

    def __init__(self, engine: Engine, request_ids: Iterator[str]) -> None:
        super().__init__(name="backend", daemon=True)
        self.committed: list[str] = []
        self.rolled_back: list[str] = []
        self._engine = engine
        self._request_ids = request_ids

    def run(self) -> None:
        """Press until the request_ids are used up."""
        chance = random.Random(1)
        with Session(self._engine) as session:
            while request_ids := list(islice(self._request_ids, chance.randint(1, _MOST_OF_ONE))):
                for request_id in request_ids:
                    outbox.add(session, event_of(request_id))
                session.flush()
                if chance.random() < _ROLLED_BACK:
                    session.rollback()
                    self.rolled_back += request_ids
                else:
                    session.commit()
                    self.committed += request_ids


def _killed(run: Run) -> None:
    """One relay after the other is killed while Redis does not answer it, with the rows of a group locked."""
    run.system.environment["FEEDBACK_OUTBOX_URL"] = run.keep(postgres(run.system)).url
    engine = create_engine(run.system.environment["FEEDBACK_OUTBOX_URL"])
    run.outlasting.callback(engine.dispose)
    outbox.create_table(engine)
    run.start_workers(1 if run.short else 2)
    backends = [_Backend(engine, Numbers(f"0b0{at}0b0c").take(run.events // 2)) for at in range(2)]
    for backend in backends:
        backend.start()
    relays = [_launch(run, at) for at in range(_RELAYS)]
    while not run.faults or any(backend.is_alive() for backend in backends):
        with run.system.frozen(run.server.part):
            relays.append(_launch(run, run.faults + _RELAYS))
            run.system.await_said(relays[0], "starts")
            time.sleep(0.3)
            run.system.kill(relays.pop(0))
        run.faults += 1
        run.over()
        run.pause(0.5)
    run.eventually(lambda: _waiting(engine) == 0, what="the outbox is empty")
    run.acknowledged += [each for backend in backends for each in backend.committed]
    run.drain()
    never = {each for backend in backends for each in backend.rolled_back}
    arrived = never.intersection(run.sandbox.received_by_request_id())
    run.require(not arrived, f"{len(arrived)} arrived that were rolled back")
    run.require(all("Traceback" not in relay.said() for relay in relays), "a relay's log has a traceback")
    twice = run.counts().get("duplicate", 0)
    run.notes.append(
        f"{len(run.acknowledged):,} were committed, {len(never):,} rolled back, {run.faults} relays killed; "
        f"{twice:,} were carried twice, and delivered once"
    )


def _launch(run: Run, number: int) -> Part:
    return run.system.launch(f"relay-{number}", [sys.executable, "-m", "worker.operations.cli", "relay"])


def _waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return outbox.status(connection).waiting


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="kill -9 of relays of an outbox",
        play=_killed,
        events=20_000,
        short=True,
        short_events=1500,
    ),
)
