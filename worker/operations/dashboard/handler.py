"""What all pages and the API share: who may come in, who may change what, and errors."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flower.views import BaseHandler
from tornado.web import HTTPError

from worker.operations.dashboard.access_control import Binding, Caller, rejection
from worker.operations.dashboard.authorization import READING, Authorization, RequestRefused
from worker.operations.dashboard.filters import Filters, WrongFilter, read_filters
from worker.operations.dashboard.sources import Sources, SourceUnavailable
from worker.policy.dead_letter import clean
from worker.policy.parsing import LARGEST, read_whole
from worker.policy.request_origin import cross_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

__all__ = ["Handler", "RequestRefused", "explained", "known_only", "whole"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_PROXY_HEADERS: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip")

_MAX_COMMENT: Final = 500

_READ_ONLY: Final = "Flower is in read-only mode (--read_only): nothing can be changed here."
_NO_USER: Final = "no login: the proxy before Flower did not say who asks, or this request did not come through it"


@contextmanager
def explained() -> Iterator[None]:
    """Refuse what a `ValueError` says can't be read."""
    try:
        yield
    except ValueError as error:
        raise RequestRefused(400, str(error)) from None


def whole(name: str, text: str, *, least: int = 0, most: int = LARGEST) -> int:
    """Return a field that is a whole number. Raises `RequestRefused` if it is none."""
    try:
        return read_whole(text, least=least, most=most)
    except ValueError as error:
        raise RequestRefused(400, f"{name} is {text[:40]!r}: expected {error}") from None


def known_only(arguments: Iterable[str], names: Sequence[str]) -> None:
    """Make sure that there are no other arguments. Raises `RequestRefused` if there are."""
    if unknown := sorted(set(arguments) - set(names)):
        expected = f"some of {', '.join(names)}" if names else "none in the address"
        raise RequestRefused(400, f"{unknown[0][:40]!r} is no field here: expected {expected}")


class Handler(Authorization):
    """A handler of the dashboard, inside Flower."""

    def set_default_headers(self) -> None:
        """Let no other page frame, embed or read this one; also where Flower opens its own API to everybody."""
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        """Reject requests to an unprotected Flower (403); require a login (401), and the right to act (403)."""
        self.refuse_token_in_address()
        options, request = self.application.options, self.request
        has_login = self.has_own_login or self.rules.proxy is not None
        binding = Binding(has_login=has_login, address=options.address, unix_socket=options.unix_socket)
        caller = Caller(
            peer=self.peer, host=request.host, forwarded=any(name in request.headers for name in _PROXY_HEADERS)
        )
        if reason := rejection(binding, caller):
            raise RequestRefused(403, f"Nothing is shown here: {reason}.")
        await self.take_token()
        self.ask_for_login()
        if request.method not in READING:
            self.may_change()

    async def take_token(self) -> None:
        """Let a program with a token in (401 if it is not valid); a page refuses it."""
        self.refuse_token()

    def ask_for_login(self) -> None:
        """Require a login for everything further (401)."""
        if not self.current_user:
            raise RequestRefused(401, _NO_USER if self.rules.proxy else "log in first")

    def check_xsrf_cookie(self) -> None:
        """Refuse what a page of another site may have sent (403), with a login and without; Flower does not always."""
        headers = self.request.headers
        reason = cross_site(host=self.request.host, origin=headers.get("Origin"), site=headers.get("Sec-Fetch-Site"))
        if reason:
            raise RequestRefused(403, f"This request is refused: {reason}.")
        self.check_token()

    def check_token(self) -> None:
        """Refuse a form that is not one of ours (403): Tornado's own check, past Flower's exceptions to it."""
        super(BaseHandler, self).check_xsrf_cookie()

    def may_change(self) -> None:
        """Refuse any change in a Flower that may make none, and to those who may only look (403).

        Every request that is not a GET is asked this before its handler is called.
        """
        if self.application.options.read_only:
            raise RequestRefused(403, _READ_ONLY)
        self.require_act()

    @property
    def read_only(self) -> bool:
        """Whether this user can change nothing: pages show no button then."""
        return bool(self.why_read_only)

    @property
    def why_read_only(self) -> str:
        """Why this user can change nothing, as a sentence; '' if they can."""
        return _READ_ONLY if self.application.options.read_only else self.act_refusal

    @property
    def sources(self) -> Sources:
        """The database and Redis; one for the whole Flower."""
        application: Any = self.application  # which carries it
        if not hasattr(application, "feedback_sources"):
            application.feedback_sources = Sources(application.capp.feedback.settings)
        sources: Sources = application.feedback_sources
        return sources

    async def look(self, what: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Carry a function out off the event loop. What can't be reached becomes status 503."""
        return await self.sources.look(lambda: what(*arguments, **named))

    def asked(self, *names: str) -> None:
        """Refuse a request whose address has another field than these: a misspelt filter would choose too much."""
        known_only(self.request.query_arguments, names)

    def filters(self, values: Callable[[str], list[str]] | None = None) -> Filters:
        """Return the filters of the address, or of other values. Raises `RequestRefused` if one is empty or wrong."""
        try:
            return read_filters(values or self.get_query_arguments, now=datetime.now(UTC))
        except WrongFilter as error:
            raise RequestRefused(400, str(error)) from None

    @staticmethod
    def read_comment(text: str, *, needed: bool = True) -> str:
        """Return the reason for a change, as it is kept. Raises `RequestRefused` if there is none, and it is needed."""
        text = clean(text, max_bytes=4 * _MAX_COMMENT)[:_MAX_COMMENT]
        if needed and not text:
            raise RequestRefused(400, "comment: expected a few words that say why")
        return text

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """What is unavailable is no fault of ours: one line in the log, and no traceback."""
        if isinstance(value, SourceUnavailable):
            log.warning("%s %s is unavailable: %s", self.request.path, value.what, value)
        else:
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong and what to do; never show a traceback, also in Flower's debug mode."""
        if not hasattr(self, "_current_user"):
            self.current_user = None  # don't ask for the login again while saying that it is missing
        if status_code == 401:  # noqa: PLR2004 - the status of HTTP
            self.challenge()
        match (kwargs.get("exc_info") or (None, None))[1]:
            case SourceUnavailable() as error:
                self.set_status(503)
                self.say(f"{error.what} can't be reached", str(error), do=error.do)
            case HTTPError() as error:
                self.say(_TITLES.get(status_code, "That did not work"), _summary(error))
            case _:
                self.say("That did not work", "It is our fault, and stands in Flower's log. Nothing is lost.")

    def say(self, title: str, text: str, *, do: str = "") -> None:
        """Answer with a problem."""
        raise NotImplementedError


_TITLES: Final = {
    400: "That can't be read",
    401: "Log in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not to be had in this way",
    409: "Not now",
}


def _summary(error: HTTPError) -> str:
    """What we say of a refusal of ours, and Tornado of its own: of a wrong token above all."""
    if isinstance(error, RequestRefused):
        return error.summary
    message = error.log_message or error.reason or "that is not possible"
    return message % error.args if error.args else message
