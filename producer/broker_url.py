"""A broker's URL, in redis-py's spelling or Kombu's, read once, and shown without its secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

__all__ = ["BrokerUrl", "Place", "unreadable"]

Place = tuple[str, int]
"""A host and a port."""

_SOCKET_SCHEMES: Final = ("unix", "redis+socket")
_SENTINEL: Final = "sentinel"
_SCHEMES: Final = ("redis", "rediss", *_SOCKET_SCHEMES, _SENTINEL)
_SENTINEL_PORT: Final = 26379
_SENTINEL_LOGIN: Final = {"sentinel_username": "username", "sentinel_password": "password"}
_KOMBU_CERT: Final = "CERT_"


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where Redis is, and how to log in to it.

    Attributes:
        redis: The URL as redis-py spells it. With sentinels its host is the first of them, and only holds the place of
            the master's.
        sentinels: Where the sentinels are, if they tell where Redis is.
        sentinel_login: What the sentinels want for a login, as redis-py's options ``username`` and ``password``.
        kombu: The URL as Kombu spells it. Of several sentinels it names the first alone: of several URLs Kombu shows
            the passwords to whoever inspects a worker.
        shown: The URL without passwords, and without its query, where redis-py takes passwords as well.
    """

    redis: str = field(repr=False)
    kombu: str = field(repr=False)
    shown: str
    sentinels: tuple[Place, ...] = ()
    sentinel_login: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, url: str, sentinel_master: str | None = None) -> BrokerUrl:
        """Read a URL.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://``, or one ``sentinel://`` after another,
                with ``;`` in between.
            sentinel_master: The name under which the sentinels watch the master, if the URL names sentinels.

        Raises:
            ValueError: It can't be read. The message never repeats any of it: a password may be anywhere in it.
        """
        if not url.startswith(f"{_SENTINEL}://"):
            if sentinel_master:
                raise unreadable(
                    "it names no sentinels, and sentinel_master (FEEDBACK_SENTINEL_MASTER) is given: "
                    f"expected {_SENTINEL}://host:{_SENTINEL_PORT}, or no master's name"
                )
            parts = _split(url)
            return cls(redis=_in_redis_spelling(parts), kombu=url, shown=_masked(parts))
        if not sentinel_master:
            raise unreadable(
                "it names sentinels: the name of the master that they watch is missing "
                "(sentinel_master, FEEDBACK_SENTINEL_MASTER)"
            )
        return cls._of_sentinels([_split(one) for one in url.split(";")])

    @classmethod
    def _of_sentinels(cls, every: list[SplitResult]) -> BrokerUrl:
        if any(parts.scheme != _SENTINEL or not parts.hostname for parts in every):
            raise unreadable(f"expected {_SENTINEL}://host:port for each sentinel")
        login = _same("logins", [parts.netloc.rpartition("@")[0] for parts in every])
        database = _same("databases", [parts.path.strip("/") for parts in every])
        query = _options(_same("options", [parts.query for parts in every]))
        sentinel_login = {option: query.pop(name) for name, option in _SENTINEL_LOGIN.items() if name in query}
        first = every[0].netloc.rpartition("@")[2]
        rest = f"{login and login + '@'}{first}/{database or 0}?{urlencode(query)}"
        tls = any(name.startswith("ssl_") for name in query)
        return cls(
            redis=f"{'rediss' if tls else 'redis'}://{rest}",
            kombu=f"{_SENTINEL}://{rest.removesuffix('?')}",
            shown=";".join(_masked(parts) for parts in every),
            sentinels=tuple((parts.hostname or "", parts.port or _SENTINEL_PORT) for parts in every),
            sentinel_login=sentinel_login,
        )


def unreadable(reason: str) -> ValueError:
    """Return the error that says why a URL can't be read."""
    return ValueError(f"the broker's URL can't be read: {reason}")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise unreadable("its host and port can't be told; percent-encode the password") from None
    if parts.scheme not in _SCHEMES:
        raise unreadable(f"expected one that begins with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.fragment:
        raise unreadable('it has a "#"; percent-encode the password')
    if parts.scheme not in _SOCKET_SCHEMES and not re.fullmatch(r"/?\d*", parts.path):
        raise unreadable("its path is not the number of a database")
    return parts


def _same(what: str, said: list[str]) -> str:
    """What may stand at any of the sentinels, or at several of them alike."""
    found = {one for one in said if one}
    if len(found) > 1:
        raise unreadable(f"its sentinels are given different {what}: they are Redis's, and the same for all of them")
    return found.pop() if found else ""


def _options(query: str) -> dict[str, str]:
    options = {name: values[0] for name, values in parse_qs(query).items()}
    if options.get("ssl_cert_reqs", "").startswith(_KOMBU_CERT):
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix(_KOMBU_CERT).lower()
    return options


def _in_redis_spelling(parts: SplitResult) -> str:
    options = _options(parts.query)
    scheme = "unix" if parts.scheme in _SOCKET_SCHEMES else parts.scheme
    if "virtual_host" in options:
        options["db"] = options.pop("virtual_host").removeprefix("/")
    return f"{scheme}://{parts.netloc}{parts.path}?{urlencode(options)}"


def _masked(parts: SplitResult) -> str:
    login, _, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    shown_login = f"{user}:***@" if colon else f"{user}@" if login else ""
    return f"{parts.scheme}://{shown_login}{place}{parts.path}"
