"""How far a replay is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worker.replays import Plan

__all__ = ["outcome"]

_OUTCOMES: Final = (
    ("delivered", "delivered"),
    ("dead", "dead again"),
    ("discarded", "discarded: overtaken by a later word"),
    ("refused", "refused: they make no event"),
    ("skipped", "skipped: there was nothing to send any more"),
    ("lost", "lost by Redis"),
)


def outcome(plan: Plan) -> str:
    """Return what has become of a plan's rows: ``enqueued 3 of 3; 2 delivered, 1 dead again``."""
    found = [(getattr(plan.progress, name), words) for name, words in _OUTCOMES]
    parts = [f"{number:,} {words}" for number, words in found if number]
    if plan.progress.enqueued:
        parts.append(f"{plan.progress.enqueued:,} on the way")
    head = f"enqueued {plan.progress.gone:,} of {plan.total:,}"
    return f"{head}; {', '.join(parts)}" if parts else head
