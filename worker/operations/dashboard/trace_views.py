"""What became of one press: the search on every page, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from worker.operations.dashboard.flower_tasks import SeenTask, tasks_of
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.event_trace.lookup import read_search, request_ids, trace_event
from worker.operations.event_trace.timeline import attempts_in, statements, timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.operations.dashboard.sources import Sources
    from worker.operations.event_trace.found import EventTrace

__all__ = ["PATIENCE", "TracePage", "find_event"]

_LOOKED_THROUGH: Final = 200_000
"""Messages at most, so that a page takes no longer than a second; the command looks through all."""

PATIENCE: Final = 15.0
"""Seconds that a search may take."""


class TracePage(HtmlHandler):
    """Everything that is known of a request_id, as one timeline; or the request_ids that begin so."""

    tab = "trace"

    async def get(self) -> None:
        """Show it; with status 400 what can't be searched for, and 404 what is not known."""
        self.asked("request_id")
        text = self.get_query_argument("request_id", "")
        wanted, wrong, found = "", "", FoundEvent()
        try:
            wanted, is_whole = read_search(text) if text else ("", False)
        except ValueError as error:
            wrong = str(error)
            self.set_status(400)
        if wanted:
            found = await self.sources.look(
                lambda: find_event(self.sources, wanted, is_whole=is_whole), patience=PATIENCE
            )
            if found.trace is None and not found.matches:
                self.set_status(404)
            elif found.trace is not None and not found.trace.is_known:
                self.set_status(404 if found.trace.is_whole else 503)
        trace, tasks = found.trace, list[SeenTask]()
        if trace is not None:
            seen = list(self.application.events.state.tasks.data.items())  # which other threads may read
            tasks = await self.sources.look(lambda: tasks_of(seen, trace.request_id))
        self.render(
            "feedback_trace.html",
            text=text,
            wrong=wrong,
            wanted=wanted,
            found=found,
            trace=trace,
            statements=[] if trace is None else statements(trace),
            attempts=[] if trace is None else attempts_in(trace),
            moments=[] if trace is None else timeline(trace),
            tasks=tasks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvent:
    """What a search has found.

    Attributes:
        trace: What is known of the only request_id that fits; None if several do, or none.
        matches: The request_ids that fit, where there are several.
        problems: What could not be asked while these were looked for.
    """

    trace: EventTrace | None = None
    matches: Sequence[str] = ()
    problems: Sequence[str] = field(default=())


def find_event(sources: Sources, wanted: str, *, is_whole: bool) -> FoundEvent:
    """Look an answer up; what can't be asked is said in what is found.

    Args:
        sources: Redis and the database.
        wanted: Its request_id, or the beginning of it.
        is_whole: Which of the two.
    """
    settings, partitions = sources.settings, sources.partitions()
    problems: list[str] = []
    if not is_whole:
        matches, problems = request_ids(settings, partitions, sources.engine, wanted, most=_LOOKED_THROUGH)
        if len(matches) != 1:
            return FoundEvent(matches=matches, problems=problems)
        wanted = matches[0]
    trace = trace_event(settings, partitions, sources.engine, wanted, most=_LOOKED_THROUGH)
    return FoundEvent(trace=trace, problems=problems)
