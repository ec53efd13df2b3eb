"""Downloads of dead letters as CSV or NDJSON, streamed page by page."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tornado.iostream import StreamClosedError

from worker.dead_letters.queries import stream
from worker.operations.dashboard.action_views import TICKED, chosen_filters
from worker.operations.dashboard.api import ApiHandler
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.handler import Handler
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.export import write_csv, write_ndjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.database.models import DeadLetter
    from worker.operations.dashboard.filters import Filters
    from worker.operations.dashboard.sources import Sources

__all__ = ["FORMATS", "ExportApi", "ExportFile"]

log = logging.getLogger(__name__)

FORMATS: Final[Mapping[str, str]] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
"""The endings of the files, and their types."""


class _Export(Handler):
    """A handler that streams a file."""

    async def send(self, filters: Filters, format_: str) -> None:
        """Send the rows that fit, oldest first, with their raw messages.

        The next page is read once the client has received the one before, so that one page at most is in memory. Rows
        that are inserted meanwhile are left out.

        Args:
            filters: The rows.
            format_: One of `FORMATS`.
        """
        pages = await self.look(pages_of, self.sources, filters)
        text = await self.look(_text_of, pages, format_, is_first=True)  # before the headers: an error still has a page
        name = f"dead-letters-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{format_}"
        self.set_header("Content-Type", FORMATS[format_])
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        try:
            while text is not None:
                self.write(text)
                await self.flush()
                text = await self.look(_text_of, pages, format_, is_first=False)
        except StreamClosedError:
            return  # the client has disconnected
        except Exception:
            log.exception("an export ends in the middle, and its connection with it")
            self._break_off()
            return
        self.finish()

    def _break_off(self) -> None:
        """Close the connection before the last chunk, so that the client sees an incomplete response."""
        connection: Any = self.request.connection  # of HTTP/1.1, which Flower speaks
        connection.stream.close()


class ExportFile(_Export, HtmlHandler):
    """The rows that a page shows, or those that were ticked there."""

    section = "rows"

    async def get(self, format_: str) -> None:
        """Send them."""
        self.asked(TICKED, *NAMES)
        await self.send(chosen_filters(self), format_)


class ExportApi(_Export, ApiHandler):
    """The same for programs."""

    async def get(self, format_: str) -> None:
        """Send the rows that fit."""
        self.asked(*NAMES)
        await self.send(self.filters(), format_)


def pages_of(sources: Sources, filters: Filters) -> Iterator[list[DeadLetter]]:
    """Return the rows that fit, page by page; each page is read when it is asked for."""
    return stream(sources.engine(), filters.selection.clause(), with_raw=True)


def _text_of(pages: Iterator[list[DeadLetter]], format_: str, *, is_first: bool) -> str | None:
    """Return the next page as text; None after the last one. A CSV's first one has the header, also without rows."""
    rows = next(pages, None)
    if rows is None and not (is_first and format_ == "csv"):
        return "" if is_first else None
    output = io.StringIO()
    if format_ == "csv":
        write_csv(rows or (), output, header=is_first)
    else:
        write_ndjson(rows or (), output)
    return output.getvalue()
