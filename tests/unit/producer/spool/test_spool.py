"""What the spool keeps, when it refuses, and that what it sends was kept: with a Redis that the test plays."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackEvent, FeedbackProducer, _locks
from producer.spool import Spool, SpoolSender, records_of, segment, status_of
from producer.testing import RecordingProducer
from tests.support.processes import eventually
from tests.unit.producer.spool.test_line import record

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = [record(number).event for number in range(1, 1201)]


class _Played:
    """A Redis: what it has taken, in order, by queue."""

    def __init__(self) -> None:
        self.producers: dict[str, RecordingProducer] = {}

    def __call__(self, queue: str) -> RecordingProducer:
        self.producers.setdefault(queue, RecordingProducer(queue=queue))
        return self.producers[queue]

    def taken(self, queue: str = "feedback") -> list[FeedbackEvent]:
        return self(queue).recorded


def _send(directory: Path, redis: _Played) -> int:
    return sum(SpoolSender(directory, redis).send())


def _kept(directory: Path, events: list[FeedbackEvent] = EVENTS, queue: str = "feedback") -> None:
    """Keep events as a process does that ends then."""
    spool = Spool(directory)
    spool.put(events, queue)
    spool.close()


def test_what_one_process_kept_another_sends_in_order_in_chunks(tmp_path: Path) -> None:
    """With its queue and its occurred_at, and nothing is left."""
    redis = _Played()
    _kept(tmp_path)
    _kept(tmp_path, EVENTS[:2], queue="other")
    assert status_of(tmp_path).events == 1202

    counts = list(SpoolSender(tmp_path, redis).send())

    assert counts == [500, 500, 200, 2]
    assert redis.taken() == EVENTS
    assert redis.taken("other") == EVENTS[:2]
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_the_span_in_which_an_event_was_kept_travels_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace leads from the backend's request to the delivery, hours later too; all of a chunk still go together."""
    spool = Spool(tmp_path)
    traces = [{"traceparent": f"00-{'1' * 32}-{number:016x}-01"} for number in (1, 2)]
    for event, trace in zip(EVENTS, traces, strict=False):
        monkeypatch.setattr("producer.spool.spool.trace_headers", lambda trace=trace: trace)
        spool.put([event], "feedback")
    spool.close()
    sent: list[bytes] = []
    redis = RecordingProducer()
    monkeypatch.setattr(redis, "enqueue_messages", lambda messages, **_: sent.extend(messages))

    assert list(SpoolSender(tmp_path, lambda _: redis).send()) == [2]

    for message, trace in zip(sent, traces, strict=True):
        assert trace["traceparent"].encode() in message


def test_while_redis_refuses_everything_stays_and_what_it_took_is_not_sent_again(tmp_path: Path) -> None:
    """The second chunk is refused: the first is done, and the rest is sent later, from there."""
    redis = _Played()
    _kept(tmp_path)
    sending = SpoolSender(tmp_path, redis).send()
    next(sending)
    with redis("feedback").failing(), pytest.raises(BrokerUnavailable):
        next(sending)
    assert status_of(tmp_path).events == 700
    assert [kept.event for kept in records_of(tmp_path)] == EVENTS[500:]

    assert _send(tmp_path, redis) == 700

    assert redis.taken() == EVENTS


def test_two_senders_do_not_send_at_once(tmp_path: Path) -> None:
    """Or each event would be sent as often as there are processes."""
    redis = _Played()
    _kept(tmp_path)
    first = SpoolSender(tmp_path, redis).send()
    next(first)

    with pytest.raises(BlockingIOError):
        next(SpoolSender(tmp_path, redis).send())

    assert sum(first) == 700


def test_a_segment_that_is_still_written_is_left_to_its_process(tmp_path: Path) -> None:
    """What is not on disk yet may be taken back, and its caller be told that it was not kept."""
    spool = Spool(tmp_path)
    spool.put(EVENTS[:1], "feedback")
    redis = _Played()

    assert _send(tmp_path, redis) == 0
    assert (status_of(tmp_path).events, status_of(tmp_path).writers) == (1, 1)
    spool.close()
    assert _send(tmp_path, redis) == 1


def test_lines_that_can_not_be_read_are_set_aside_and_the_others_are_sent(tmp_path: Path) -> None:
    """Damage on the disk costs the damaged line, which stays for an operator to see; a torn end was never kept."""
    redis = _Played()
    _kept(tmp_path, EVENTS[:4])
    (path,) = segment.paths(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"damaged\n" + lines[2] + lines[3] + lines[1][:40])

    assert _send(tmp_path, redis) == 3

    assert redis.taken() == [EVENTS[0], EVENTS[2], EVENTS[3]]
    assert (tmp_path / "unreadable").read_bytes() == b"damaged\n" + lines[1][:40] + b"\n"
    assert status_of(tmp_path).unreadable_bytes == 49


def test_a_file_that_power_loss_filled_with_zeros_is_no_damage(tmp_path: Path) -> None:
    """Its length was on disk before its content."""
    redis = _Played()
    _kept(tmp_path, EVENTS[:1])
    (path,) = segment.paths(tmp_path)
    with path.open("ab") as file:
        file.write(bytes(4000))

    assert _send(tmp_path, redis) == 1
    assert status_of(tmp_path).unreadable_bytes == 0


_STEPS = ("open", "rename", "write", "pwrite", "fdatasync", "fsync", "ftruncate", "unlink", "close")


class _Cut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(1, 40))
def test_wherever_it_is_cut_all_that_was_acknowledged_is_sent(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to the system is the last one once: while it keeps two groups, and while it sends them."""
    acknowledged: list[FeedbackEvent] = []
    redis = _Played()
    left = [step]

    def cutting(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise _Cut
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        spool = Spool(tmp_path)
        for name in _STEPS:
            patch.setattr(os, name, cutting(getattr(os, name)))
        for name in ("rename", "unlink", "open"):
            patch.setattr(Path, name, cutting(getattr(Path, name)))
        try:
            for group in (EVENTS[:3], EVENTS[3:6]):
                spool.put(group, "feedback")
                acknowledged += group
            spool.close()
            _send(tmp_path, redis)
        except _Cut:
            pass
    spool.after_fork_in_child()  # it forgets what it had
    _release(tmp_path)

    _send(tmp_path, redis)

    taken = Counter(event.request_id for event in redis.taken())
    assert not [event for event in acknowledged if event.request_id not in taken]
    assert max(taken.values(), default=0) <= 2
    assert not list(records_of(tmp_path))


def _release(directory: Path) -> None:
    """Close the files in a directory, and so free their locks: as the kernel does when a process ends."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if descriptor.readlink().is_relative_to(directory):
                _locks._LOCKED.descriptors.discard(int(descriptor.name))
                os.close(int(descriptor.name))


def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """By size: the error names the directory and the limit."""
    spool = Spool(tmp_path, max_bytes=1500)
    spool.put(EVENTS[:6], "feedback")

    with pytest.raises(BrokerUnavailable, match=rf"the spool {tmp_path} is full: it may take 1500 bytes"):
        spool.put(EVENTS[6:9], "feedback")

    assert (status_of(tmp_path).events, spool.spooled) == (6, 6)


def test_a_spool_that_has_waited_for_too_long_refuses_more(tmp_path: Path) -> None:
    """Redis is not coming back by itself; what is there stays."""
    _kept(tmp_path, EVENTS[:1])
    (path,) = segment.paths(tmp_path)
    path.rename(path.with_name(f"{0:020d}-1-old.events"))
    spool = Spool(tmp_path, max_age=timedelta(days=1))

    with pytest.raises(BrokerUnavailable, match="has waited for Redis since 1970-01-01T00:00:00"):
        spool.put(EVENTS[1:2], "feedback")

    assert status_of(tmp_path).events == 1


def test_whether_there_is_room_is_told_by_both_limits_and_for_what_others_keep(tmp_path: Path) -> None:
    """By the rule by which it refuses: a probe that asks has to agree with the calls."""
    _kept(tmp_path, EVENTS[:6])
    (path,) = segment.paths(tmp_path)
    size = path.stat().st_size

    assert Spool(tmp_path, max_bytes=size + 1).has_room()
    assert not Spool(tmp_path, max_bytes=size).has_room()
    path.rename(path.with_name(f"{0:020d}-1-old.events"))
    assert not Spool(tmp_path, max_age=timedelta(days=1)).has_room()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_disk_that_fails_is_told_and_takes_later_events(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the failed group is sent: its caller knows that it was not kept. It begins another segment."""
    spool, redis = Spool(tmp_path), _Played()
    spool.put(EVENTS[:1], "feedback")

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        for _ in range(3):
            with pytest.raises(BrokerUnavailable, match=f"can't be written: {os.strerror(number)}"):
                spool.put(EVENTS[1:2], "feedback")
        assert len(segment.paths(tmp_path)) == 1  # a call that is refused leaves no file
    spool.put(EVENTS[2:3], "feedback")
    spool.close()

    assert _send(tmp_path, redis) == 2
    assert redis.taken() == [EVENTS[0], EVENTS[2]]


def test_a_disk_that_hangs_holds_no_call_for_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been kept: the error says so. Calls that pile up are refused before memory is full."""
    hangs, synced = threading.Event(), os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (hangs.wait(30), synced(descriptor)))
    monkeypatch.setattr("producer.spool.writer._MOST_WAITING", 3)
    spool = Spool(tmp_path, timeout=0.05)
    for _ in range(4):
        with pytest.raises(EnqueueUncertain, match=r"took longer than 0\.05 s"):
            spool.put(EVENTS[:1], "feedback")

    with pytest.raises(BrokerUnavailable, match="does not keep up"):
        spool.put(EVENTS[:1], "feedback")

    hangs.set()


def test_calls_at_once_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a disk's hundred syncs a second would be a hundred presses a second."""
    syncs: list[int] = []
    synced, goes_on = os.fdatasync, threading.Event()

    def sync(descriptor: int) -> None:
        goes_on.wait(30)
        syncs.append(descriptor)
        synced(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    spool = Spool(tmp_path, timeout=30)
    threads = [threading.Thread(target=spool.put, args=([event], "feedback")) for event in EVENTS[:50]]
    for thread in threads:
        thread.start()
    while spool._writer._groups.qsize() < 40:
        threading.Event().wait(0.01)
    goes_on.set()
    for thread in threads:
        thread.join(30)

    assert spool.spooled == 50
    assert len(syncs) <= 11


def test_files_that_are_removed_under_it_are_made_again(tmp_path: Path) -> None:
    """What goes into a removed file is lost: nothing is acknowledged that went there, and the next call is kept."""
    directory = tmp_path / "spool"
    spool, redis = Spool(directory), _Played()
    spool.put(EVENTS[:1], "feedback")
    shutil.rmtree(directory)

    spool.put(EVENTS[1:2], "feedback")
    spool.close()

    assert _send(directory, redis) == 1
    assert redis.taken() == EVENTS[1:2]


def test_a_file_that_is_removed_while_it_is_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller has to know that the press is not kept."""
    spool, synced = Spool(tmp_path), os.fdatasync

    def remove(descriptor: int) -> None:
        synced(descriptor)
        segment.paths(tmp_path)[0].unlink()

    monkeypatch.setattr(os, "fdatasync", remove)

    with pytest.raises(BrokerUnavailable, match="can't be written: its files were removed"):
        spool.put(EVENTS[:1], "feedback")


def test_what_a_failed_write_left_and_can_not_be_taken_back_is_uncertain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be sent."""

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(os, "ftruncate", fail)

    with pytest.raises(EnqueueUncertain, match="can't be written: Input/output error"):
        Spool(tmp_path).put(EVENTS[:1], "feedback")


def test_calls_that_are_refused_together_each_have_their_own_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of one must not name the events of another, which its backend would not have."""
    began, goes_on, refused = threading.Event(), threading.Event(), dict[int, BrokerUnavailable]()
    synced = os.fdatasync

    def sync(descriptor: int) -> None:
        began.set()
        goes_on.wait(30)
        synced(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    producer = FeedbackProducer("redis://127.0.0.1:1/0", spool=Spool(tmp_path, max_bytes=300, timeout=30))

    def press(number: int) -> None:
        try:
            producer.enqueue(EVENTS[number])
        except BrokerUnavailable as error:
            refused[number] = error

    threads = [threading.Thread(target=press, args=(number,)) for number in range(5)]
    threads[0].start()
    began.wait(30)
    for thread in threads[1:]:
        thread.start()
    spool = producer.spool
    assert spool is not None
    while spool._writer._groups.qsize() < 4:
        threading.Event().wait(0.01)
    goes_on.set()
    for thread in threads:
        thread.join(30)
    producer.close()

    assert {number: error.not_taken for number, error in refused.items()} == {
        number: (EVENTS[number],) for number in range(1, 5)
    }


def test_a_disk_that_fails_does_not_keep_calls_from_a_redis_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, not each second."""
    spool = Spool(tmp_path)
    spool.is_redis_available = False
    sender = SpoolSender(tmp_path, _Played())
    monkeypatch.setattr(sender, "ping", lambda: None)

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(sender, "send", fail)
    for _ in range(3):
        spool._send(sender)

    assert spool.is_redis_available
    assert [entry.getMessage() for entry in caplog.records if entry.levelname == "ERROR"] == [
        f"the spool {tmp_path} can't be sent: Read-only file system"
    ]


def test_a_child_looks_for_what_others_have_left(tmp_path: Path) -> None:
    """A worker of gunicorn's that takes the place of one that was killed sends what that one had kept."""
    spool, redis = Spool(tmp_path), _Played()
    spool.attach(redis)
    _kept(tmp_path, EVENTS[:1])
    spool.tries_redis()
    time.sleep(0.01)
    assert not redis.taken()

    spool.after_fork_in_child()
    spool.tries_redis()

    eventually(lambda: redis.taken() == EVENTS[:1], what="it is sent")


def test_a_loop_that_is_closed_while_it_waits_costs_later_calls_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call was cancelled; the event is kept all the same, and the writer goes on."""
    goes_on, synced = threading.Event(), os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (goes_on.wait(30), synced(descriptor)))
    spool, redis = Spool(tmp_path, timeout=30), _Played()
    with suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(spool.put_async(EVENTS[:1], "feedback"), 0.05))
    goes_on.set()

    spool.put(EVENTS[1:2], "feedback")
    spool.close()

    assert _send(tmp_path, redis) == 2


def test_callbacks_are_told_and_one_that_fails_costs_nothing(tmp_path: Path) -> None:
    """They are the backend's: a fault in one must not look like a lost press."""
    told: list[Any] = []

    def tell(what: object) -> None:
        told.append(what)
        raise RuntimeError("a fault of the backend's")

    spool = Spool(tmp_path, on_spooled=tell)
    spool.put(EVENTS[:2], "feedback")

    assert told == [EVENTS[:2]]
    assert spool.spooled == 2


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"FEEDBACK_SPOOL_MAX_BYTES": "1 GB"},
            "FEEDBACK_SPOOL_MAX_BYTES is '1 GB': expected bytes, such as 1073741824",
        ),
        ({"FEEDBACK_SPOOL_MAX_AGE": "0"}, "FEEDBACK_SPOOL_MAX_AGE is '0': expected seconds, such as 604800"),
        ({"FEEDBACK_SPOOL_MAX_AGE": "nan"}, "FEEDBACK_SPOOL_MAX_AGE is 'nan'"),
    ],
)
def test_a_limit_that_can_not_be_read_is_named(environ: dict[str, str], said: str, tmp_path: Path) -> None:
    """With what is expected."""
    with pytest.raises(ValueError, match="FEEDBACK_SPOOL") as refused:
        FeedbackProducer.from_env(environ | {"FEEDBACK_SPOOL_DIR": str(tmp_path)})
    assert said in str(refused.value)


def test_a_producer_from_the_environment_has_its_spool(tmp_path: Path) -> None:
    """Without the variable there is none."""
    environ = {
        "FEEDBACK_SPOOL_DIR": f"{tmp_path}/new\n",
        "FEEDBACK_SPOOL_MAX_BYTES": "1e6",
        "FEEDBACK_SPOOL_MAX_AGE": "60",
    }

    made = FeedbackProducer.from_env(environ)

    assert made.spool is not None
    assert made.spool.directory == tmp_path / "new"
    assert (made.spool._writer._max_bytes, made.spool._writer._max_age) == (1_000_000, timedelta(minutes=1))
    assert FeedbackProducer.from_env({}).spool is None


def test_a_spool_belongs_to_one_producer(tmp_path: Path) -> None:
    """Each sends to its own Redis."""
    spool = Spool(tmp_path)
    FeedbackProducer(spool=spool)

    with pytest.raises(ValueError, match="belongs to another producer"):
        FeedbackProducer(spool=spool)


@pytest.fixture(autouse=True)
def _quiet_end() -> Iterator[None]:
    """End what a test leaves: threads look at the directory of the test until their spool is closed."""
    yield
    from producer.spool.spool import _SPOOLS  # noqa: PLC0415 - private: a process closes its own

    for spool in list(_SPOOLS):
        spool.close()


def test_an_error_of_the_disk_is_told_once_in_an_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the call's, and not by asyncio too; one that comes when the call has given up has no reader."""
    hangs = threading.Event()

    def fail(_: int) -> None:
        hangs.wait(30)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    spool = Spool(tmp_path, timeout=0.05)

    async def use() -> None:
        with pytest.raises(EnqueueUncertain):
            await spool.put_async(EVENTS[:1], "feedback")
        hangs.set()
        with pytest.raises(BrokerUnavailable, match="Input/output error"):
            await spool.put_async(EVENTS[:1], "feedback")

    asyncio.run(use())
    gc.collect()

    assert not caplog.records
