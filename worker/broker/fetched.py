"""What a fetch hands over."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Fetched"]


class Fetched(NamedTuple):
    """One message that was handed over."""

    queue: str
    tag: str
    payload: dict[str, Any]
    due: int | None
