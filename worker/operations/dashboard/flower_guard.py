"""Flower's own pages and API, under the rules of the dashboard.

Flower knows no roles, and no login by a proxy: all who come in may stop workers, revoke tasks and enqueue any. So each
of its handlers is put behind `GuardedHandler` as the dashboard is installed. What is not named here is guarded: a
handler that a later Flower brings changes nothing for those who may only look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from flower.api import BaseApiHandler
from flower.views import BaseHandler, auth, error, monitor, tasks
from tornado.routing import URLSpec
from tornado.web import RequestHandler, url

from worker.operations.dashboard.authorization import READING, Authorization, RequestRefused
from worker.policy.request_origin import cross_site

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["OPEN", "READ_BY_POST", "GuardedHandler", "guarded"]

OPEN: Final[frozenset[type[RequestHandler]]] = frozenset(
    {auth.LoginHandler, auth.LogoutHandler, error.NotFoundErrorHandler, monitor.Healthcheck, monitor.Metrics}
)
"""Handlers that Flower asks no login for; none has anything to change."""

READ_BY_POST: Final[frozenset[type[RequestHandler]]] = frozenset({tasks.TasksDataTable})
"""Handlers whose POST only reads: the list of tasks sends its search as a form."""


class GuardedHandler(Authorization):
    """What stands before a handler of Flower's.

    Attributes:
        only_reads: Whether its POST changes nothing.
    """

    only_reads: ClassVar[bool] = False

    def prepare(self) -> Awaitable[None] | None:
        """Require the proxy's login where there is one, and the right to act for all that is not read."""
        self.refuse_token_in_address()
        self.refuse_token()
        if self.rules.proxy is not None and not self.current_user:
            raise RequestRefused(401, "No login: the proxy before Flower did not say who asks.")
        if not (
            self.proxied is not None and isinstance(self, BaseApiHandler)
        ):  # which would ask for Flower's own login
            prepared: Awaitable[None] | None = super().prepare()
        else:
            prepared = None
        if self.request.method not in READING and not self.only_reads and self.current_user:
            self.require_act()
        return prepared

    def check_xsrf_cookie(self) -> None:
        """Check forms also where a proxy is the login, and its cookie comes by itself; Flower would not."""
        if self.rules.proxy is None:
            super().check_xsrf_cookie()
            return
        headers = self.request.headers
        reason = cross_site(host=self.request.host, origin=headers.get("Origin"), site=headers.get("Sec-Fetch-Site"))
        if reason:
            raise RequestRefused(403, f"This request is refused: {reason}.")
        super(BaseHandler, self).check_xsrf_cookie()

    def render(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - Tornado's
        """Show no button to those who may only look."""
        if "read_only" in named:
            named["read_only"] = named["read_only"] or bool(self.act_refusal)
        return super().render(*arguments, **named)

    def write_error(self, status_code: int, **named: Any) -> None:
        """Say why a request is refused, in one line of text: pages of Flower's show it beside what was asked for."""
        refused = (named.get("exc_info") or (None, None))[1]
        if not isinstance(refused, RequestRefused):
            super().write_error(status_code, **named)
            return
        if status_code == 401:  # noqa: PLR2004 - the status of HTTP
            self.challenge()
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(refused.summary)


def guarded(handler: URLSpec | tuple[Any, ...]) -> URLSpec | tuple[Any, ...]:
    """Return an entry of Flower's list of handlers whose handler is guarded; as it is if it is open, or was before."""
    kind = handler.handler_class if isinstance(handler, URLSpec) else handler[1]
    if kind in OPEN or not issubclass(kind, BaseHandler) or issubclass(kind, Authorization):
        return handler
    members = {"only_reads": kind in READ_BY_POST, "__module__": __name__, "__doc__": kind.__doc__}
    guard = type(f"Guarded{kind.__name__}", (GuardedHandler, kind), members)
    if isinstance(handler, URLSpec):
        return url(handler.regex.pattern, guard, handler.kwargs, handler.name)
    return (handler[0], guard, *handler[2:])
