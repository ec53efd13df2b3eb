"""What workers' logs may say: errors that a fault explains, each with the reason; anything else is a fault of ours."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EXPLAINED", "records", "unexplained"]

EXPLAINED: Final = {
    r"consumer: Cannot connect to .*Trying (again|to reconnect)": "Redis is unavailable, and the worker goes on trying",
    r"reject requeue=True: .*(redis|kombu)\.exceptions\.": (
        "Redis is unavailable just when a task lays its message back: it goes back once Redis is there"
    ),
}
"""Patterns of records at ERROR or above, or with a traceback, and why they are no fault."""

_BEGINS: Final = re.compile(r"^\[\d{4}-\d\d-\d\d [^\]]*?: (?P<level>[A-Z]+)/[^\]]+\] ", re.MULTILINE)
_BAD: Final = {"ERROR", "CRITICAL"}
_VARIES: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(\.\d+)?")
_SHOWN: Final = 300


def records(text: str) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each record of a log; what stands before the first has the level ''."""
    begins = list(_BEGINS.finditer(text))
    if not begins or begins[0].start() > 0:
        yield "", text[: begins[0].start() if begins else None]
    for at, found in enumerate(begins):
        end = begins[at + 1].start() if at + 1 < len(begins) else None
        yield found["level"], text[found.start() : end]


def unexplained(folder: Path) -> dict[str, int]:
    """Return the errors in the logs of the workers in a folder that nothing explains, and how often each is there."""
    strange: Counter[str] = Counter()
    for log in sorted(folder.glob("worker-*.log")):
        for level, text in records(log.read_text(errors="replace")):
            is_bad = level in _BAD or "Traceback (most recent call last)" in text
            if is_bad and not any(re.search(pattern, text, re.DOTALL) for pattern in EXPLAINED):
                strange[_gist(text)] += 1
    return strange


def _gist(text: str) -> str:
    """The first and the last line of a record, without what differs from one to the next."""
    first, *others = text.strip().splitlines()
    lines = [_BEGINS.sub("", first), *(line.strip() for line in others[-1:])]
    return " … ".join(_VARIES.sub("#", line)[:_SHOWN] for line in lines)
