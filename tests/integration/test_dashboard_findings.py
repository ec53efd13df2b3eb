"""What the doctor finds stands on the Overview, each with its advice; and no page waits for the doctor."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.dead_letter_records import a_record, add
from tests.support.flower import ServedFlower, served_flower
from tests.support.processes import eventually
from worker.dead_letters.replays.lifecycle import pause
from worker.dead_letters.replays.planning import create
from worker.dead_letters.selection import Selection
from worker.operations.dashboard.findings import Doctor
from worker.operations.doctor.examination import Examination
from worker.operations.doctor.finding import Finding, Level
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.places import Places
    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore


@pytest.fixture
def flower(sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:
    """Flower on loopback."""
    assert sqlite_store
    with served_flower(broker_url=valkey.url, database_url=sqlite_url) as flower:
        yield flower


def test_findings_stand_on_the_overview_with_their_advice(
    flower: ServedFlower, sqlite_store: DeadLetterStore, places: Places
) -> None:
    """Books that do not balance are red, a paused replay is yellow: found within one examination, without a button."""
    places.count(accepted=5, delivered=2, written_off=1)
    add(sqlite_store, a_record())
    plan = create(sqlite_store.engine, Selection(), actor="alice")
    pause(sqlite_store.engine, plan.id, actor="alice")

    first = flower.get("/feedback")
    eventually(lambda: flower.get("/api/feedback/overview").json()["doctor"]["at"], what="it is examined")
    page = flower.get("/feedback").text
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())

    assert first.status_code == 200
    assert re.search(
        r'<p class="alert alert-danger" role="alert">\s*<strong>Books:</strong> 2 events are missing', page
    )
    assert "`aquilax-feedback reconcile` says what exactly, and with --repair fixes it" in words
    assert "1 written off since it was last told" in words
    assert f"replay {plan.id} by alice is paused" in words
    assert f"`aquilax-feedback replays resume {plan.id}`" in words
    assert words.index("Books:") < words.index("Replays:"), "red comes first"


def test_no_page_waits_for_the_doctor() -> None:
    """It shows what was found last, at once; and one examination serves all who look within half a minute."""
    begun, may_end, now = threading.Semaphore(0), threading.Event(), [100.0]
    bad = Finding(check="a check", level=Level.RED, summary="it is unavailable", fix="bring it back")

    def examine() -> Examination:
        begun.release()
        assert may_end.wait(30)
        return Examination(findings=(bad, Finding(check="another", level=Level.GREEN, summary="well")))

    doctor = Doctor(load_settings(_env_file=None), examine=examine, monotonic=lambda: now[0])
    assert doctor.found().findings == ()
    assert begun.acquire(timeout=30)
    assert doctor.found().findings == (), "it hangs, and nothing waits for it"

    may_end.set()
    eventually(lambda: doctor.found().findings == (bad,), what="it is shown")
    now[0] += 29
    assert doctor.found().findings == (bad,)
    assert not begun.acquire(blocking=False)
    now[0] += 2
    doctor.found()
    assert begun.acquire(timeout=30)
