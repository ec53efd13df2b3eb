"""What was asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["MILLION", "Plan"]

T = TypeVar("T")

MILLION: Final = 1_000_000
"""So many events are measured only if they are asked for, and only where their number may matter."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure, and of what.

    Attributes:
        rounds: How often to go through all subjects.
        events: How many events a subject is given, if it is not slow.
        latencies: Of the API, in milliseconds.
        backlogs: How many events lie in the queue when `scale` begins.
        queued: How many events `memory` counts the bytes of, and `spool` sends.
        days: Names of the days that `badday` has.
        databases: Kinds of databases that dead letters go to, in `badday` and `latency`.
        subjects: Parts of the names of those that are measured; all if empty.
        snapshots: The folder of filled queues.
        tell: Says what is being done.
    """

    rounds: int
    events: int
    latencies: tuple[int, ...]
    backlogs: tuple[int, ...]
    queued: tuple[int, ...]
    days: tuple[str, ...]
    databases: tuple[str, ...]
    subjects: tuple[str, ...]
    snapshots: Path
    tell: Callable[[str], None]

    def chosen(self, those: Iterable[T], *, name: Callable[[T], str]) -> list[T]:
        """Return those whose names were asked for."""
        wanted = [part.lower() for part in self.subjects]
        return [each for each in those if not wanted or any(part in name(each).lower() for part in wanted)]
