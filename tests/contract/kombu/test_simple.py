"""Kombu's simple queues: `SimpleQueue`, which acknowledges, and `SimpleBuffer`, which does not."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis
    from kombu import Connection

    Connect = Callable[..., Connection]
    Waiting = Callable[[str], list[Any]]


@pytest.fixture
def queue(connection: Connection) -> Iterator[Any]:
    """A simple queue."""
    with connection.SimpleQueue("simple") as opened:
        yield opened


@pytest.fixture
def buffer(connection: Connection) -> Iterator[Any]:
    """A simple buffer."""
    with connection.SimpleBuffer("buffered") as opened:
        yield opened


def test_what_is_put_is_got_in_order(queue: Any) -> None:
    """And once."""
    for number in range(5):
        queue.put(number)

    assert [_take(queue) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(queue.Empty):
        queue.get_nowait()


def _take(queue: Any) -> Any:
    message = queue.get(timeout=10)
    message.ack()
    return message.payload


def test_getting_waits_as_long_as_asked(queue: Any) -> None:
    """And then raises `Empty`."""
    for timeout in (0.3, 0.1):
        began = time.monotonic()
        with pytest.raises(queue.Empty):
            queue.get(timeout=timeout)
        assert timeout * 0.9 < time.monotonic() - began < timeout + 1.5


@pytest.mark.parametrize("how", ["get_nowait", "get"])
def test_getting_without_waiting(queue: Any, how: str) -> None:
    """Returns what is there, or raises at once."""
    get = queue.get_nowait if how == "get_nowait" else lambda: queue.get(block=False)
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        get()
    assert time.monotonic() - began < 0.5

    queue.put("there")
    assert get().payload == "there"


def test_getting_waits_for_what_another_client_puts(queue: Any, connect: Connect) -> None:
    """Another connection puts it a moment later."""

    def put() -> None:
        with connect() as other, other.SimpleQueue("simple") as same:
            same.put("at last")

    timer = threading.Timer(0.2, put)
    timer.start()
    assert queue.get().payload == "at last"
    timer.join()


def test_its_size_is_what_waits(queue: Any) -> None:
    """What was got and is not acknowledged does not wait."""
    for number in range(3):
        queue.put(number)
    assert queue.qsize() == len(queue) == 3

    queue.get_nowait()
    assert queue.qsize() == 2


def test_clearing_returns_how_many_there_were(queue: Any) -> None:
    """What is in flight stays in flight."""
    for number in range(3):
        queue.put(number)
    message = queue.get_nowait()

    assert queue.clear() == 2
    with pytest.raises(queue.Empty):
        queue.get_nowait()
    message.requeue()
    assert queue.get(timeout=10).payload == 0


def test_a_message_can_go_back(queue: Any) -> None:
    """To the end of the queue."""
    queue.put("first")
    queue.put("second")
    queue.get_nowait().requeue()

    assert [queue.get_nowait().payload for _ in range(2)] == ["second", "first"]


def test_what_was_not_acknowledged_is_there_again(connect: Connect, waiting: Waiting) -> None:
    """Once the connection closes."""
    connection = connect()
    queue = connection.SimpleQueue("simple")
    for number in range(3):
        queue.put(number)
    _take(queue)
    queue.get(timeout=10)
    connection.release()

    assert waiting("simple") == [1, 2]


def test_a_buffer_needs_no_acknowledgement(buffer: Any, broker_client: redis.Redis) -> None:
    """What was got is gone."""
    for number in range(3):
        buffer.put(number)

    assert [buffer.get(timeout=10).payload for _ in range(2)] == [0, 1]
    assert buffer.get_nowait().payload == 2
    assert not broker_client.exists("unacked", "unacked_index", "buffered")


def test_options_of_the_message_are_kept(queue: Any) -> None:
    """Serializer, compression, headers, priority."""
    queue.put({"later": 1}, priority=9)
    queue.put({"now": 1}, serializer="json", compression="zlib", headers={"h": 1}, priority=0)

    first = queue.get(timeout=10)
    assert first.payload == {"now": 1}
    assert first.headers["h"] == 1
    assert queue.get(timeout=10).payload == {"later": 1}
