"""Filled queues. Each is filled once, and saved by Redis: every round begins with the same one."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.servers import SNAPSHOT, rig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Backlogs"]


@dataclass(frozen=True, kw_only=True)
class Backlogs:
    """The queues that were filled so far.

    Args:
        folder: Where they are kept.
    """

    folder: Path
    _filled: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def of(self, sender: str, number: int, *, repeats: bool = False) -> Path:
        """Return the snapshot of a Redis into which this sender has put so many events.

        Args:
            sender: Its name.
            number: Of the events.
            repeats: Whether every third repeats or contradicts an earlier one.
        """
        arguments = (sender, str(number), *(["--repeats"] if repeats else []))
        if arguments not in self._filled:
            self._filled[arguments] = self._fill(*arguments)
        return self._filled[arguments]

    def _fill(self, *arguments: str) -> Path:
        kept = self.folder / f"{len(self._filled)}.rdb"
        with rig() as servers, closing(servers.start_redis()) as client:
            servers.run_python("-m", "benchmarks.filling", *arguments)
            client.save()
            shutil.move(servers.folder / "redis" / SNAPSHOT, kept)
        return kept
