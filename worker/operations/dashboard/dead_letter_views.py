"""The pages that show dead letters row by row, and one of them with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from worker.accounting.table_counts import count_by_state
from worker.dead_letters.pagination import Order, Place, page_of, total_of
from worker.dead_letters.pagination import Page as Rows
from worker.dead_letters.queries import count, find
from worker.dead_letters.replays.free_rows import free_rows
from worker.dead_letters.replays.queries import plans, replays_of
from worker.dead_letters.selection import holds_event, is_replayable
from worker.operations.attempts import attempts_of
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.flower_tasks import task_of
from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.dashboard.presenters import COUNTED, advice, view_of

if TYPE_CHECKING:
    from worker.database.models import DeadLetter
    from worker.dead_letters.causes import FingerprintCount
    from worker.dead_letters.replays.queries import Replayed
    from worker.operations.dashboard.filters import Filters
    from worker.operations.dashboard.sources import Sources

__all__ = [
    "RawFile",
    "RowPage",
    "RowsPage",
    "elsewhere_of",
    "find_row",
    "read_order",
    "read_place",
    "rows_of",
    "states_of",
]

_ROWS: Final = 50

_DIGITS: Final = 10

_LOOKED_AT: Final = 200
"""Rows of each cause that are looked up in the replays that go on."""


class RowsPage(HtmlHandler):
    """Rows, a page at a time."""

    section = "rows"

    async def get(self) -> None:
        """Show a page of them."""
        self.asked("order", "place", "start", *NAMES)
        filters, wrong = self.read_filters()
        order = read_order(self.get_query_argument("order", "", strip=True))
        place = read_place(self.get_query_argument("place", "", strip=True), order)
        seen, states = _Seen(), None
        if wrong is None:
            seen = await self.look(see, self.sources, filters, order=order, place=place)
            if not seen.total and filters.folded:
                states = await self.look(states_of, self.sources)
        self.render(
            "feedback_rows.html",
            page=seen.rows,
            total=seen.total,
            takeable=seen.takeable,
            replayable=seen.replayable,
            start=_start(self.get_query_argument("start", ""), first=place is None),
            size=_ROWS,
            filters=filters,
            order=order,
            place=place,
            states=states,
            wrong=wrong,
            can_take=is_replayable,
            holds_event=holds_event,
            advice=advice,
        )


class RowPage(HtmlHandler):
    """All that is known of one row."""

    section = "rows"

    async def get(self, row_id: str) -> None:
        """Show it."""
        found = await self.look(find_row, self.sources, row_id)
        if found is None:
            raise RequestRefused(404, f"There is no dead letter {row_id}.")
        task = task_of(self.application.events.state.tasks, found.row.message_id)
        raw = None if found.row.raw is None else view_of(found.row.raw)
        self.render(
            "feedback_row.html",
            row=found.row,
            raw=raw,
            replays=found.replays,
            can_take=is_replayable(found.row),
            can_replay=holds_event(found.row) and not any(replay.is_open for replay in found.replays),
            task=task,
            advice=advice(found.row),
            attempts=attempts_of(found.row),
        )


class RawFile(HtmlHandler):
    """The raw message as a file; never as something that a browser would show or run."""

    async def get(self, row_id: str) -> None:
        """Send it."""
        found = await self.look(find_raw, self.sources, row_id)
        if found is None:
            raise RequestRefused(404, f"There is no raw message of a dead letter {row_id}.")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="dead-letter-{int(row_id)}.bin"')
        self.finish(found)


def rows_of(sources: Sources, filters: Filters, *, order: Order, place: Place | None, size: int) -> tuple[Rows, int]:
    """Return a page of the rows that fit, and how many these are."""
    engine, which = sources.engine(), filters.selection.clause()
    rows = page_of(engine, which, order=order, place=place, size=size)
    return rows, total_of(engine, which, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A page of rows.

    Attributes:
        rows: The rows.
        total: How many fit, one more than `COUNTED` if there are more than these.
        takeable: How many of these a discard takes, likewise.
        replayable: How many of these a replay takes, likewise: others may be in another replay, or hold no event. None
            if there are too many to be looked up.
    """

    rows: Rows = field(default_factory=lambda: Rows(rows=[], before=None, after=None))
    total: int = 0
    takeable: int = 0
    replayable: int | None = 0


def see(sources: Sources, filters: Filters, *, order: Order, place: Place | None) -> _Seen:
    """Return a page of the rows that fit, and how many may be replayed or discarded at once."""
    engine, which = sources.engine(), filters.selection.clause()
    rows = page_of(engine, which, order=order, place=place, size=_ROWS)
    total, acting = total_of(engine, which, rows, most=COUNTED), filters.acting
    if acting is None:
        takeable = 0
    elif acting is filters or not total:
        takeable = total
    else:
        takeable = count(engine, acting.selection.clause(), most=COUNTED)
    replayable = 0 if acting is None or not takeable else _replayable(sources, acting, takeable)
    return _Seen(rows=rows, total=total, takeable=takeable, replayable=replayable)


def _replayable(sources: Sources, acting: Filters, takeable: int) -> int | None:
    """How many rows a replay takes. They are looked up one by one only while another replay goes on."""
    if not plans(sources.engine(), active=True, limit=1):
        return takeable
    free = free_rows(sources.engine(), acting.selection)
    return free.rows if free.are_all else None


def elsewhere_of(sources: Sources, filters: Filters, causes: tuple[FingerprintCount, ...]) -> set[str]:
    """Return those of some causes of which another replay that goes on has every row, so that there is none to replay.

    Of a cause with many rows that is not known, and the preview says it.
    """
    acting = filters.acting
    if acting is None or not plans(sources.engine(), active=True, limit=1):
        return set()
    selections = {each.fingerprint: replace(acting.selection, fingerprints=(each.fingerprint,)) for each in causes}
    looks = {name: free_rows(sources.engine(), one, most=_LOOKED_AT) for name, one in selections.items()}
    return {name for name, free in looks.items() if not free.any}


def states_of(sources: Sources) -> dict[str, int]:
    """Return how many rows are in each state."""
    return count_by_state(sources.engine())


def _start(text: str, *, first: bool) -> int | None:
    """Which row of all the first one of a page is, from 1, as the link to it said; None if that is not known."""
    if first:
        return 1
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else None


def find_raw(sources: Sources, row_id: str) -> bytes | None:
    """Return the raw message of a row; None if it has none."""
    rows = find(sources.engine(), row_id)
    return rows[0].raw if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """One row, with its raw message, and the replays that it was in, the newest first."""

    row: DeadLetter
    replays: list[Replayed]


def find_row(sources: Sources, row_id: str) -> DeadLetterView | None:
    """Return the row of an id; None if there is none."""
    rows = find(sources.engine(), row_id)
    return DeadLetterView(row=rows[0], replays=replays_of(sources.engine(), rows[0].id)) if rows else None


def read_order(text: str) -> Order:
    """Read an order. Raises `RequestRefused` if there is none of this name."""
    try:
        return Order(text) if text else Order.NEWEST
    except ValueError:
        raise RequestRefused(400, f"order is {text[:40]!r}: expected one of {', '.join(Order)}") from None


def read_place(text: str, order: Order) -> Place | None:
    """Read a place in a list. Raises `RequestRefused` if it is none of this order."""
    try:
        return Place.read(text, order) if text else None
    except (ValueError, OverflowError):
        raise RequestRefused(
            400, f"place is {text[:60]!r}, which is none in this list: begin again at its first page"
        ) from None
