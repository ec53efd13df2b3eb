"""How long the events of quiet orgs take while another org sends a hundred times as much."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.consumers import OURS, ours
from benchmarks.events import GROUP, request_ids
from benchmarks.sample import Measurement, Sample, quantile
from benchmarks.servers import rig
from producer import FeedbackEvent, FeedbackProducer
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.plan import Plan

__all__ = ["FAIRNESS", "fairness"]

_QUIET: Final = ("quiet-1", "quiet-2")
_RATE: Final = 5
"""Events of each quiet org in a second."""

_TIMES: Final = 100
_SECONDS: Final = 15
_API: Final = 0.25
_LIMIT: Final = 10
_AT_ONCE: Final = 10
"""Events of the storm in one call."""

_WITHIN: Final = 120
"""Seconds in which the quiet orgs' events arrive."""

_CASES: Final = {
    "the quiet orgs alone": (0, None),
    "beside a storm": (_TIMES, None),
    f"beside a storm, FEEDBACK_ORG_CONCURRENCY={_LIMIT}": (_TIMES, _LIMIT),
}

FAIRNESS: Final = Measurement(
    name="fairness",
    title="One org's storm",
    text=f"Two orgs send {_RATE} events in each second, for {_SECONDS} s, and a third {_TIMES} times as many as each "
    f"of them. The API answers after {_API * 1000:.0f} ms, so that one worker's requests at once are too few for that. "
    "What is measured is the time from just before the call that enqueues an event of one of the two until its "
    "request arrives.",
    more_is_better=False,
    ranked=False,
)


def fairness(plan: Plan) -> Iterator[Sample]:
    """Measure one worker in each case, round by round."""
    for _ in range(plan.rounds):
        for subject, (times, limit) in _CASES.items():
            plan.tell(subject)
            yield _measure(subject, times=times, limit=limit)


def _measure(subject: str, *, times: int, limit: int | None) -> Sample:
    consumer = replace(ours(1), environment={} if limit is None else {"FEEDBACK_ORG_CONCURRENCY": str(limit)})
    with rig() as servers, closing(servers.start_redis()):
        url = servers.start_target(_API)
        servers.create_database()
        servers.launch(consumer.commands, consumer.environment)
        with FeedbackProducer(servers.environment["FEEDBACK_BROKER_URL"], timeout=30) as producer:
            producer.enqueue_many(_events("warm", 200, seed=1))
            _await(lambda: servers.ask(f"{url}/stats")["distinct"] >= 200)  # noqa: PLR2004 - as many as were sent
            storm = threading.Thread(target=_storm, args=(producer, times))
            storm.start()
            sent = _quiet(producer)
            storm.join()
            _await(lambda: sent.keys() <= servers.ask(f"{url}/arrivals").keys())
        arrived = servers.ask(f"{url}/arrivals")
    took = sorted((arrived[each] - at) * 1000 for each, at in sent.items())
    figures = {f"p{part:.0%} ms".replace("%", ""): quantile(took, part) for part in (0.95, 0.5, 0.99)}
    return Sample(case=OURS, subject=subject, setup=consumer.setup, figures=figures)


def _events(org: str, number: int, *, seed: int) -> list[FeedbackEvent]:
    names = request_ids(number, seed=seed)
    return [FeedbackEvent(request_id=each, status=True, org=org, group=GROUP) for each in names]


def _storm(producer: FeedbackProducer, times: int) -> None:
    """Enqueue one org's events at their pace, some in each call."""
    began = time.monotonic()
    for turn in range(_RATE * times * _SECONDS // _AT_ONCE):
        time.sleep(max(0.0, began + turn * _AT_ONCE / (_RATE * times) - time.monotonic()))
        producer.enqueue_many(_events("storm", _AT_ONCE, seed=1000 + turn))


def _quiet(producer: FeedbackProducer) -> dict[str, float]:
    """Enqueue the quiet orgs' events at their pace; return when each was."""
    sent, began = {}, time.monotonic()
    for turn, request_id in enumerate(request_ids(_RATE * len(_QUIET) * _SECONDS, seed=100)):
        time.sleep(max(0.0, began + turn / (_RATE * len(_QUIET)) - time.monotonic()))
        sent[request_id] = time.monotonic()
        producer.enqueue(request_id, True, org=_QUIET[turn % len(_QUIET)], group=GROUP)
    return sent


def _await(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN
    while not there():
        if time.monotonic() > deadline:
            raise StackError(f"not all of the quiet orgs' events arrived within {_WITHIN} s")
        time.sleep(0.2)
