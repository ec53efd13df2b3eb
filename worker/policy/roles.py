"""Who may look and who may act: the two roles, and the rule that gives the second one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["GROUP", "ActRule", "Role"]

GROUP: Final = "group:"
"""What an entry begins with that names a group."""

_EVERYONE: Final = "*"
_EXPECTED: Final = (
    "expected user names, e-mail addresses and group:NAME, separated by commas; * stands for any characters, "
    "as in *@example.com"
)


class Role(StrEnum):
    """What an operator, or the token of a program, may do."""

    LOOK = "look"
    """Read everything, and change nothing."""
    ACT = "act"
    """Change what can be changed, too."""


@dataclass(frozen=True, slots=True)
class ActRule:
    """Who may act; all others who have access may only look.

    Attributes:
        names: Names of users as the login has them, case and all; ``*`` in one stands for any characters.
        groups: Names of groups, likewise.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> ActRule:
        """Read it from text such as ``ann, *@example.com, group:operators``. Raises ValueError if it is no rule."""
        entries = [entry.strip() for entry in text.split(",")]
        if not all(entry.removeprefix(GROUP) and entry.isprintable() and " " not in entry for entry in entries):
            raise ValueError(_EXPECTED)
        names = tuple(entry for entry in entries if not entry.startswith(GROUP))
        return cls(names, tuple(entry.removeprefix(GROUP) for entry in entries if entry.startswith(GROUP)))

    def allows(self, name: str | None, groups: Collection[str] = ()) -> bool:
        """Whether a user may act.

        Args:
            name: The user; None if the login does not say who it is, or there is none: only ``*`` means them.
            groups: The groups that they are in.
        """
        if name is None:
            return _EVERYONE in self.names
        return _fits(name, self.names) or any(_fits(group, self.groups) for group in groups)


def _fits(text: str, patterns: Collection[str]) -> bool:
    return any(re.fullmatch(".*".join(map(re.escape, one.split("*"))), text, re.DOTALL) for one in patterns)
