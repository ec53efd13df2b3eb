"""Whether the workers bring what they hold to an end: a worker may answer, renew its lease, and do nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from worker.operations.doctor.finding import Finding, green, red
from worker.policy.durations import span
from worker.runtime.inspect_stats import ABOUT, IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.operations.doctor.fleet import Fleet
    from worker.settings import Settings

__all__ = ["look_at_progress"]

_CHECK: Final = "progress"

_REQUESTS: Final = 2
_MARGIN: Final = timedelta(minutes=1)
"""How long nothing may end: as long as two requests in a row, and what the database and name resolution may take."""


def look_at_progress(fleet: Fleet, settings: Settings) -> Iterator[Finding]:
    """Check that of what each worker holds something ends now and then.

    Args:
        fleet: What the workers answered.
        settings: Those of this program; theirs are compared with these elsewhere.
    """
    longest = settings.feedback_request_timeout * _REQUESTS + _MARGIN
    stuck = {name: held for name, stats in fleet.stats.items() if (held := _in_hand(stats)) and held[1] > longest}
    for name, (messages, since) in sorted(stuck.items()):
        summary = f"{name} holds {messages:,} messages, and none has ended for {span(since)}"
        fix = "restart it: what it holds goes back to the queue; before, look in its log for `a fault of ours`"
        yield red(_CHECK, summary, fix=fix)
    if not stuck and fleet.stats:
        yield green(_CHECK, "what the workers hold comes to its end")


def _in_hand(stats: Mapping[str, Any]) -> tuple[int, timedelta] | None:
    """How many messages a worker holds, and for how long none has ended; None if it holds none, or does not tell."""
    told = stats.get(ABOUT)
    held = told.get(IN_FLIGHT) if isinstance(told, dict) else None
    if not isinstance(held, dict) or not held.get("messages"):
        return None
    return int(held["messages"]), timedelta(seconds=float(held.get("without_end", 0)))
