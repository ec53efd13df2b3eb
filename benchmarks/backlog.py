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
    _filled: dict[tuple[str, int], Path] = field(default_factory=dict)

    def of(self, sender: str, number: int) -> Path:
        """Return the snapshot of a Redis into which this sender has put so many events."""
        if (sender, number) not in self._filled:
            self._filled[sender, number] = self._fill(sender, number)
        return self._filled[sender, number]

    def _fill(self, sender: str, number: int) -> Path:
        kept = self.folder / f"{len(self._filled)}.rdb"
        with rig() as servers, closing(servers.start_redis()) as client:
            servers.run_python("-m", "benchmarks.filling", sender, str(number))
            client.save()
            shutil.move(servers.folder / "redis" / SNAPSHOT, kept)
        return kept
