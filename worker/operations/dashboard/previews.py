"""What a replay or a discard would do, before it does it; and doing exactly that, or saying what has changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from producer.errors import InvalidEvent
from worker.dead_letters.ineligible import passed_over
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.errors import ReplayError
from worker.dead_letters.replays.planning import SLOWEST, create, preview
from worker.dead_letters.selection import replayable
from worker.dead_letters.statistics import shares
from worker.operations.dashboard.filters import Filters
from worker.operations.dashboard.handler import RequestRefused, whole
from worker.operations.text import read_time_to_come
from worker.policy.parsing import read_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.dead_letters.replays.planning import Edited
    from worker.dead_letters.replays.queries import Plan
    from worker.operations.dashboard.discards import Discard, Discards
    from worker.operations.dashboard.sources import Sources

__all__ = [
    "RATE",
    "Choice",
    "Pacing",
    "begin_discard",
    "choose_discard",
    "choose_replay",
    "frozen",
    "plan_replay",
    "read_begins",
    "read_canary",
    "read_count",
    "read_edit",
    "read_rate",
]

RATE: Final = 50.0
"""Events a second, by default: fresh feedback goes on beside it."""

CANARY: Final = 5
_PLANNING: Final = 120.0
"""Seconds that planning a replay may take: three times what a million rows take on SQLite and a slow disk."""
_FASTEST: Final = 100_000.0
_LARGEST_CANARY: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How a replay goes.

    Attributes:
        rate: Events a second at most; as fast as it goes if None.
        canary: How many go first, and must be delivered before the rest goes.
        begins: When it begins, as the operator wrote it; '' if at once.
        set_org: The org that its events get; None if they keep theirs.
        set_group: The group, likewise.
    """

    rate: float | None = RATE
    canary: int = CANARY
    begins: str = ""
    set_org: str | None = None
    set_group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What would be done.

    Attributes:
        rows: How many rows would be taken.
        invalid: How many more fit, but hold no event that could be replayed.
        elsewhere: How many more fit, and are in a replay already.
        by_cause: How many of each cause: its summary, and the number.
        by_org: How many of each org.
        by_state: How many of each state.
        duration: How long it takes at the rate; None if there is none.
        problems: Which of the ticked rows are not taken, and why.
        edited: What is changed in their events, and in how many.
    """

    rows: int
    invalid: int = 0
    elsewhere: int = 0
    by_cause: tuple[tuple[str, int], ...] = ()
    by_org: tuple[tuple[str, int], ...] = ()
    by_state: tuple[tuple[str, int], ...] = ()
    duration: timedelta | None = None
    problems: tuple[str, ...] = ()
    edited: tuple[Edited, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "rows": self.rows,
            "invalid": self.invalid,
            "elsewhere": self.elsewhere,
            "by_cause": [{"fingerprint": text, "rows": rows} for text, rows in self.by_cause],
            "by_org": [{"org": org, "rows": rows} for org, rows in self.by_org],
            "by_state": [{"state": state, "rows": rows} for state, rows in self.by_state],
            "duration_seconds": None if self.duration is None else self.duration.total_seconds(),
            "problems": list(self.problems),
            "edited": [each.to_record() for each in self.edited],
        }


def frozen(filters: Filters, *, now: datetime | None = None) -> Filters:
    """Return the filters for what has died until now: what dies later was in no preview.

    Relative times become absolute, so that the confirmation means what the preview meant.
    """
    now = now or datetime.now(UTC)
    selection = filters.selection
    until = now if selection.until is None else min(selection.until, now)
    given = dict(filters.given) | {"until": (until.isoformat(),)}
    if selection.since is not None:
        given["since"] = (selection.since.isoformat(),)
    return Filters(given, replace(selection, until=until))


def choose_replay(sources: Sources, filters: Filters, *, rate: float | None, edit: Edit) -> Choice:
    """Return what a replay would do."""
    engine = sources.engine()
    seen = preview(engine, filters.selection, rate=rate, edit=edit)
    return Choice(
        rows=seen.rows,
        invalid=seen.invalid,
        elsewhere=seen.elsewhere,
        by_cause=tuple((count.summary, count.rows) for count in seen.by_cause),
        by_org=tuple((count.summary, count.rows) for count in seen.by_org),
        by_state=tuple((count.name, count.rows) for count in seen.by_state),
        duration=seen.duration,
        problems=tuple(passed_over(engine, filters.selection)),
        edited=seen.edited,
    )


async def plan_replay(sources: Sources, filters: Filters, pacing: Pacing, **confirmed: Any) -> Plan:
    """Begin a replay off the event loop: a million rows take longer to write down than any page to show."""
    return await sources.look(partial(begin_replay, sources, filters, pacing, **confirmed), patience=_PLANNING)


def begin_replay(
    sources: Sources, filters: Filters, pacing: Pacing, *, expected: int | None, actor: str, comment: str
) -> Plan:
    """Plan a replay of as many rows as expected, if a number is. Raises `RequestRefused` if there are others."""
    engine, begins_at, edit = sources.engine(), read_begins(pacing.begins), read_edit(pacing)
    if expected is not None:
        _as_expected(preview(engine, filters.selection).rows, expected)
    pace: dict[str, Any] = {"rate": pacing.rate, "canary": pacing.canary, "begins_at": begins_at, "edit": edit}
    try:
        return create(engine, filters.selection, actor=actor, comment=comment, **pace)
    except ReplayError as error:
        raise RequestRefused(409, str(error)) from None


def choose_discard(sources: Sources, filters: Filters) -> Choice:
    """Return what a discard would do."""
    engine = sources.engine()
    found = shares(engine, replayable(filters.selection))
    return Choice(
        rows=sum(share.rows for share in found),
        by_cause=_most_first((share.summary, share.rows) for share in found),
        by_org=_most_first((share.org or "—", share.rows) for share in found),
        by_state=_most_first((share.state.value, share.rows) for share in found),
        problems=tuple(passed_over(engine, filters.selection)),
    )


def begin_discard(
    sources: Sources, discards: Discards, filters: Filters, *, expected: int | None, actor: str, comment: str
) -> Discard:
    """Begin to discard exactly as many rows as were seen in the preview; see `begin_replay`."""
    rows = choose_discard(sources, filters).rows
    _as_expected(rows, expected)
    if not rows:
        raise RequestRefused(409, "there is nothing to discard: no row fits")
    return discards.begin(replayable(filters.selection), total=rows, actor=actor, comment=comment)


def _as_expected(rows: int, expected: int | None) -> None:
    if expected not in {None, rows}:
        problem = f"there were {expected:,} rows in the preview, and there are {rows:,} now: look again"
        raise RequestRefused(409, problem)


def _most_first(shares: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    numbers = Counter[str]()
    for name, rows in shares:
        numbers[name] += rows
    return tuple(sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0])))


def read_rate(text: str | None) -> float | None:
    """Read how many events a second may go at most, None for any. Raises `RequestRefused` if it is no such number."""
    if text is None:
        return None
    try:
        return read_decimal(text, least=SLOWEST, most=_FASTEST)
    except ValueError as error:
        raise RequestRefused(400, f"rate is {text[:40]!r}: expected {error}, in events a second, or no rate") from None


def read_edit(pacing: Pacing) -> Edit:
    """Return what a replay changes in its events. Raises `RequestRefused` if no event can have it."""
    try:
        return Edit(org=pacing.set_org, group=pacing.set_group)
    except InvalidEvent as error:
        raise RequestRefused(400, f"set_{error}") from None


def read_begins(text: str) -> datetime | None:
    """Read when a replay begins; None for at once. Raises `RequestRefused` if it is no time to come."""
    try:
        return read_time_to_come(text, now=datetime.now(UTC)) if text else None
    except ValueError as error:
        raise RequestRefused(400, f"begins_at is {error}") from None


def read_canary(text: str | None) -> int:
    """Read how many events go first; none if that was not said. Raises `RequestRefused` if it is no such number."""
    return 0 if text is None else whole("canary", text, most=_LARGEST_CANARY)


def read_count(text: str | None) -> int | None:
    """Read how many rows the preview had; None if that was not said. Raises `RequestRefused` if it is no number."""
    return None if text is None else whole("expected", text)
