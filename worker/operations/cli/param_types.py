"""Types of options and arguments, read as strictly as the dashboard reads the same values; and the option `--actor`."""

from __future__ import annotations

import getpass
import os
import re
from typing import TYPE_CHECKING, Final

import click

from worker.policy.dead_letter import clean
from worker.policy.parsing import LARGEST, read_decimal, read_text, read_uuid, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ANY_TEXT",
    "COMMENT",
    "FINGERPRINT",
    "TEXT",
    "UUID",
    "Decimal",
    "Text",
    "WholeNumber",
    "actor_option",
    "current_actor",
]


class Text(click.ParamType[str]):
    """Text that a reader takes.

    Args:
        name: What it is called in help and errors.
        read: Returns the value; raises `ValueError` with what was expected.
    """

    def __init__(self, name: str, read: Callable[[str], str]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        try:
            return self._read(str(value))
        except ValueError as error:
            self.fail(f"{_shown(value)}: expected {error}", param, ctx)


class WholeNumber(click.IntRange):
    """A whole number in ASCII digits that a database can hold."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        most = LARGEST if self.max is None else int(self.max)
        try:
            return read_whole(str(value), least=int(self.min or 0), most=most)
        except ValueError as error:
            self.fail(f"{_shown(value)}: expected {error}", param, ctx)


class Decimal(click.FloatRange):
    """A number between two others; no NaN, which is neither too small nor too large."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        try:
            return read_decimal(str(value), least=float(self.min or 0), most=_LONGEST if self.max is None else self.max)
        except ValueError as error:
            self.fail(f"{_shown(value)}: expected {error}", param, ctx)


def _comment(value: str) -> str:
    if text := clean(value):
        return text
    raise ValueError("a few words")


def _fingerprint(value: str) -> str:
    text = value.strip().lower()
    if re.fullmatch("[0-9a-f]{12}", text):
        return text
    raise ValueError("a cause as `dead-letters causes list` prints it, such as 040f0606fc39")


def _shown(value: object) -> str:
    return repr(str(value)[:40])


_LONGEST: Final = 1e9
"""Where nothing else bounds a number of seconds: thirty years, which every clock can wait."""


TEXT: Final = Text("text", read_text)
"""A filter's value: never empty, for an empty filter would choose every row."""


UUID: Final = Text("uuid", read_uuid)


FINGERPRINT: Final = Text("fingerprint", _fingerprint)
"""One cause. Unlike a filter's value, it must look like one."""


COMMENT: Final = Text("text", _comment)
"""A reason: whatever it is, it says something."""


ANY_TEXT: Final = Text("text", clean)
"""A name or a reason that may be left out; as it is stored, whatever bytes the terminal sent."""


def current_actor() -> str:
    """Return the login's name; or its number, in a container whose uid no passwd names."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # by Python's release
        return f"uid {os.getuid()}"


actor_option: Final = click.option(
    "--actor", default=current_actor, type=ANY_TEXT, show_default="your login", help="The operator, for the audit log."
)
