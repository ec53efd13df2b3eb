"""What a check found: a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "green", "red", "yellow"]


class Level(StrEnum):
    """How bad it is."""

    GREEN = "green"
    """As it should be."""
    YELLOW = "yellow"
    """It works, and needs attention soon."""
    RED = "red"
    """Feedback is not delivered because of it, or may be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at, in short; programs tell findings apart by it.
        level: How bad it is.
        summary: What was seen.
        fix: What to do; '' if there is nothing to do.
    """

    check: str
    level: Level
    summary: str
    fix: str = ""


def green(check: str, summary: str) -> Finding:
    """Return a finding that something is as it should be."""
    return Finding(check=check, level=Level.GREEN, summary=summary)


def yellow(check: str, summary: str, *, fix: str) -> Finding:
    """Return a finding that needs attention soon."""
    return Finding(check=check, level=Level.YELLOW, summary=summary, fix=fix)


def red(check: str, summary: str, *, fix: str) -> Finding:
    """Return a finding that keeps feedback from being delivered, or may lose it."""
    return Finding(check=check, level=Level.RED, summary=summary, fix=fix)
