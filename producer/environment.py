"""Settings from an environment as it is filled by hand, by Kubernetes, and from files with secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FILE", "secret", "switch", "whole_number", "without_line_end"]

FILE: Final = "_FILE"
"""What ends the name of the variable that names a secret's file."""


_YES: Final = frozenset({"yes", "true", "on", "1"})
_NO: Final = frozenset({"no", "false", "off", "0"})


def without_line_end(value: str) -> str:
    """Return a value without the one line end that a secret made of a file, or by `echo`, has."""
    return value.removesuffix("\n").removesuffix("\r")


def secret(environ: Mapping[str, str], name: str) -> str:
    """Return a secret setting: the variable's own value, or what stands in the file that ``NAME_FILE`` names; or ''.

    Raises:
        ValueError: Both are set, or the file can't be read. The message shows nothing of what stands in either.
    """
    value, file = without_line_end(environ.get(name) or ""), without_line_end(environ.get(f"{name}{FILE}") or "")
    if not file:
        return value
    if value:
        raise ValueError(f"{name} and {name}{FILE} are both set: unset one of them")
    if found := _read(file, name):
        return found
    raise ValueError(f"{name}{FILE} names a file that is empty")


def switch(text: str) -> bool:
    """Return whether a setting says yes.

    Raises:
        ValueError: It says neither yes nor no, in any of the usual ways.
    """
    said = text.strip().lower()
    if said not in _YES | _NO:
        raise ValueError("expected yes or no")
    return said in _YES


def whole_number(text: str, *, most: int, least: int = 0) -> int:
    """Return the number, from ``least`` to ``most``, that a setting is.

    Raises:
        ValueError: It is none.
    """
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ValueError(f"expected a whole number from {least} to {most}")
    return int(text)


def _read(file: str, name: str) -> str:
    try:
        with open(file, encoding="utf-8", newline="") as secrets:  # noqa: PTH123 - importing pathlib would slow the producer's import
            return without_line_end(secrets.read())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ValueError(f"{name}{FILE} names a file that can't be read: {why}") from None
