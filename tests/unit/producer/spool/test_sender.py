"""What a sender does where the disk, or one file in the directory, refuses: nothing is sent for ever, nothing waits."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from producer import EnqueueUncertain
from producer.spool import SpoolSender, segment, status_of
from producer.spool.sender import UNREADABLE
from tests.unit.producer.spool.test_spool import EVENTS, _kept, _Played

if TYPE_CHECKING:
    from pathlib import Path


def _refuse_progress(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_emptied_though_there_is_no_room_for_the_progress(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool that has filled its volume is what it is for: each event is sent once, and the segment makes room."""
    redis = _Played()
    _kept(tmp_path)
    _refuse_progress(monkeypatch, number)

    assert list(SpoolSender(tmp_path, redis).send()) == [500, 500, 200]

    assert redis.taken() == EVENTS
    assert segment.paths(tmp_path) == []


def test_what_a_full_disk_does_not_note_is_not_sent_again_when_redis_fails_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same process goes on where it was."""
    redis = _Played()
    _kept(tmp_path)
    _refuse_progress(monkeypatch)
    sender = SpoolSender(tmp_path, redis)
    sending = sender.send()
    assert next(sending) == 500
    with redis("feedback").failing(EnqueueUncertain("it hangs")), pytest.raises(EnqueueUncertain):
        next(sending)

    assert list(sender.send()) == [500, 200]

    assert redis.taken() == EVENTS


def test_a_segment_that_can_not_be_removed_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a directory that became another user's would be sent each second. Its torn end is set aside once."""
    redis = _Played()
    _kept(tmp_path)
    (path,) = segment.paths(tmp_path)
    with path.open("ab") as file:
        file.write(b"torn")
    sender = SpoolSender(tmp_path, redis)

    def refuse(refused: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(refused))

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "unlink", refuse)
        for _ in range(3):
            with pytest.raises(PermissionError, match=path.name):
                list(sender.send())

    assert list(sender.send()) == []
    assert redis.taken() == EVENTS
    assert (tmp_path / UNREADABLE).read_bytes() == b"torn\n"
    assert segment.paths(tmp_path) == []


def test_a_segment_that_can_not_be_opened_keeps_no_other_back(tmp_path: Path) -> None:
    """One that a command of root's has left, or that lies on a bad sector. The error names it once the rest is sent."""
    redis = _Played()
    unopenable = tmp_path / f"{time.time_ns():020d}-1-left.events"
    unopenable.mkdir()
    _kept(tmp_path, EVENTS[:2])
    sender = SpoolSender(tmp_path, redis)

    for _ in range(2):
        with pytest.raises(OSError, match=unopenable.name):
            list(sender.send())

    assert redis.taken() == EVENTS[:2]
    assert segment.paths(tmp_path) == [unopenable]


def test_what_can_not_be_set_aside_is_neither_sent_nor_dropped(tmp_path: Path) -> None:
    """Nothing of a chunk with damaged lines is sent until there is room for these: then all is, once."""
    redis = _Played()
    _kept(tmp_path, EVENTS[:3])
    (path,) = segment.paths(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"true"', b'"tru?"', 1))
    sender = SpoolSender(tmp_path, redis)
    unwritable = tmp_path / UNREADABLE
    unwritable.mkdir()
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            list(sender.send())
    assert redis.taken() == []

    unwritable.rmdir()
    with redis("feedback").failing(EnqueueUncertain("it hangs")), pytest.raises(EnqueueUncertain):
        list(sender.send())
    assert list(sender.send()) == [2]

    assert len(redis.taken()) == 2
    assert (tmp_path / UNREADABLE).read_bytes().count(b"\n") == 1
    assert status_of(tmp_path).events == 0
