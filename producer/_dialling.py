"""Opening connections to Redis: each in a thread of its own."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import nullcontext
from threading import Thread
from typing import TYPE_CHECKING

from producer._connection import Connection, said
from producer._forks import OPENSSL
from producer._resp import PING
from producer.errors import BrokerUnavailable

if TYPE_CHECKING:
    from producer.address import Address

__all__ = ["dial"]


def dial(address: Address) -> Future[Connection]:
    """Connect in a thread: a name lookup takes no deadline, so the caller must be able to stop waiting.

    Returns:
        The connection to come, or its `BrokerUnavailable`.
    """
    future: Future[Connection] = Future()
    try:
        Thread(target=_dial, args=(address, future), name="feedback-dial", daemon=True).start()
    except RuntimeError as error:  # no more threads, or the interpreter is on its way out
        future.set_exception(BrokerUnavailable(f"can't connect to {address}: {said(error)}"))
    return future


def _dial(address: Address, future: Future[Connection]) -> None:
    try:
        with OPENSSL.handshake() if address.tls else nullcontext():
            connection = _connect(address)
    except BaseException as error:  # noqa: BLE001 - the waiting task gets every error
        unavailable = BrokerUnavailable(f"can't connect to {address}: {said(error)}")
        unavailable.__cause__ = error
        future.set_exception(unavailable)
    else:
        future.set_result(connection)


def _connect(address: Address) -> Connection:
    owner = address.connection()
    try:
        owner.connect()
        connection = Connection(owner)
        # A frozen server accepts connections all the same: only one that has answered is worth an event.
        connection.ask(PING, time.monotonic() + address.patience)
    except BaseException:
        owner.disconnect()
        raise
    return connection
