"""What processes and their children use, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Usage", "usage"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Where utime, stime, cutime and cstime begin in /proc/PID/stat, counted from the field behind the name: proc(5)."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a group of processes has used.

    Attributes:
        cpu: Seconds, with those of children that have ended.
        resident: Bytes in memory, of all together.
        largest: Bytes in memory, of the one that has most.
    """

    cpu: float
    resident: int
    largest: int


def usage(pids: Iterable[int]) -> Usage:
    """Add up what these processes and their descendants use."""
    everyone = {each for pid in pids for each in _family(pid)}
    memory = [_resident(pid) for pid in everyone]
    cpu = sum(_cpu(pid) for pid in everyone)
    return Usage(cpu=cpu, resident=sum(memory), largest=max(memory, default=0))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(task).split():
            yield from _family(int(child))


def _cpu(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[_UTIME : _UTIME + 4]) / _TICKS


def _resident(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    """The file, or nothing if the process has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
