"""An AquilaX that is down, asks for patience, dawdles, hangs up, or knows the key no more."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario
from tests.chaos.watch import MIB, Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]

_RETRY_AFTER: Final = 2
_CLOCKS_AGREE: Final = timedelta(seconds=0.2)
"""A worker waits by Redis' clock, which it knows as exactly as Redis answers quickly; here AquilaX's own counts."""

_SAMPLED: Final = 50
_BOUND: Final = 60 * MIB
"""Of memory that a worker may take on top of what it had in its first 10 s, with a backlog of 100,000 before it: what
it holds is bounded by its prefetch count, and not by the backlog, of which 100,000 messages are about 100 MiB."""


def _long_outage(run: Run) -> None:
    """AquilaX is down while 100,000 events are enqueued; the workers' memory is watched."""
    with Memory(run.system) as memory:
        run.start_workers(2)
        run.sandbox.behave(outage={"from": 0, "for": None, "with": "503"})
        run.faults += 1
        with run.load():
            pass
        run.pause(20)
        run.sandbox.fix()
        run.over()
        run.drain()
    for name, (early, late) in memory.grown(settled=10).items():
        run.notes.append(f"{name} had {early / MIB:.0f} MiB in its first 10 s and {late / MIB:.0f} MiB at most later")
        run.require(late - early <= _BOUND, f"{name} grew by {(late - early) / MIB:.0f} MiB")


def _storm(run: Run) -> None:
    """Most requests get 503 and Retry-After for a while; none comes back before it is asked to."""
    run.sandbox.behave(error_rates={"503": 0.7}, retry_after=_RETRY_AFTER)
    run.start_workers(2)
    with run.load():
        run.faults += 1
        run.pause(3 if run.short else 15)
        run.sandbox.fix()
        run.over()
    run.drain()
    asked = timedelta(seconds=_RETRY_AFTER) - _CLOCKS_AGREE
    for request_id in run.all_acknowledged[:_SAMPLED]:
        for former, next_one in pairwise(run.sandbox.received_for(request_id).recent):
            if former.answer == 503 and next_one.at - former.at < asked:
                run.failures.append(f"{request_id} came back {next_one.at - former.at} after a 503 that asked for 2 s")


def _dawdling(run: Run) -> None:
    """A fifth of the answers come byte by byte (slow loris): each is given up after the request's timeout."""
    run.gave_up = True
    run.sandbox.behave(trickle_rate=0.2, trickle_interval=0.5)
    _while_it_misbehaves(run, seconds=15)


def _hanging_up(run: Run) -> None:
    """A third of the connections are reset or closed, and some never answered."""
    run.gave_up = True
    run.sandbox.behave(reset_rate=0.2, close_rate=0.1, hang_rate=0.02)
    _while_it_misbehaves(run, seconds=3 if run.short else 15)


def _key_revoked(run: Run) -> None:
    """The key is revoked under load, and valid again a while later: nothing dies, and no operator is needed."""
    run.start_workers(2)
    with run.full_load():
        run.pause(2)
        run.sandbox.behave(revoked_key=True)
        run.faults += 1
        run.pause(3 if run.short else 15)
        run.sandbox.fix()
        run.over()
    refused = run.sandbox.received().answers.get("401", 0)
    run.notes.append(f"{refused:,} requests were answered 401 meanwhile")


def _while_it_misbehaves(run: Run, *, seconds: float) -> None:
    run.start_workers(2)
    with run.load():
        run.faults += 1
        run.pause(seconds)
        run.sandbox.fix()
        run.over()


_PATIENT: Final = {"FEEDBACK_REQUEST_TIMEOUT": "60"}
"""A worker that gives a request up never reads the Retry-After that AquilaX sends, and need not obey it."""

_QUICK_TO_GIVE_UP: Final = {"FEEDBACK_REQUEST_TIMEOUT": "1"}

SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="AquilaX down, 100,000 events queue up",
        play=_long_outage,
        events=100_000,
        sandbox_flags=("--latency=0.005",),
        patience=600,
    ),
    Scenario(
        name="a storm of 503 with Retry-After",
        play=_storm,
        events=6000,
        short=True,
        short_events=500,
        environment=_PATIENT,
    ),
    Scenario(name="answers byte by byte", play=_dawdling, events=4000, environment=_QUICK_TO_GIVE_UP),
    Scenario(
        name="connections reset, closed, hanging",
        play=_hanging_up,
        events=6000,
        short=True,
        short_events=500,
        environment=_QUICK_TO_GIVE_UP,
    ),
    Scenario(name="key revoked and restored", play=_key_revoked, events=6000, short=True, short_events=500),
)
