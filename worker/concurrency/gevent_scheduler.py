"""The scheduler on gevent: deliveries as greenlets of one thread.

Sixty threads that wait for AquilaX and for Redis all want Python's lock whenever something arrives, and spend much of
their time handing it over. Here a delivery is a greenlet: what it waits for resumes it. Nothing is patched: only
connections made here (`GeventScheduler.connect`) yield, and blocking calls go to threads
(`worker.concurrency.scheduler.run_in_thread`).
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
from typing import TYPE_CHECKING, Any, Final, TypeVar

import gevent
import gevent.socket
import gevent.ssl
from gevent.hub import Waiter as GeventWaiter

from worker.concurrency.scheduler import set_current_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.concurrency.scheduler import SocketOptions, Waiter

__all__ = ["GeventScheduler", "Job"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_THREADS: Final = 10_000
"""More than there are tasks. A thread is started only when none is idle."""


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
        limit: Deliveries that run at once.
    """

    def __init__(self, limit: int) -> None:
        self._at_once = limit
        self._jobs: deque[Job] = deque()
        self._running: dict[Job, None] = {}
        self._idle: list[GeventWaiter[Job]] = []
        self._woken: deque[Iterable[Waiter]] = deque()
        self._cleanups: dict[Callable[[], None], None] = {}
        self._changing = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pinged_at: float | None = None
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="blocking")

    # From any thread

    def submit(self, call: Callable[[], object], *, tag: str) -> Job:
        """Run a delivery as soon as the limit allows.

        Args:
            call: Runs it to its end.
            tag: Its message's delivery tag.
        """
        job = Job(call, tag)
        self._jobs.append(job)
        if not self._ready.is_set():
            self._start()
        self._signal_loop()
        return job

    def cancel_pending(self) -> frozenset[str]:
        """Forget the pending deliveries; return the delivery tags of the running ones."""
        with self._changing:
            self._jobs.clear()
            return frozenset(job.tag for job in self._running)

    def resize(self, limit: int) -> None:
        """Set how many run at once. Running deliveries continue."""
        self._at_once = limit
        if self._ready.is_set():
            self._signal_loop()

    def ping(self) -> None:
        """Ask the thread to respond (`silent_for`)."""
        if self._ready.is_set() and not self._stopping and self._pinged_at is None:
            self._pinged_at = time.monotonic()
            self._signal_loop()

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
        if self._ready.is_set() and not self._stopping:
            self._stopping = True
            self._signal_loop()
            if self._thread is not None:
                self._thread.join()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def wake_threadsafe(self, waiters: Iterable[Waiter]) -> None:
        """See `worker.concurrency.scheduler.Scheduler`."""
        if threading.current_thread() is self._thread:
            soon = self._hub.loop.run_callback
            for waiter in waiters:
                soon(waiter.switch, None)
        else:
            self._woken.append(waiters)
            self._signal_loop()

    def _start(self) -> None:
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
                self._thread.start()
        self._ready.wait()

    def _signal_loop(self) -> None:
        """Have `_on_signal` called in the thread."""
        self._signal.send()

    # In its thread

    def _run(self) -> None:
        set_current_scheduler(self)
        self._hub = gevent.get_hub()
        self._signal = self._hub.loop.async_()
        self._signal.start(self._on_signal)
        self._end: GeventWaiter[None] = GeventWaiter(self._hub)
        self._ready.set()
        try:
            self._end.get()
            for close in self._cleanups:
                close()
        except BaseException:
            log.critical("a fault of ours has ended the thread of the deliveries, and so the worker", exc_info=True)
            logging.shutdown()
            os._exit(os.EX_SOFTWARE)  # other workers recover its messages when its lease ends

    def _on_signal(self) -> None:
        """Resume what other threads have woken, and start pending deliveries."""
        self._pinged_at = None
        while self._woken:
            for waiter in self._woken.popleft():
                waiter.switch(None)
        self._start_pending()
        if self._stopping:
            self._end.switch(None)

    def _start_pending(self) -> None:
        while job := self._next():
            if self._idle:
                self._idle.pop().switch(job)
            else:
                gevent.spawn(self._work, job)

    def _next(self) -> Job | None:
        """Take the next pending delivery, if the limit allows, and count it as running."""
        with self._changing:
            if not self._jobs or len(self._running) >= self._at_once:
                return None
            job = self._jobs.popleft()
            self._running[job] = None
            return job

    def _work(self, job: Job | None) -> None:
        """Run one delivery after another: a new greenlet costs a memory mapping for its frames."""
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

    def run_in_thread(self, call: Callable[[], T]) -> T:
        """See `worker.concurrency.scheduler.Scheduler`."""
        waiter = self.waiter()
        future = self._threads.submit(contextvars.copy_context().run, call)
        future.add_done_callback(lambda _: self.wake_threadsafe((waiter,)))
        waiter.get()
        return future.result()

    def connect(self, address: tuple[str, int], *, timeout: float | None, options: SocketOptions) -> socket.socket:
        """See `worker.concurrency.scheduler.Scheduler`."""
        host, port = address
        failed: OSError | None = None
        for family, kind, protocol, _, place in self.run_in_thread(partial(_addresses, host, port)):
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
                return sock
        raise failed or OSError("the host has no address")

    def adopt_socket(self, sock: socket.socket) -> socket.socket:
        """See `worker.concurrency.scheduler.Scheduler`."""
        timeout = sock.gettimeout()
        adopted = gevent.socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        adopted.settimeout(timeout)
        return adopted

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

    def add_cleanup(self, close: Callable[[], None]) -> None:
        """See `worker.concurrency.scheduler.Scheduler`."""
        self._cleanups[close] = None


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
