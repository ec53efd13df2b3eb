"""What to say and do about a hold, alike on the command line, in the doctor and on the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from worker.delivery.hold import HoldKind
from worker.policy.durations import span

if TYPE_CHECKING:
    from datetime import datetime

    from worker.delivery.hold import HoldState

__all__ = ["fix_of", "next_probe", "what_resume_does"]


def fix_of(kind: HoldKind) -> str:
    """Return what ends a hold of a kind."""
    match kind:
        case HoldKind.OPERATOR:
            return "`aquilax-feedback resume` ends it"
        case HoldKind.LOCKED_OUT:
            return "set AQUILAX_API_KEY to a valid key (401), or correct AQUILAX_BASE_URL (3xx); restart the workers"
        case HoldKind.BREAKER:
            return "nothing, if AquilaX is down: a probe goes at least once a minute, and it ends by itself"
        case _:
            assert_never(kind)


def next_probe(hold: HoldState, now: datetime) -> str:
    """Return when a hold that has begun by itself asks AquilaX again."""
    if hold.probe_at is None:
        return "no probe while an operator holds"
    due = f"in {span(hold.probe_at - now)}, at {hold.probe_at:%H:%M:%S} UTC" if hold.probe_at > now else "now"
    return f"next probe {due}"


def what_resume_does(hold: HoldState | None) -> str:
    """Return what a resume will do, or has done, in a sentence."""
    if hold is None:
        return "There is no hold: feedback is sent."
    if hold.beneath is not None:
        return (
            f"The hold by hand ends. The one that began by itself goes on ({hold.beneath.reason}), with a probe at "
            "once; everything is sent once that is answered, or after another resume."
        )
    if hold.by_hand:
        return "Workers send feedback again."
    return "Workers send feedback again; if the cause is still there, they find out and hold again."
