"""The options behind the ``?`` of a database URL: read, or refused by name when the URL is read.

A driver that does not know one, or can't read its value, would say so at each connecting only, as if the database were
unavailable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.database.errors import DatabaseUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL

__all__ = ["check_options"]


def check_options(address: URL, setting: str) -> None:
    """Make sure that the driver can read every option of a database URL, which is the value of this setting.

    Raises:
        DatabaseUnusable: It can't; the message names the option and what is expected.
        ModuleNotFoundError: The driver is not installed.
    """
    if (options_of := _KNOWN.get(address.get_backend_name())) is None:
        return
    known = options_of(address)
    for name, value in address.query.items():
        if name not in known and name not in _REFUSED:
            from difflib import get_close_matches  # noqa: PLC0415 - only a slip of the keys needs it

            near = get_close_matches(name, known, n=1)
            problem = f"unknown to {address.drivername}{f'; did you mean {near[0]}?' if near else ''}"
        else:
            problem = _problem_of(name, value)
        if problem:
            raise DatabaseUnusable(f"{setting}: the option {name}: {problem}")


def _problem_of(name: str, value: str | tuple[str, ...]) -> str:
    if name in _REFUSED:
        return _REFUSED[name]
    if not isinstance(value, str):
        return "" if name in _SEVERAL else "it is there more than once"
    if name in _EXPECTED and not _EXPECTED[name][0](value):
        return f"expected {_EXPECTED[name][1]}"
    return ""


def _of_postgresql(_: URL) -> frozenset[str]:
    """All that the installed libpq knows, but for what the URL says elsewhere, and what makes another connection."""
    from psycopg import pq  # noqa: PLC0415 - psycopg is optional

    keywords = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return frozenset(keywords - {"dbname", "replication", "client_encoding"})


def _of_mysql(_: URL) -> frozenset[str]:
    timeouts = {"connect_timeout", "read_timeout", "write_timeout"}
    tls = {"ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher", "ssl_check_hostname"}
    return frozenset(timeouts | tls | {"charset", "unix_socket", "bind_address", "program_name", "init_command"})


def _of_sqlite(address: URL) -> frozenset[str]:
    """The options of a URI, which go to SQLite, are there with a URI only."""
    of_uri = {"uri", "mode", "cache", "immutable", "nolock", "psow", "vfs"}
    return frozenset({"timeout"} | (of_uri if (address.database or "").startswith("file:") else set()))


_KNOWN: Final[dict[str, Callable[[URL], frozenset[str]]]] = {
    "postgresql": _of_postgresql,
    "mysql": _of_mysql,
    "mariadb": _of_mysql,
    "sqlite": _of_sqlite,
}

_REFUSED: Final = {
    "prepare_threshold": "no statement is prepared on the server, so that PgBouncer works: take the option away",
}

_SEVERAL: Final = frozenset({"host"})
"""SQLAlchemy's way of naming several servers."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_seconds(text: str) -> bool:
    return _is_number(text.replace(".", "", 1))


def _one_of(*choices: str) -> tuple[Callable[[str], bool], str]:
    return choices.__contains__, f"one of {', '.join(choices)}"


_NUMBER: Final = (_is_number, "a whole number")
_YES_OR_NO: Final = _one_of("true", "false", "1", "0")

_EXPECTED: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "connect_timeout": _NUMBER,
    "read_timeout": _NUMBER,
    "write_timeout": _NUMBER,
    "keepalives": _NUMBER,
    "keepalives_idle": _NUMBER,
    "keepalives_interval": _NUMBER,
    "keepalives_count": _NUMBER,
    "tcp_user_timeout": _NUMBER,
    "timeout": (_is_seconds, "seconds"),
    "ssl_check_hostname": _YES_OR_NO,
    "uri": _YES_OR_NO,
    "charset": _one_of("utf8mb4"),
    "sslmode": _one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "gssencmode": _one_of("disable", "prefer", "require"),
    "channel_binding": _one_of("disable", "prefer", "require"),
    "sslnegotiation": _one_of("postgres", "direct"),
    "target_session_attrs": _one_of("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": _one_of("disable", "random"),
}
"""What the values of some options must be; the driver reads the others as they are."""
