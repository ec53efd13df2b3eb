"""The look of a scrape at what metrics are of, which may fail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["looked_at"]

log = logging.getLogger(__name__)

T = TypeVar("T")


def looked_at(look: Callable[[], T], what: str) -> T | None:
    """Return what a look finds; None if it fails.

    Args:
        look: The look.
        what: What it looks at, for the log.
    """
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - a failing query must not hide the other metrics
        log.debug("%s can't be looked at: %r", what, error)
        return None
