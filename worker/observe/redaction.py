"""No secret in a log: what is known to be one, and what looks like a login in a URL, is taken out of every line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import EventDict, WrappedLogger

    from worker.settings import Settings

__all__ = ["Redactor", "secrets_of"]

REDACTED: Final = "[redacted]"

_SHORTEST: Final = 6
"""Characters of a secret that is looked for by itself: a shorter one would spoil words, and is a secret to nobody."""

_IN_URL: Final = re.compile(r"(?<=://)(?P<user>[^\s/:@\"']*):(?P<password>[^\s/\"']+)@")
_AS_OPTION: Final = re.compile(
    r"(?P<name>[?&;]\w*(?:password|secret|token)\w*=)(?P<password>[^\s&;\"']+)", re.IGNORECASE
)
_HEADER: Final = "x-ax-key"
_IN_HEADER: Final = re.compile(r"(?P<name>X-AX-KEY['\"]?\s*[:=]\s*b?['\"]?)(?P<key>[^\s'\",}]+)", re.IGNORECASE)


def secrets_of(settings: Settings) -> set[str]:
    """Return what must not stand in a log: the key, and the passwords in the URLs, in each spelling."""
    urls = [settings.feedback_broker_url, settings.feedback_database_url]
    found = [
        match["password"]
        for url in urls
        for pattern in (_IN_URL, _AS_OPTION)
        for match in pattern.finditer(url.get_secret_value())
    ]
    if settings.aquilax_api_key is not None:
        found.append(settings.aquilax_api_key.get_secret_value())
    return {spelling for secret in found for spelling in (secret, unquote(secret), quote(secret, safe=""))}


class Redactor:
    """A processor of structlog that takes secrets out of everything that will be written.

    Args:
        secrets: What is known to be secret.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
        """Clean the texts of an event."""
        texts = {name: value for name, value in event_dict.items() if isinstance(value, str)}
        if self._may_be_secret("\n".join(texts.values())):
            event_dict.update({name: self.clean(value) for name, value in texts.items()})
        return event_dict

    def _may_be_secret(self, text: str) -> bool:
        """Whether there is anything that `clean` would look at more closely."""
        return "://" in text or "=" in text or _HEADER in text.lower() or any(each in text for each in self._known)

    def clean(self, text: str) -> str:
        """Return the text without what is secret."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, REDACTED)
        if "://" in text:
            text = _IN_URL.sub(rf"\g<user>:{REDACTED}@", text)
        if "=" in text:
            text = _AS_OPTION.sub(rf"\g<name>{REDACTED}", text)
        if _HEADER in text.lower():
            text = _IN_HEADER.sub(rf"\g<name>{REDACTED}", text)
        return text
