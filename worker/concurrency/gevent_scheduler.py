"""The scheduler on gevent: deliveries as greenlets of one thread.

Sixty threads that wait for AquilaX and for Redis all want Python's lock whenever something arrives, and spend much of
their time handing it over. Here a delivery is a greenlet: what it waits for resumes it. Nothing is patched: only
adopted sockets yield (`GeventScheduler.adopt_socket`), and blocking calls go to threads (`run_in_thread`).
"""

from __future__ import annotations

import contextvars
import logging
import os
import ssl
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import gevent
import gevent.socket
import gevent.ssl
from gevent.hub import Waiter as GeventWaiter

from worker.concurrency.scheduler import set_current_scheduler

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from worker.concurrency.scheduler import Waiter


__all__ = ["GeventScheduler", "Job"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_THREADS: Final = 10_000
"""More than there are deliveries: no blocking call waits for another. gevent starts a thread only when none is idle."""


class Job:
    """One delivery, pending or running."""

    __slots__ = ("__weakref__", "call", "tag")  # Celery keeps a weak reference to it

    def __init__(self, call: Callable[[], object], tag: str) -> None:
        self.call = call
        self.tag = tag

    def terminate(self, signal: int | None = None) -> None:
        """Nothing: Celery asks the pool first, which refuses (`worker.runtime.pool.TaskPool.terminate_job`)."""


class GeventScheduler:
    """Runs deliveries in one thread, which starts with the first of them.

    Args:
        limit: Deliveries that run at once, beside those that wait outside the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._outside = 0
        self.outside_changed: Callable[[int], None] = lambda _: None
        """Is told, in the scheduler's thread, how many wait outside the limit, whenever that changes."""
        self._pending: deque[Job] = deque()
        self._running: dict[Job, None] = {}
        self._idle: list[GeventWaiter[Job]] = []
        self._cleanups: dict[Callable[[], None], None] = {}
        self._changing = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pinged_at: float | None = None

    # From any thread

    def submit(self, call: Callable[[], object], *, tag: str) -> Job:
        """Run a delivery as soon as the limit allows.

        Args:
            call: Runs it to its end.
            tag: Its message's delivery tag.
        """
        job = Job(call, tag)
        self._pending.append(job)
        if not self._ready.is_set():
            self._start()
        self._hub.loop.run_callback_threadsafe(self._start_pending)
        return job

    def cancel_pending(self) -> frozenset[str]:
        """Forget the pending deliveries; return the delivery tags of the running ones."""
        with self._changing:
            self._pending.clear()
            return frozenset(job.tag for job in self._running)

    def resize(self, limit: int) -> None:
        """Set how many run at once. Running deliveries continue."""
        self._limit = limit
        if self._ready.is_set():
            self._hub.loop.run_callback_threadsafe(self._start_pending)

    def ping(self) -> None:
        """Ask the thread to respond (`silent_for`)."""
        if self._ready.is_set() and not self._stopping and self._pinged_at is None:
            self._pinged_at = time.monotonic()
            self._hub.loop.run_callback_threadsafe(self._pong)

    @property
    def silent_for(self) -> float:
        """For how many seconds a ping has had no response; 0 if there is none outstanding."""
        pinged_at = self._pinged_at
        return 0.0 if pinged_at is None else time.monotonic() - pinged_at

    @property
    def running(self) -> int:
        """How many deliveries run now."""
        return len(self._running)

    def stop(self) -> None:
        """End the thread. Pending deliveries are forgotten, running ones abandoned."""
        self.cancel_pending()
        if self._thread is not None and not self._stopping:
            self._stopping = True
            self._ready.wait()
            self._stop.send()
            self._thread.join()

    def wake_threadsafe(self, waiters: Iterable[Waiter]) -> None:
        """See `worker.concurrency.scheduler.Scheduler`."""
        for waiter in waiters:
            self._hub.loop.run_callback_threadsafe(waiter.switch, None)

    def _start(self) -> None:
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
                self._thread.start()
        self._ready.wait()

    # In its thread

    def _run(self) -> None:
        set_current_scheduler(self)
        self._hub = gevent.get_hub()
        self._hub.threadpool.maxsize = _THREADS
        self._stop = self._hub.loop.async_()
        self._hub.loop.run_callback(self._ready.set)
        try:
            self._hub.wait(self._stop)  # the loop runs as long as something waits for a watcher
            for close in self._cleanups:
                close()
            if not self._hub.threadpool:  # else it would wait for calls that may hang; the process ends without them
                self._hub.threadpool.kill()
        except BaseException:
            log.critical("a fault of ours has ended the thread of the deliveries, and so the worker", exc_info=True)
            logging.shutdown()
            os._exit(os.EX_SOFTWARE)  # other workers recover its messages when its lease ends

    def _pong(self) -> None:
        self._pinged_at = None

    def _start_pending(self) -> None:
        while job := self._next():
            if self._idle:
                self._idle.pop().switch(job)
            else:
                gevent.spawn(self._work, job)

    def _next(self) -> Job | None:
        """Take the next pending delivery, if the limit allows, and count it as running."""
        with self._changing:
            if not self._pending or len(self._running) - self._outside >= self._limit:
                return None
            job = self._pending.popleft()
            self._running[job] = None
            return job

    def _work(self, job: Job | None) -> None:
        """Run one delivery after another: a new greenlet for each costs 20 µs, most of it memory for its frames."""
        while job is not None:
            try:
                job.call()
            except BaseException:
                log.exception("a fault of ours: a task ended in none of the ways in which Celery's tasks end")
            with self._changing:
                self._running.pop(job, None)
            job = self._next() or self._wait_for_another()

    def _wait_for_another(self) -> Job:
        waiter: GeventWaiter[Job] = GeventWaiter()
        self._idle.append(waiter)
        return waiter.get()

    def spawn(self, call: Callable[[], None]) -> None:
        """See `worker.concurrency.scheduler.Scheduler`."""
        gevent.spawn(call)

    def waiter(self) -> Waiter:
        """See `worker.concurrency.scheduler.Scheduler`."""
        return GeventWaiter()

    def wait_outside_limit(self, waiter: Waiter, *, timeout: float | None) -> bool:
        """See `worker.concurrency.scheduler.Scheduler`."""
        self._move_outside(1)
        self._hub.loop.run_callback(self._start_pending)
        try:
            return gevent.with_timeout(timeout, waiter.get, timeout_value=self) is not self
        finally:
            self._move_outside(-1)

    def _move_outside(self, change: int) -> None:
        self._outside += change
        self.outside_changed(self._outside)

    def run_in_thread(self, call: Callable[[], T]) -> T:
        """See `worker.concurrency.scheduler.Scheduler`."""
        future: Future[T] = Future()
        self._hub.threadpool.apply(contextvars.copy_context().run, (_fulfil, future, call))
        return future.result()

    def adopt_socket(self, sock: socket.socket) -> socket.socket:
        """See `worker.concurrency.scheduler.Scheduler`."""
        timeout = sock.gettimeout()
        adopted = gevent.socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        adopted.settimeout(timeout)
        return adopted

    def add_cleanup(self, close: Callable[[], None]) -> None:
        """See `worker.concurrency.scheduler.Scheduler`."""
        self._cleanups[close] = None

    @cached_property
    def tls_context(self) -> ssl.SSLContext:
        """As `urllib3.util.create_urllib3_context` makes it, with sockets that yield."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # urllib3 sets it once it knows the name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
        if sys.version_info >= (3, 13):
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        context.post_handshake_auth = True
        context.hostname_checks_common_name = False
        return context


def _fulfil(future: Future[T], call: Callable[[], T]) -> None:
    """Keep an error in the future: gevent prints one that leaves its thread, with its traceback."""
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
        future.set_exception(error)
