"""NDJSON that comes in pieces, cut into its lines in bounded memory."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TOO_LONG", "LineSplitter"]

TOO_LONG: Final = b"\n"
"""Stands for a line that is longer than allowed: no line has a line feed in it."""


class LineSplitter:
    """Cuts lines at line feeds; what is longer than allowed is read and forgotten.

    Args:
        longest: Bytes that a line may have.

    Attributes:
        number: Of the last line that was cut off, counted from 1; empty ones count.
    """

    def __init__(self, longest: int) -> None:
        self.number = 0
        self._longest = longest
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that a piece ends, each with its number, without empty ones; `TOO_LONG` for a long one."""
        first, *lines = piece.split(b"\n")
        self._go_on(first)
        if not lines:
            return
        yield from self._end()
        rest = lines.pop()
        for line in lines:
            self.number += 1
            if len(line) > self._longest:
                yield self.number, TOO_LONG
            elif line and not line.isspace():
                yield self.number, line
        self._go_on(rest)

    def finish(self) -> Iterator[tuple[int, bytes]]:
        """Yield the last line, which no line feed need end."""
        if self._begun or self._is_too_long:
            yield from self._end()

    def _go_on(self, part: bytes) -> None:
        if len(self._begun) + len(part) > self._longest:
            self._is_too_long = True
            self._begun.clear()
        if not self._is_too_long:
            self._begun += part

    def _end(self) -> Iterator[tuple[int, bytes]]:
        self.number += 1
        line, too_long = bytes(self._begun), self._is_too_long
        self._begun.clear()
        self._is_too_long = False
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if too_long:
            yield self.number, TOO_LONG
        elif line and not line.isspace():
            yield self.number, line
