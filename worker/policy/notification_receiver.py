"""Who is told: the addresses of FEEDBACK_NOTIFY_URLS, each of which is a secret as a whole.

What keeps an address apart from the others is its place in the setting and its scheme, such as ``2:slack``: that stands
in logs, metrics and Redis, and nothing else of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from worker.policy.request_origin import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_RECEIVERS", "Receiver", "read_receivers", "secret_parts", "secret_tokens"]

MOST_RECEIVERS: Final = 20
"""Each message is sent to every one, by a process of its own."""

_WEBHOOK: Final = "webhook+"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}(?=://.)")
_SEVERAL: Final = re.compile(r",[A-Za-z][A-Za-z0-9+.-]{0,31}://")
_SEPARATORS: Final = re.compile(r"[/:@?&=#.,;]")
_TOKEN, _KEY = 16, 20
"""Characters of a token that has a digit, and of one that has none: shorter ones are words, too."""

_SHORTEST_PART: Final = 6
"""Characters of a part of an address that is looked for by itself: a shorter one would spoil words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One of those that are told.

    Attributes:
        number: Its place in the setting, from 1.
        scheme: What stands before ``://``, in lower case.
        url: The whole address, which is a secret.
    """

    number: int
    scheme: str
    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called wherever it is named."""
        return f"{self.number}:{self.scheme}"

    @property
    def is_webhook(self) -> bool:
        """Whether it is a webhook of ours, which is signed; all others are Apprise's."""
        return self.scheme.startswith(_WEBHOOK)

    @property
    def target(self) -> str:
        """Where a webhook of ours is posted to."""
        return self.url[len(_WEBHOOK) :]


def read_receivers(text: str) -> tuple[Receiver, ...]:
    """Read the addresses, which blanks or line ends separate: an address of Apprise may have commas.

    Raises:
        ValueError: One can't be an address. The message says which, by its number, and shows nothing of it.
    """
    urls = text.split()
    if not urls or len(urls) > MOST_RECEIVERS:
        raise ValueError(
            f"expected 1 to {MOST_RECEIVERS} addresses such as slack://…, separated by spaces or line ends"
        )
    return tuple(_read(number, url) for number, url in enumerate(urls, start=1))


def _read(number: int, url: str) -> Receiver:
    form = _SCHEME.match(url)
    if form is None:
        raise ValueError(f"address {number}: expected one such as slack://…, mailtos://… or webhook+https://…")
    if _SEVERAL.search(url):
        raise ValueError(f"address {number}: expected a space, and not a comma, before the next address")
    receiver = Receiver(number=number, scheme=form[0].lower(), url=url)
    if receiver.is_webhook and (problem := _webhook_problem(receiver)):
        raise ValueError(f"address {number}: {problem}")
    return receiver


def _webhook_problem(receiver: Receiver) -> str:
    """What is wrong with a webhook's address; '' if nothing is."""
    try:
        parts = urlsplit(receiver.target)
        _ = parts.port
    except ValueError:
        return "expected an address such as webhook+https://example.com/hook"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "expected an address such as webhook+https://example.com/hook"
    if parts.username or parts.password or parts.fragment:
        return "expected an address without login and fragment: the signature shows who sends"
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        return "expected webhook+https: plain http is for loopback"
    return ""


def secret_parts(url: str) -> set[str]:
    """Return what is secret in an address: all of it, and each part that is long enough to be looked for."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    found = {url, url.partition("://")[2], *_parts(parts)}
    return {spelling for part in found for spelling in (part, unquote(part)) if len(spelling) >= _SHORTEST_PART}


def secret_tokens(url: str) -> set[str]:
    """Return the parts of an address that look like a token: few, as a log looks for each of them in every line."""
    words = _SEPARATORS.split(unquote(url.partition("://")[2]))
    return {word for word in words if len(word) >= _TOKEN and (len(word) >= _KEY or any(map(str.isdigit, word)))}


def _parts(parts: SplitResult) -> Iterator[str]:
    login, _, host = parts.netloc.rpartition("@")
    yield from (login, *login.split(":"), host, host.partition(":")[0])  # of slack:// the host is a part of the token
    yield from (parts.path, *parts.path.split("/"), parts.query)
    for option in parts.query.split("&"):
        yield option.partition("=")[2]
