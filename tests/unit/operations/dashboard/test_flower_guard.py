from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flower import urls
from tornado.web import RequestHandler, StaticFileHandler

from worker.operations.dashboard.authorization import Authorization
from worker.operations.dashboard.flower_guard import OPEN, READ_BY_POST, GuardedHandler, guarded
from worker.operations.dashboard.install import WithoutTokens, install

if TYPE_CHECKING:
    from collections.abc import Iterator


def _kinds() -> Iterator[type[Any]]:
    install()
    for handler in urls.handlers:
        yield handler[1] if isinstance(handler, tuple) else handler.handler_class


def test_every_handler_of_flowers_is_guarded() -> None:
    """But for those that ask for no login: a later Flower's are guarded before they are known here."""
    unguarded = {kind for kind in _kinds() if not issubclass(kind, Authorization)}

    assert unguarded == OPEN | {StaticFileHandler}


def test_what_is_open_changes_nothing() -> None:
    """Else it would be a way past the guard."""
    for kind in OPEN:
        for method in ("post", "put", "patch", "delete"):
            own = getattr(kind, method) is not getattr(RequestHandler, method)
            assert not own or kind.__name__ == "NotFoundErrorHandler"


def test_one_post_of_flowers_only_reads() -> None:
    """The list of tasks; all others are acts."""
    readers = [kind.__bases__ for kind in _kinds() if issubclass(kind, GuardedHandler) and kind.only_reads]

    assert readers == [(GuardedHandler, *READ_BY_POST)]


def test_a_guarded_handler_is_not_guarded_again() -> None:
    """Names, addresses and arguments stay."""
    install()
    for handler in urls.handlers:
        assert guarded(handler) is handler
    assert {handler.name for handler in urls.handlers if not isinstance(handler, tuple)} >= {"main", "workers", "task"}


def test_no_log_has_a_token() -> None:
    """Tornado writes down the address of what it refuses."""
    token = "afb_" + "x" * 43
    record = logging.LogRecord("tornado.general", logging.WARNING, "", 0, "%d %s", (400, f"GET /?t={token}"), None)

    assert WithoutTokens().filter(record)
    assert record.getMessage() == "400 GET /?t=afb_[redacted]"
