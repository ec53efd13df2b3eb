"""The types of the settings' values: how each is read from text, and what is said of one that can't be."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, SecretStr, ValidationInfo

from producer.environment import switch
from worker.policy.notification_receiver import read_receivers
from worker.policy.quiet_hours import QuietHours
from worker.policy.request_origin import is_loopback
from worker.policy.roles import ActRule
from worker.policy.webhook_signature import read_signing_keys

__all__ = [
    "UNIX_SOCKET", "LogFormat", "Seconds", "act_rule", "api_key", "base_url", "database_url", "flower_url",
    "groups_header", "interval", "lease", "networks", "notify_quiet", "notify_secret", "notify_urls", "origins",
    "parts_of", "proxy_addresses", "proxy_header", "yes_or_no",
]  # fmt: skip

UNIX_SOCKET: Final = "unix"
"""What stands among a proxy's addresses if it speaks over a Unix socket, whose other end has none."""

_SHORTEST_SECONDS: Final = 0.001
_LONGEST_SECONDS: Final = 10 * 365 * 24 * 3600
_SHORTEST_LEASE: Final = timedelta(seconds=3)
_OWN_HEADERS: Final = frozenset({"authorization", "cookie", "host", "origin"})
"""Headers that a browser or a program sets itself, and that proxies pass on."""
_LONGEST_INTERVAL: Final = timedelta(hours=1)
"""Of a relay: `producer.outbox.Relay` takes no longer one."""


def _seconds(value: object) -> object:
    """Durations are plain seconds: ``2``, ``0.5``; not ISO 8601, not ``1:00``."""
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)  # type: ignore[arg-type]  # float() raises TypeError for anything else
    except (TypeError, ValueError):
        raise ValueError("expected a number of seconds") from None
    if not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:  # as NaN is, too
        raise ValueError("expected a number of seconds from 0.001 to ten years")
    return timedelta(seconds=seconds)


def lease(value: timedelta) -> timedelta:
    """Read how long a lease is; raises ValueError if it is too short."""
    if value < _SHORTEST_LEASE:
        raise ValueError(
            "expected at least 3 seconds: a lease is renewed four times while it lasts, and if one renewal is late, "
            "what is being delivered must not be handed out again"
        )
    return value


def interval(value: timedelta) -> timedelta:
    """Read how often a relay looks; raises ValueError if that is too seldom."""
    if value > _LONGEST_INTERVAL:
        raise ValueError("expected at most an hour")
    return value


def api_key(value: SecretStr) -> SecretStr:
    """Read a key without the blanks around it; raises ValueError if a header can't carry it."""
    text = value.get_secret_value().strip()
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("expected a Personal Access Token: printable ASCII without spaces")
    return SecretStr(text)


def _address(value: str, example: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(f"expected an address such as {example}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected an address such as {example}")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("expected an address without login, query and fragment")
    return parts


def base_url(value: str) -> str:
    """Read where AquilaX is; raises ValueError if it is no address, or one that the key must not be sent to."""
    import requests  # noqa: PLC0415 - only an address that is set is read, and importing it is a tenth of a command's start

    parts = _address(value, "https://aquilax.ai")
    try:
        requests.Request("GET", value).prepare()
    except (ValueError, requests.RequestException):
        raise ValueError("expected an address such as https://aquilax.ai") from None
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("expected https: over plain http the key could be read on the way (http is for loopback)")
    return value.rstrip("/")


def flower_url(value: str) -> str:
    """Read where Flower is.

    Raises:
        ValueError: It is no address, or one with a login.
    """
    _address(value, "http://127.0.0.1:5555")
    return value.rstrip("/")


def database_url(value: SecretStr) -> SecretStr:
    """Read the database's URL; raises ValueError if SQLAlchemy can't."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - only a URL that is set is read, and the gateway has none
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - likewise

    try:
        make_url(value.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError("expected an SQLAlchemy URL such as postgresql+psycopg://user:password@host/name") from None
    return value


def notify_secret(value: SecretStr) -> SecretStr:
    """Read what signs webhooks; raises ValueError if it is too short, or otherwise none."""
    read_signing_keys(value.get_secret_value())
    return value


def notify_urls(value: SecretStr, given: ValidationInfo) -> SecretStr:
    """Read who is told; raises ValueError if an address is none, or a webhook could not be signed."""
    signs = given.data.get("feedback_notify_secret", value)  # where that is wrong itself, it is said once
    for receiver in read_receivers(value.get_secret_value()):
        if receiver.is_webhook and signs is None:
            raise ValueError(f"address {receiver.number} is a webhook: set FEEDBACK_NOTIFY_SECRET, which signs it")
    return value


def notify_quiet(value: str) -> str:
    """Read the hours in which only what is urgent is told; raises ValueError if they are none."""
    QuietHours.read(value)
    return value


def parts_of(value: str) -> list[str]:
    """Return the parts of a list that commas separate."""
    return [part.strip() for part in value.split(",") if part.strip()]


def origins(value: str) -> str:
    """Read the origins of pages, as browsers write them; raises ValueError if one is none."""
    for origin in parts_of(value):
        parts = _address(origin, "https://chat.example.com")
        if origin != f"{parts.scheme}://{parts.netloc}".lower():
            raise ValueError("expected origins such as https://chat.example.com, separated by commas; without a path")
    return value


def yes_or_no(value: object) -> object:
    """Read a switch; raises ValueError if it is neither yes nor no."""
    return switch(value) if isinstance(value, str) else value


def networks(value: str) -> str:
    """Read addresses and networks; raises ValueError if one is none."""
    for network in parts_of(value):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError("expected addresses or networks such as 10.0.0.0/8, separated by commas") from None
    return value


def proxy_addresses(value: str) -> str:
    """Read where a proxy is whose word on users is taken; raises ValueError if that is nowhere, or everywhere."""
    addresses = [address for address in parts_of(value) if address != UNIX_SOCKET]
    networks(",".join(addresses))
    if not parts_of(value) or any(ipaddress.ip_network(address).prefixlen == 0 for address in addresses):
        raise ValueError(
            "expected the addresses or networks of the proxy alone, such as 10.0.0.7 or 10.1.0.0/16, or `unix` for "
            "Flower's --unix_socket, separated by commas: any program there is believed whatever user it names"
        )
    return value


def proxy_header(value: str, given: ValidationInfo) -> str:
    """Read the name of the header that names the user; raises ValueError if it is none, or any program may send it."""
    if not given.data.get("feedback_dashboard_proxy_addresses"):
        raise ValueError(
            "any program could send this header: set FEEDBACK_DASHBOARD_PROXY_ADDRESSES to the proxy's own addresses"
        )
    return _header(value, "X-Forwarded-User")


def groups_header(value: str, given: ValidationInfo) -> str:
    """Read the name of the header that names the user's groups; raises ValueError if it is none, or stands alone."""
    user = given.data.get("feedback_dashboard_proxy_header")
    if not user or user.lower() == value.lower():
        raise ValueError("it goes with another header, which names the user: set FEEDBACK_DASHBOARD_PROXY_HEADER")
    return _header(value, "X-Forwarded-Groups")


def _header(value: str, example: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value) or value.lower() in _OWN_HEADERS:
        raise ValueError(f"expected the name of a header that the proxy sets, such as {example}")
    return value


def act_rule(value: str, given: ValidationInfo) -> str:
    """Read who may act; raises ValueError if it is no rule, or names groups that no header tells."""
    if ActRule.read(value).groups and not given.data.get("feedback_dashboard_proxy_groups_header"):
        raise ValueError("group:NAME needs a proxy that names groups: set FEEDBACK_DASHBOARD_PROXY_GROUPS_HEADER")
    return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
LogFormat = Literal["console", "json"]
