"""Apprise, which speaks to all receivers but our own webhooks. It is imported in a process that sends, and no other.

Redirects are not followed unless an address says ``redirect=yes`` itself, and it keeps nothing on disk.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from worker.policy.dead_letter import clean
from worker.policy.notification_receiver import secret_parts
from worker.policy.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MISSING", "apprise_problem", "notify_by_apprise"]

MISSING: Final = "Apprise is not installed: pip install 'aquilax-feedback[notify]'"

_NAME: Final = "AquilaX feedback"
_LONGEST_PROBLEM: Final = 200
_UNKNOWN: Final = "Apprise can't read the address: https://appriseit.com/services has its form"


def apprise_problem(url: str) -> str:
    """Return what is wrong with an address; '' if Apprise can read it. Nothing is sent."""
    return _with_apprise(url, lambda _apprise, _service: True)


def notify_by_apprise(url: str, *, title: str, body: str, severity: str) -> str:
    """Send a message; return why it was not taken, without what is secret in the address, or '' if it was."""

    def notify(apprise: Any, service: Any) -> bool:  # noqa: ANN401 - Apprise is optional: its types may not be there
        sent = service.notify(
            title=title, body=body, notify_type=apprise.NotifyType(severity), body_format=apprise.NotifyFormat.TEXT
        )
        return bool(sent)

    return _with_apprise(url, notify)


def _with_apprise(url: str, use: Callable[[Any, Any], bool]) -> str:
    try:
        import apprise  # noqa: PLC0415 - optional, and 180 ms
    except ModuleNotFoundError:
        return MISSING
    said = _Said()
    logging.getLogger("apprise").addHandler(said)
    try:
        service = apprise.Apprise.instantiate(
            url, asset=apprise.AppriseAsset(app_id=_NAME, http_redirects=False), suppress_exceptions=True
        )
        if service is None:
            return _UNKNOWN
        if use(apprise, service):
            return ""
        return _without_secrets(said.last or "it was not taken", url)
    except Exception as error:  # noqa: BLE001 - of any of its hundred plugins, whose texts may have the address
        return f"Apprise failed: {type(error).__name__}"
    finally:
        logging.getLogger("apprise").removeHandler(said)


class _Said(logging.Handler):
    """Keeps the last warning, which says why a message was not taken."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _without_secrets(text: str, url: str) -> str:
    redacted = Redaction(secret_parts(url))(clean(text))
    return " ".join(redacted.split())[:_LONGEST_PROBLEM]
