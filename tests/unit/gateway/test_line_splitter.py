"""Lines come out whole and numbered, however their bytes are cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.gateway.line_splitter import TOO_LONG, LineSplitter

LONGEST = 5


def split(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    """All lines of some pieces."""
    splitter = LineSplitter(LONGEST)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    return [*found, *splitter.finish()]


@given(st.lists(st.text("ab\n\r ", max_size=9).map(str.encode), max_size=9))
def test_the_lines_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    """They are those of the whole; empty ones are numbered and left out; a long one is told from others."""
    lines = b"".join(pieces).split(b"\n")
    expected = [
        (number, TOO_LONG if len(line) > LONGEST else line)
        for number, line in enumerate(lines, start=1)
        if len(line) > LONGEST or (line and not line.isspace())
    ]

    assert split(pieces) == expected


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """Windows' editors put one there."""
    assert split([b"\xef\xbb", b"\xbf{}\n{}"]) == [(1, b"{}"), (2, b"{}")]


def test_a_line_without_end_takes_no_memory() -> None:
    """It is counted, and forgotten."""
    splitter = LineSplitter(LONGEST)

    assert [line for _ in range(1000) for line in splitter.feed(b"x" * 100)] == []
    assert len(splitter._begun) <= LONGEST
    assert list(splitter.finish()) == [(1, TOO_LONG)]
