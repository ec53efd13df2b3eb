"""The options that a broker's URL may have: one set, for the producer, the worker, the commands and Flower alike.

redis-py and Kombu each know options of their own, and treat the other's as errors or not at all: ``db`` is ignored by
one and obeyed by the other. So the query is read here, into values that both are given in their own way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ACCEPTED", "UrlOptions", "unreadable"]

_DATABASE: Final = ("db", "virtual_host")
"""redis-py's name for the number of the database, and Kombu's."""

_LOGIN: Final = ("username", "password")
_SENTINEL_LOGIN: Final = {"sentinel_username": "username", "sentinel_password": "password"}
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
_TLS: Final = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", *_TLS_FILES)

ACCEPTED: Final = tuple(sorted((*_DATABASE, *_LOGIN, *_SENTINEL_LOGIN, *_TLS, "client_name")))
"""Every option that is accepted."""

_CERT_REQS: Final = ("required", "optional", "none")
_KOMBU_CERT: Final = "cert_"
_YES: Final = frozenset({"true", "yes", "1"})
_NO: Final = frozenset({"false", "no", "0"})


def unreadable(reason: str) -> ValueError:
    """Return the error that says why a URL can't be read."""
    return ValueError(f"the broker's URL can't be read: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlOptions:
    """What the query of a broker's URL says.

    Attributes:
        database: The number of the database, if it is there.
        login: redis-py's options ``username`` and ``password``, as far as they are there.
        sentinel_login: The same for the sentinels.
        tls: redis-py's options for TLS, all in its spelling; empty without TLS.
        client_name: What each connection calls itself in CLIENT LIST, if that is said.
    """

    database: int | None = None
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    sentinel_login: dict[str, str] = field(default_factory=dict, repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)
    client_name: str = ""

    @classmethod
    def read(cls, query: str, *, scheme: str) -> UrlOptions:
        """Read the query, percent-encoded, of a URL of this scheme.

        Raises:
            ValueError: An option, or its value, is not accepted. The message names it, and repeats no value.
        """
        given = _given(query)
        if scheme != "sentinel" and (wrong := sorted(given.keys() & _SENTINEL_LOGIN)):
            raise unreadable(f"its option {wrong[0]} is for sentinel:// alone")
        return cls(
            database=_database(given),
            login={name: given[name] for name in _LOGIN if name in given},
            sentinel_login={option: given[name] for name, option in _SENTINEL_LOGIN.items() if name in given},
            tls=_tls(given, scheme),
            client_name=_client_name(given),
        )


def _given(query: str) -> dict[str, str]:
    """The options by name, each there once and accepted."""
    if "@" in query:  # what stands before it may be the rest of a password
        raise unreadable('it has an "@" behind its "?"; percent-encode the password')
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ACCEPTED:
            shown = f"option {name}" if re.fullmatch(r"[a-z][a-z_]{1,39}", name) and value else "query"
            raise unreadable(f"its {shown} is not accepted; accepted are {', '.join(ACCEPTED)}")
        if name in given:
            raise unreadable(f"its option {name} stands there twice")
        if not value:
            raise unreadable(f"its option {name} has no value")
        given[name] = value
    return given


def _database(given: Mapping[str, str]) -> int | None:
    named = [name for name in _DATABASE if name in given]
    if not named:
        return None
    if len(named) > 1:
        raise unreadable(f"its options {' and '.join(named)} mean the same: leave one out")
    number = given[named[0]].removeprefix("/")
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise unreadable(f"its option {named[0]} is not the number of a database")
    return int(number)


def _tls(given: Mapping[str, str], scheme: str) -> dict[str, str]:
    options = {name: given[name] for name in _TLS if name in given}
    if options and scheme not in {"rediss", "sentinel"}:
        raise unreadable(f"its option {min(options)} is for rediss:// (TLS), and it begins with {scheme}://")
    if not options and scheme != "rediss":
        return {}
    # redis-py checks the server's certificate unless it is told otherwise, and Kombu does not.
    checks = options.get("ssl_cert_reqs", "required").lower().removeprefix(_KOMBU_CERT)
    if checks not in _CERT_REQS:
        raise unreadable(f"its option ssl_cert_reqs is none of {', '.join(_CERT_REQS)}")
    return options | {"ssl_cert_reqs": checks, "ssl_check_hostname": _checks_name(options, checks)}


def _checks_name(options: Mapping[str, str], checks: str) -> str:
    said = options.get("ssl_check_hostname", "false" if checks == "none" else "true").lower()
    if said not in _YES | _NO:
        raise unreadable("its option ssl_check_hostname is neither true nor false")
    if said in _YES and checks == "none":
        raise unreadable("its option ssl_check_hostname is true, and ssl_cert_reqs=none checks nothing")
    return "true" if said in _YES else "false"


def _client_name(given: Mapping[str, str]) -> str:
    name = given.get("client_name", "")
    if not all("!" <= character <= "~" for character in name):
        raise unreadable("its option client_name has characters that Redis refuses: expected ASCII without blanks")
    return name
