"""A page of the dashboard: a handler that answers in HTML, in Flower's own frame."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from tornado.web import authenticated

from worker.dead_letters.selection import Selection
from worker.operations.attempts import milliseconds_of, then_of
from worker.operations.dashboard.filters import Filters, WrongFilter, read_filters
from worker.operations.dashboard.handler import Handler, known_only
from worker.operations.dashboard.presenters import bars, counted, moment, person
from worker.policy.durations import span

__all__ = ["STATIC", "TEMPLATES", "HtmlHandler"]

TEMPLATES: Final = Path(__file__).parent / "templates"
STATIC: Final = Path(__file__).parent / "static"


class HtmlHandler(Handler):
    """A page.

    Attributes:
        tab: The tab of the navbar that it is under.
        section: Which of the tab's own lists it is.
    """

    tab = "dead-letters"
    section = ""

    def ask_for_login(self) -> None:
        """Redirect a request without a login to Flower's own login page, where there is one."""
        if self.has_own_login:
            authenticated(_in)(self)
        else:
            super().ask_for_login()

    def get_template_namespace(self) -> dict[str, Any]:
        """Return what every template may use."""
        namespace: dict[str, Any] = super().get_template_namespace()
        return namespace | {
            "bars": bars,
            "counted": counted,
            "milliseconds_of": milliseconds_of,
            "moment": moment,
            "now": datetime.now(UTC),
            "number": number,
            "person": person,
            "read_only": self.read_only,
            "section": self.section,
            "short": short,
            "since": since,
            "span": span,
            "static_file": lambda name: f"{self.reverse_url('feedback-static', name)}?v={_version(name)}",
            "tab": self.tab,
            "then_of": then_of,
            "why_read_only": self.why_read_only,
        }

    def sent(self, *names: str) -> None:
        """Refuse a form with another field, or an address with any: a misspelt filter would choose all rows."""
        self.asked()
        known_only(self.request.body_arguments, ("_xsrf", *names))

    def body(self, name: str) -> str:
        """Return a field of the form that was sent; '' if it has none."""
        values: list[str] = self.get_body_arguments(name)
        return values[-1].strip() if values else ""

    def read_filters(self) -> tuple[Filters, WrongFilter | None]:
        """Return the filters of the address; and if one can't be read, what is wrong, with status 400.

        The page then asks again, with what was given still in its form. A field that the form left empty is no filter:
        here rows are looked at, and no more.
        """
        try:
            return read_filters(self.get_query_arguments, now=datetime.now(UTC), blank_is_any=True), None
        except WrongFilter as error:
            self.set_status(400)
            return Filters(error.given, Selection()), error

    def say(self, title: str, text: str, *, do: str = "") -> None:
        """Answer with a problem, on a page."""
        self.render("feedback_problem.html", title=title, text=text, do=do)

    def see(self, name: str, *arguments: object, query: str = "") -> None:
        """Send the browser to a page, after a change: to load that again changes nothing."""
        self.redirect(self.reverse_url(name, *arguments) + query, status=303)


def _in(_page: HtmlHandler) -> None:
    """There is a login."""


def short(at: datetime) -> str:
    """Return a time as one says it, in UTC: without its day if it is of today."""
    return f"{at:%H:%M} UTC" if at.date() == datetime.now(UTC).date() else f"{at:%d %b %H:%M} UTC"


def since(at: datetime) -> str:
    """Return how long ago something was."""
    return span(max(datetime.now(UTC) - at, timedelta()))


def number(value: float | None, *, digits: int = 0) -> str:
    """Return a number as a person reads it; a dash for none."""
    return "—" if value is None else f"{value:,.{digits}f}"


@cache
def _version(name: str) -> str:
    """What changes with a file, so that a browser may keep it until then."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
