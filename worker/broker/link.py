"""A link: one connection of a channel, which a thread opens while the event loop goes on.

A queue of several partitions has several servers. The one that is away must not hold up what comes from the others, so
nothing waits for a server where messages are delivered.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

import redis

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LISTENING", "WAITING", "Link"]

log = logging.getLogger(__name__)

WAITING: Final = "BRPOP"
LISTENING: Final = "LISTEN"
"""Kombu's names for the connection that waits for messages, and for the one that listens to what everyone is told."""

_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Seconds between tries."""


class _HasConnection(Protocol):
    connection: Any
    connection_pool: Any


class Link:
    """Keeps the connection of a client open; all but the connecting is done by one thread, that of the event loop.

    Args:
        client: A client of redis-py, or its publish and subscribe, with a connection of its own.
        name: What the log calls it.
        opened: Called by the connecting thread once there is a connection to take over.
        lost: Called when the connection is given up.
        losses: Returns how often its server was lost, as far as other connections know: one from before leads to a
            server that may be another now.
    """

    def __init__(
        self,
        client: _HasConnection,
        *,
        name: str,
        opened: Callable[[], None],
        lost: Callable[[], None] = lambda: None,
        losses: Callable[[], int] = lambda: 0,
    ) -> None:
        self.client = client
        self._name = name
        self._opened = opened
        self._lost = lost
        self._losses = losses
        self._losses_before = losses()
        self._made: redis.Connection | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._changing = threading.Lock()
        self._failures = 0
        self._told = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        connection = self.client.connection
        return connection is not None and connection._sock is not None  # noqa: SLF001 - redis-py has no public way to its socket

    def ready(self) -> bool:
        """Return whether there is a connection; if not, one is being opened."""
        if self.is_open:
            if self._losses() == self._losses_before:
                return True
            self.lose(redis.ConnectionError("its server was lost on another connection"))
        with self._changing:
            made, self._made = self._made, None
        if made is not None:
            self.client.connection, self._thread = made, None
            return True
        if self._thread is None and not self._closed.is_set():
            self._drop(self.client.connection)
            self._losses_before = self._losses()
            self._thread = threading.Thread(target=self._open, name=f"link {self._name}", daemon=True)
            self._thread.start()
        return False

    def wait(self, seconds: float) -> bool:
        """Open the connection, if there is none, and return whether there is one after so many seconds at most."""
        if not self.ready() and self._thread is not None:
            self._thread.join(seconds)
        return self.ready()

    def lose(self, error: Exception) -> None:
        """Give the connection up, after an error on it."""
        self._tell(error)
        self._failures += 1
        self._lost()
        connection = self.client.connection
        if connection is not None:
            connection.disconnect()

    def works(self) -> None:
        """Note that the server answers."""
        self._failures = 0
        if self._told:
            log.info("%s is there again", self._name)
            self._told = False

    def close(self) -> None:
        """Open no more."""
        with self._changing:
            self._closed.set()
            made, self._made = self._made, None
        if made is not None:
            made.disconnect()

    def forget(self) -> None:
        """Leave what is being opened to the process that this one was forked from: its thread is not here."""
        self._changing = threading.Lock()
        self._made, self._thread = None, None

    def _tell(self, error: Exception) -> None:
        """Warn once, until it works again."""
        if not self._told:
            log.warning("%s is lost, and looked for again; the others go on: %s", self._name, error)
            self._told = True

    def _drop(self, connection: redis.Connection | None) -> None:
        if connection is not None:
            self.client.connection = None
            self.client.connection_pool.release(connection)

    def _open(self) -> None:
        """Connect, as often as it takes; after an error not at once."""
        pause = min(_SHORTEST_PAUSE * 2 ** min(self._failures, 10), _LONGEST_PAUSE) if self._failures else 0.0
        while not self._closed.wait(pause):
            try:
                made = self.client.connection_pool.get_connection()
            except Exception as error:  # noqa: BLE001 - whatever it is, without this thread there never is a connection
                if not self._closed.is_set():
                    self._tell(error)
                pause = min(max(pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
                continue
            with self._changing:
                is_closed = self._closed.is_set()
                self._made = None if is_closed else made
            if is_closed:
                made.disconnect()
            else:
                self._opened()
            return
