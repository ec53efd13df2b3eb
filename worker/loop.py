"""One thread in which many tasks take turns: each gives its turn away while it waits.

Sixty threads that wait for AquilaX and for Redis want Python's lock all at the same time whenever something has come,
and most of what they do is hand it to each other. Here a task is a greenlet: what it waits for wakes it, and the next
runs. Nothing is patched: only what is connected here (`Loop.connect`) gives way, and what would block goes to a thread
(`worker.turns.aside`).
"""

from __future__ import annotations

import contextvars
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import gevent
import gevent.socket
import gevent.ssl
from gevent.hub import Waiter

from worker.turns import take_turns_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.turns import SocketOptions

__all__ = ["Job", "Loop"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_THREADS: Final = 10_000
"""More than tasks can run at once. Python makes a thread only when none is idle."""


class Job:
    """One task that is to run, or runs."""

    __slots__ = ("__weakref__", "call", "tag")  # Celery keeps a weak reference to it

    def __init__(self, call: Callable[[], object], tag: str) -> None:
        self.call = call
        self.tag = tag

    def terminate(self, signal: int | None = None) -> None:
        """Nothing: Celery asks the pool first, which refuses (`worker.pool.TaskPool.terminate_job`)."""


class Loop:
    """A thread, and its tasks. The thread begins with the first of them.

    Args:
        at_once: How many may have begun and not ended.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._jobs: deque[Job] = deque()
        self._running: dict[Job, None] = {}
        self._idle: list[Waiter] = []
        self._woken: deque[Iterable[Waiter]] = deque()
        self._closing: dict[Callable[[], None], None] = {}
        self._changing = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pinged_at: float | None = None
        # None waits for another's: there are as many as tasks that wait for one, and those are at most all that run.
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="aside")

    # From any thread

    def submit(self, call: Callable[[], object], *, tag: str) -> Job:
        """Let a task run when it is its turn.

        Args:
            call: Runs it to its end.
            tag: The delivery tag of its message.
        """
        job = Job(call, tag)
        self._jobs.append(job)
        if not self._ready.is_set():
            self._start()
        self._look_up()
        return job

    def drop_unstarted(self) -> frozenset[str]:
        """Begin none of those that have not begun; return the delivery tags of those that have, and have not ended."""
        with self._changing:
            self._jobs.clear()
            return frozenset(job.tag for job in self._running)

    def resize(self, at_once: int) -> None:
        """Let so many run at once from now on. What has begun is left to its end."""
        self._at_once = at_once
        if self._ready.is_set():
            self._look_up()

    def ping(self) -> None:
        """Ask the thread for a sign of life (`silent_for`)."""
        if self._ready.is_set() and not self._stopping and self._pinged_at is None:
            self._pinged_at = time.monotonic()
            self._look_up()

    @property
    def silent_for(self) -> float:
        """For how many seconds the thread has owed a sign of life; 0 if it owes none."""
        pinged_at = self._pinged_at
        return 0.0 if pinged_at is None else time.monotonic() - pinged_at

    @property
    def running(self) -> int:
        """How many have begun, and have not ended."""
        return len(self._running)

    def stop(self) -> None:
        """Begin nothing more, and end the thread. What still runs is left as it is."""
        self.drop_unstarted()
        if self._ready.is_set() and not self._stopping:
            self._stopping = True
            self._look_up()
            if self._thread is not None:
                self._thread.join()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def wake(self, waiters: Iterable[Waiter]) -> None:
        """As of `worker.turns.Turns`."""
        if threading.current_thread() is self._thread:
            soon = self._hub.loop.run_callback
            for waiter in waiters:
                soon(waiter.switch, None)
        else:
            self._woken.append(waiters)
            self._look_up()

    def _start(self) -> None:
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
                self._thread.start()
        self._ready.wait()

    def _look_up(self) -> None:
        """Have `_look` called in the thread, soon."""
        self._signal.send()

    # In its thread

    def _run(self) -> None:
        take_turns_here(self)
        self._hub = gevent.get_hub()
        self._signal = self._hub.loop.async_()
        self._signal.start(self._look)
        self._end = Waiter(self._hub)
        self._ready.set()
        try:
            self._end.get()
            for close in self._closing:
                close()
        except BaseException:
            log.critical("a fault of ours has ended the thread of the deliveries, and so the worker", exc_info=True)
            logging.shutdown()
            os._exit(os.EX_SOFTWARE)  # what it holds goes to others, by its lease

    def _look(self) -> None:
        """Wake whom others have woken, and begin what has come."""
        self._pinged_at = None
        while self._woken:
            for waiter in self._woken.popleft():
                waiter.switch(None)
        self._begin()
        if self._stopping:
            self._end.switch(None)

    def _begin(self) -> None:
        while job := self._next():
            if self._idle:
                self._idle.pop().switch(job)
            else:
                gevent.spawn(self._do, job)

    def _next(self) -> Job | None:
        """Take what is to run next, if there is room for it, and let it count as running."""
        with self._changing:
            if not self._jobs or len(self._running) >= self._at_once:
                return None
            job = self._jobs.popleft()
            self._running[job] = None
            return job

    def _do(self, job: Job | None) -> None:
        """Run one task after another: a greenlet that begins is given memory for its frames, which Python maps anew."""
        while job is not None:
            try:
                job.call()
            except BaseException:
                log.exception("a fault of ours: a task ended in none of the ways in which Celery's tasks end")
            with self._changing:
                self._running.pop(job, None)
            job = self._next() or self._wait_for_another()

    def _wait_for_another(self) -> Job | None:
        waiter = Waiter()
        self._idle.append(waiter)
        return cast("Job | None", waiter.get())

    def begin(self, call: Callable[[], None]) -> None:
        """As of `worker.turns.Turns`."""
        gevent.spawn(call)

    def waiter(self) -> Waiter:
        """As of `worker.turns.Turns`."""
        return Waiter()

    def aside(self, call: Callable[[], T]) -> T:
        """As of `worker.turns.Turns`."""
        waiter = Waiter()
        future = self._threads.submit(contextvars.copy_context().run, call)
        future.add_done_callback(lambda _: self.wake((waiter,)))
        waiter.get()
        return future.result()

    def connect(self, address: tuple[str, int], *, timeout: float | None, options: SocketOptions) -> socket.socket:
        """As of `worker.turns.Turns`."""
        host, port = address
        failed: OSError | None = None
        for family, kind, protocol, _, place in self.aside(partial(_addresses, host, port)):
            sock = gevent.socket.socket(family, kind, protocol)
            try:
                for option in options:
                    sock.setsockopt(*option)
                sock.settimeout(timeout)
                sock.connect(place)
            except OSError as error:
                sock.close()
                failed = error
            else:
                return cast("socket.socket", sock)
        raise failed or OSError("the host has no address")

    def adopt(self, sock: socket.socket) -> socket.socket:
        """As of `worker.turns.Turns`."""
        timeout = sock.gettimeout()
        adopted = gevent.socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        adopted.settimeout(timeout)
        return cast("socket.socket", adopted)

    @cached_property
    def tls_context(self) -> ssl.SSLContext:
        """What `urllib3.util.create_urllib3_context` makes, of a class whose sockets give way."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # urllib3 asks for it once it has a name to check
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
        if sys.version_info >= (3, 13):
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        context.post_handshake_auth = True
        context.hostname_checks_common_name = False
        return cast("ssl.SSLContext", context)

    def at_stop(self, close: Callable[[], None]) -> None:
        """As of `worker.turns.Turns`."""
        self._closing[close] = None


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
