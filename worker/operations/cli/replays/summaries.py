"""How far a replay is, and what it left to do, as text."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.failures import died_of
from worker.dead_letters.replays.queries import count_left_dead

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.dead_letters.replays.failures import FailureCount
    from worker.dead_letters.replays.queries import Plan

__all__ = ["Aftermath", "outcome"]

_OUTCOMES: Final = (
    ("delivered", "delivered"),
    ("dead", "dead again"),
    ("discarded", "discarded: overtaken by a later vote"),
    ("refused", "refused: they make no event"),
    ("skipped", "skipped: there was nothing to send any more"),
    ("lost", "lost by Redis"),
)


def outcome(plan: Plan) -> str:
    """Return what has become of a plan's rows: ``enqueued 3 of 3; 2 delivered, 1 dead again``."""
    found = [(getattr(plan.progress, name), text) for name, text in _OUTCOMES]
    parts = [f"{number:,} {text}" for number, text in found if number]
    if plan.progress.enqueued:
        parts.append(f"{plan.progress.enqueued:,} on the way")
    head = f"enqueued {plan.progress.gone:,} of {plan.total:,}"
    return f"{head}; {', '.join(parts)}" if parts else head


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What is left to do after a replay.

    Attributes:
        plan: The replay.
        died_of: Of what its rows died again.
        left_dead: How many rows it did not send, and are dead; 0 as long as it goes on.
    """

    plan: Plan
    died_of: list[FailureCount]
    left_dead: int

    @classmethod
    def of(cls, engine: Engine, plan: Plan) -> Self:
        """Look at what a replay left. Raises `DeadLetterStoreUnavailable` if the database can't be asked."""
        left = 0 if plan.is_active or not plan.progress.waiting else count_left_dead(engine, plan.id)
        return cls(plan=plan, died_of=died_of(engine, plan.id) if plan.progress.dead else [], left_dead=left)

    def lines(self) -> list[tuple[str, str]]:
        """Return it as text, each line with its label."""
        lines = [("died again", f"{each.line} (cause {each.fingerprint})") for each in self.died_of]
        if self.left_dead:
            edit = Edit(org=self.plan.set_org, group=self.plan.set_group).fields
            options = "".join(f" --set-{name} {shlex.quote(value)}" for name, value in edit.items())
            command = f"`aquilax-feedback dead-letters replay --rest-of {self.plan.id}{options}`"
            lines.append(("not sent", f"{self.left_dead:,}, which are dead as before: once that is fixed, {command}"))
        return lines

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {"died_of": [each.to_record() for each in self.died_of], "left_dead": self.left_dead}
