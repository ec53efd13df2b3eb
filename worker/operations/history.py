"""The history as operators ask for it, by the command line, the pages and the API; and how AquilaX does now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.accounting.history.reading import FAILURES, HistoryRange, merged
from worker.operations.text import read_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.accounting.history.fields import ResponseField
    from worker.accounting.history.reading import History, HistoryBucket

__all__ = ["RESPONSES", "failures_in", "latency_text", "percent", "read_range", "read_until", "warnings_of"]

RESPONSES: Final = {
    "2xx": "2xx",
    "3xx": "3xx",
    "429": "429",
    "4xx": "other 4xx",
    "5xx": "5xx",
    "timeout": "timeouts",
    "none": "no connection",
    "other": "no HTTP status",
}
"""What AquilaX responded, as people read it, by the name of the field."""

_RECENT: Final = 5
"""Buckets of which it is said how AquilaX does now."""

_MANY: Final = 0.05
"""The share of failures from which on it is said: far below what opens the circuit breaker."""

_ENOUGH: Final = 3
"""Failures; fewer are chance."""

_HALF: Final = 0.5

_SLOWER: Final = 2.0
_SLOW_BY: Final = 0.1
"""By how much half of the responses must take longer than usual before it is said, as a ratio and in seconds."""

_MEASURED: Final = 10
"""Responses, and minutes with any; what takes long among fewer is chance."""


def read_range(text: str) -> HistoryRange:
    """Read how much of the history is wanted.

    Raises:
        ValueError: It is none of the three; the message names the field and them.
    """
    try:
        return HistoryRange(text)
    except ValueError:
        raise ValueError(f"range is {text[:40]!r}: expected {', '.join(HistoryRange)}") from None


def read_until(text: str, *, now: datetime) -> datetime | None:
    """Read a moment in the last stretch of time that is wanted; None for now.

    Raises:
        ValueError: It is no time, or one to come; the message names the field and what is expected.
    """
    if not text:
        return None
    try:
        until = read_time(text, now=now)
    except ValueError as error:
        raise ValueError(f"until is {error}") from None
    if until > now:
        raise ValueError(f"until is {text[:40]!r}: expected a time that has passed")
    return until


def warnings_of(history: History) -> list[str]:
    """Return how much AquilaX fails now, and how slow it is; nothing if the history is not by the minute."""
    if history.shown is not HistoryRange.HOUR:
        return []
    return [warning for warning in (_failing(history), _slow(history)) if warning]


def _failing(history: History) -> str:
    """How much it fails, if it does."""
    recent, before = history.last(_RECENT), history.buckets[:-_RECENT]
    if recent.failures < max(_ENOUGH, recent.responses * _MANY):
        return ""
    counts = f"{recent.failures:,} of {recent.responses:,} requests ({percent(recent.failures, recent.responses)})"
    failed, asked = sum(one.failures for one in before), sum(one.responses for one in before)
    rest = f"; {percent(failed, asked)} in the hour before" if asked else ""
    since = _since(history, lambda minute: minute.failures >= minute.responses * _MANY)
    return f"AquilaX failed {counts} within the last {_RECENT} minutes: {failures_in(recent)}{rest}. {since}"


def _slow(history: History) -> str:
    """How slow it is, if it takes much longer than usual.

    It may have been slow for half of the hour: the fastest quarter of its minutes tells what is usual.
    """
    recent = history.last(_RECENT)
    half = recent.latency(_HALF)
    usual = sorted(took for minute in history.buckets[:-_RECENT] if (took := minute.latency(_HALF)) is not None)
    if half is None or recent.responses < _MEASURED or len(usual) < _MEASURED:
        return ""
    typical = usual[len(usual) // 4]
    longer = max(typical * _SLOWER, typical + _SLOW_BY)
    if half < longer:
        return ""
    since = _since(history, lambda minute: (minute.latency(_HALF) or 0) >= longer)
    return (
        f"AquilaX is slow: half of its responses within the last {_RECENT} minutes took {latency_text(half)} or longer;"
        f" {latency_text(typical)} is usual. {since}"
    )


def _since(history: History, is_so: Callable[[HistoryBucket], bool]) -> str:
    """Since when it has been so without a break, which takes as many minutes together as the warning itself does."""
    minutes = history.buckets
    began = minutes[-1]
    for last in reversed(range(len(minutes))):
        some = minutes[max(last + 1 - _RECENT, 0) : last + 1]
        together = merged(some)
        if not together.responses:
            continue
        if not is_so(together):
            break
        began = next((minute for minute in some if minute.responses and is_so(minute)), some[-1])
    return "That began an hour ago or earlier." if began is minutes[0] else f"That began at {began.at:%H:%M} UTC."


def failures_in(bucket: HistoryBucket) -> str:
    """Return which failures there were: ``20 5xx, 4 timeouts``; '' for none."""
    return _listed(bucket, FAILURES)


def _listed(bucket: HistoryBucket, fields: tuple[ResponseField, ...]) -> str:
    return ", ".join(f"{bucket.sum(field):,} {RESPONSES[field.value]}" for field in fields if bucket.sum(field))


def percent(part: int, whole: int) -> str:
    """Return a share as text: ``0.4 %``; of nothing it is none."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %"  # noqa: PLR2004 - two digits say enough


def latency_text(seconds: float | None) -> str:
    """Return a latency as text, to two digits, as it is known to no more; a dash for none."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{float(f'{seconds * 1000:.2g}'):g} ms"
    return f"{float(f'{seconds:.2g}'):g} s"
