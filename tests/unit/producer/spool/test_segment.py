"""A file of the spool: what is whole is read, and what is torn or damaged is never taken for an event."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from producer import _locks
from producer.spool import segment
from producer.spool.segment import SegmentProgress
from tests.unit.producer.spool.test_line import LINES, line_of, record

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_is_cut_anywhere_has_the_lines_before_the_cut(tmp_path: Path) -> None:
    """Power is lost while it is written: what was on disk is read, and no piece of a line."""
    whole, path = b"".join(LINES), tmp_path / "1.events"
    ends = [sum(map(len, LINES[:count])) for count in range(4)]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        lines = segment.whole_lines(path, 0)

        assert lines == LINES[: sum(end <= size for end in ends) - 1]
        assert segment.torn_end(path, sum(map(len, lines))) == whole[sum(map(len, lines)) : size]


def test_a_segment_is_locked_while_it_is_written_and_by_its_name(tmp_path: Path) -> None:
    """A segment without a lock is that of a process that is gone."""
    path, descriptor = segment.create(tmp_path)

    assert segment.paths(tmp_path) == [path]
    assert _locks.is_locked(path)
    _locks.close(descriptor)
    assert not _locks.is_locked(path)
    assert segment.created_at(path) <= datetime.now(UTC)


def test_what_a_process_left_between_two_steps_is_removed(tmp_path: Path) -> None:
    """Progress without its segment, and a segment without a name, but not one that is about to get it."""
    names = ["1-1-a.events", "1-1-a.sent", "2-1-b.sent", "3-1-c.new", "4-1-d.new"]
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / "3-1-c.new", (0, 0))

    segment.remove_orphans(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-1-a.events", "1-1-a.sent", "4-1-d.new"]


@pytest.mark.parametrize("damage", [b"", b"00000000 5 1", b"garbage", b"zzzzzzzz 5 1"])
def test_progress_that_can_not_be_read_begins_again(tmp_path: Path, damage: bytes) -> None:
    """What is sent twice is delivered once; what is passed over is lost."""
    path = tmp_path / "1-1-a.events"
    SegmentProgress(path).advance(5, 1)
    assert (SegmentProgress(path).offset, SegmentProgress(path).lines) == (5, 1)

    path.with_suffix(".sent").write_bytes(damage)

    assert (SegmentProgress(path).offset, SegmentProgress(path).lines) == (0, 0)


def test_the_last_number_says_how_many_there_are(tmp_path: Path) -> None:
    """Without reading all of it, and whatever stands behind the last whole line."""
    path = tmp_path / "1-1-a.events"
    path.write_bytes(b"".join(line_of(record(number), number) for number in range(1, 101)) + b"torn")

    assert segment.last_number(path) == 100


def test_a_directory_is_measured_in_one_pass(tmp_path: Path) -> None:
    """All files count; the oldest segment is the one whose name comes first."""
    for name in ("2-1-a.events", "10-1-b.sent", "1-1-c.events", "lock"):
        (tmp_path / name).write_bytes(b"five!")

    assert segment.measure(tmp_path) == (20, tmp_path / "1-1-c.events")


def test_a_directory_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    """When the producer is made, and not when Redis is unavailable."""
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match=r"the spool .*/file/spool can't be made: Not a directory"):
        segment.usable(tmp_path / "file" / "spool")
    assert segment.usable(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
