"""A link opens a connection in a thread of its own, and never where messages are delivered."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.processes import eventually
from worker.broker.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = threading.get_ident


class Connection:
    """A connection of redis-py, as far as a link knows it."""

    def __init__(self) -> None:
        self._sock: object | None = object()

    def disconnect(self) -> None:
        """Close it."""
        self._sock = None


class Pool:
    """Connections that a test lets come, or fail.

    Args:
        connect: Called by the thread that connects.
    """

    def __init__(self, connect: Callable[[], object] = lambda: None) -> None:
        self.connect = connect
        self.threads: list[int] = []
        self.made: list[Connection] = []
        self.released: list[Any] = []

    def get_connection(self) -> Connection:
        """Connect."""
        self.threads.append(HERE())
        self.connect()
        self.made.append(Connection())
        return self.made[-1]

    def release(self, connection: Any) -> None:
        """Take one back."""
        self.released.append(connection)


class Client:
    """A client with one connection."""

    def __init__(self, pool: Pool) -> None:
        self.connection: Any = None
        self.connection_pool = pool


def link_of(pool: Pool, **options: Any) -> tuple[Link, Client]:
    """A link, and its client."""
    client = Client(pool)
    return Link(client, name="it", opened=options.pop("opened", lambda: None), **options), client


def opened(link: Link) -> Link:
    """Wait until it has a connection."""
    eventually(link.ready, timeout=10, what="it is open")
    return link


def refusing(*, times: int) -> Callable[[], None]:
    """A server that refuses so often, and is there then."""
    left = [redis.ConnectionError("refused")] * times

    def connect() -> None:
        if left:
            raise left.pop()

    return connect


def test_it_never_connects_in_the_thread_that_asks() -> None:
    """Which goes on meanwhile, and is woken once there is a connection to take over."""
    may_connect, woken = threading.Event(), threading.Event()
    pool = Pool(lambda: may_connect.wait(10))
    link, client = link_of(pool, opened=woken.set)

    assert [link.ready(), link.ready(), link.is_open, client.connection] == [False, False, False, None]
    may_connect.set()
    assert woken.wait(10)

    assert link.ready()
    assert client.connection is pool.made[0]
    assert len(pool.threads) == 1
    assert HERE() not in pool.threads


def test_it_tries_until_it_can_connect_and_tells_once(caplog: pytest.LogCaptureFixture) -> None:
    """An operator reads which partition is away, once, and once that it is there again."""
    pool = Pool(refusing(times=3))
    link, _ = link_of(pool)

    with caplog.at_level(logging.INFO, "worker.broker.link"):
        opened(link).works()
        link.works()

    assert len(pool.threads) == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "refused" in caplog.text


def test_pauses_between_tries_grow_up_to_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first one that is soon: a server that was restarted is there at once."""
    pool = Pool(refusing(times=7))
    link, _ = link_of(pool)
    pauses: list[float] = []

    def note(pause: float) -> bool:
        pauses.append(pause)
        return False

    monkeypatch.setattr(link._closed, "wait", note)
    opened(link)

    assert pauses == [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_connection_that_is_lost_again_and_again_is_not_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that connects and refuses every command would have the loop spin."""
    pool = Pool()
    link, client = link_of(pool)
    pauses: list[float] = []

    def note(pause: float) -> bool:
        pauses.append(pause)
        return False

    monkeypatch.setattr(link._closed, "wait", note)
    for _ in range(3):
        opened(link).lose(redis.ResponseError("WRONGTYPE"))
    opened(link).works()
    client.connection.disconnect()
    opened(link)

    assert pauses == [0.0, 0.1, 0.2, 0.4, 0.0]


def test_whatever_connecting_raises_it_is_tried_again() -> None:
    """Without its thread there would never be a connection."""
    left: list[Exception] = [ValueError("a fault"), OSError("no route"), redis.ConnectionError("refused")]

    def connect() -> None:
        if left:
            raise left.pop()

    link, _ = link_of(Pool(connect))

    opened(link)
    assert not left


def test_a_loss_is_told_once_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    """Each loss is counted by whoever asked to be called, and the connection is closed."""
    pool, lost = Pool(), []
    link, client = link_of(pool, lost=lambda: lost.append(HERE()))

    with caplog.at_level(logging.INFO, "worker.broker.link"):
        for number in range(3):
            opened(link)
            link.lose(redis.ConnectionError(f"loss {number}"))
            assert not link.is_open
        opened(link).works()
        link.lose(redis.ConnectionError("another"))

    assert lost == [HERE()] * 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]
    assert "loss 0" in caplog.records[0].message
    assert "another" in caplog.records[2].message
    assert client.connection._sock is None
    assert [connection._sock for connection in pool.made] == [None] * 4
    assert pool.released == pool.made[:3]


def test_a_connection_from_before_its_server_was_lost_is_given_up() -> None:
    """As far as other connections know: another server may have taken over, and this one hear nothing."""
    losses = [0]
    link, client = link_of(Pool(), losses=lambda: losses[0])
    first = opened(link).client.connection

    losses[0] = 1
    assert not link.ready()
    assert first._sock is None
    assert opened(link).client.connection is client.connection is not first
    assert link.ready()


def test_closing_ends_the_search() -> None:
    """The thread that tries to connect ends, and nothing is opened any more."""
    tried = threading.Event()

    def connect() -> None:
        tried.set()
        raise redis.ConnectionError("refused")

    pool = Pool(connect)
    link, _ = link_of(pool)
    assert not link.ready()
    assert tried.wait(10)
    thread = link._thread

    link.close()

    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    tries = len(pool.threads)
    link._thread = None
    assert not link.ready()
    assert len(pool.threads) == tries


@pytest.mark.parametrize("moment", ["while it connects", "before it is taken over"])
def test_what_was_opened_as_it_closes_is_closed(moment: str) -> None:
    """No connection is left behind."""
    connecting, may_connect, woken = threading.Event(), threading.Event(), []

    def connect() -> None:
        connecting.set()
        may_connect.wait(10)

    pool = Pool(connect)
    link, client = link_of(pool, opened=lambda: woken.append(1))
    link.ready()
    thread = link._thread
    assert thread is not None
    assert connecting.wait(10)

    if moment == "while it connects":
        link.close()
        may_connect.set()
        thread.join(10)
    else:
        may_connect.set()
        thread.join(10)
        link.close()

    assert [connection._sock for connection in pool.made] == [None]
    assert woken == ([] if moment == "while it connects" else [1])
    assert client.connection is None
    assert not link.ready()


def test_a_process_that_was_forked_opens_connections_of_its_own() -> None:
    """The thread that was connecting is the parent's."""
    may_connect = threading.Event()
    link, _ = link_of(Pool(lambda: may_connect.wait(10)))
    link.ready()

    link.forget()
    may_connect.set()

    opened(link)
