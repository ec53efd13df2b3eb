"""Workers whose clocks are an hour fast and an hour slow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from producer import FeedbackEvent, FeedbackProducer
from tests.chaos.load import event_of
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]

_HOUR: Final = 3600


def _an_hour_off(run: Run) -> None:
    """One worker is an hour fast, one an hour slow, one right; AquilaX asks for retries, and people change their minds.

    An event that one of them lets wait may be taken by another one: it waits as long as was meant all the same.
    """
    for seconds in (_HOUR, -_HOUR):
        run.system.await_worker(run.launch_worker("-m", "tests.chaos.wrong_clock", str(seconds)))
    run.start_workers(1)
    run.wanted = 3
    run.faults = 2
    with FeedbackProducer(run.server.url, timeout=5) as producer:
        changed = list(run.numbers.take(run.events // 10))
        producer.enqueue_many(_opposite(request_id) for request_id in changed)
        producer.enqueue_many(event_of(request_id) for request_id in changed)
    run.acknowledged += changed
    run.words |= dict.fromkeys(changed, 2)
    with run.load():
        pass
    run.over()


def _opposite(request_id: str) -> FeedbackEvent:
    """What the person said ten seconds before they changed their mind."""
    said = event_of(request_id)
    before = datetime.now(UTC) - timedelta(seconds=10)
    return FeedbackEvent(
        request_id=request_id, status=not said.status, org=said.org, group=said.group, occurred_at=before
    )


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="clocks of workers an hour off",
        play=_an_hour_off,
        events=4000,
        short=True,
        short_events=400,
        sandbox_flags=("--latency=0.02", "--error-rate=503=0.2", "--retry-after=1"),
        patience=90,
    ),
)
