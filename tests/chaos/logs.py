"""What workers' logs may say: errors that a fault explains, each with the reason; anything else is a fault of ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EXPLAINED", "records", "unexplained"]

EXPLAINED: Final = {
    r"consumer: Cannot connect to .*Trying (again|to reconnect)": "Redis is away, and the worker goes on trying",
    r"a message that is no event waits for the dead-letter database": "the database is away, and the message waits",
}
"""Patterns of records at ERROR or above, or with a traceback, and why they are no fault."""

_BEGINS: Final = re.compile(r"^\[\d{4}-\d\d-\d\d [^\]]*?: (?P<level>[A-Z]+)/[^\]]+\] ", re.MULTILINE)
_BAD: Final = {"ERROR", "CRITICAL"}
_SHOWN: Final = 600


def records(text: str) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each record of a log; what stands before the first has the level ''."""
    begins = list(_BEGINS.finditer(text))
    if not begins or begins[0].start() > 0:
        yield "", text[: begins[0].start() if begins else None]
    for at, found in enumerate(begins):
        end = begins[at + 1].start() if at + 1 < len(begins) else None
        yield found["level"], text[found.start() : end]


def unexplained(folder: Path) -> list[str]:
    """Return what the logs of the workers in a folder hold of errors that nothing explains."""
    strange = []
    for log in sorted(folder.glob("worker-*.log")):
        for level, text in records(log.read_text(errors="replace")):
            is_bad = level in _BAD or "Traceback (most recent call last)" in text
            if is_bad and not any(re.search(pattern, text, re.DOTALL) for pattern in EXPLAINED):
                strange.append(f"{log.name}: {text.strip()[:_SHOWN]}")
    return strange
