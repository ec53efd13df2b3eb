"""Celery's pool of threads, with deliveries under a scheduler; it knows what runs, and can be resized.

Celery's pool of threads lacks what its autoscaler, its remote control and Flower call on a pool: `grow`, `shrink`,
`restart` and `terminate_job`. A test walks Celery's sources for whatever else they call.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool, apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as CeleryTaskPool

from producer.message import TASK
from worker.runtime.container import FeedbackApp
from worker.runtime.request import without_revoked

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from worker.concurrency.gevent_scheduler import GeventScheduler, Job

__all__ = ["TaskPool"]

log = logging.getLogger(__name__)


class TaskPool(CeleryTaskPool):
    """Celery's pool of threads; it can also forget what has not started.

    Args:
        limit: How many deliveries run at once, and how many other tasks. Only an autoscaler makes a pool with 0.
        options: As Celery has them.
    """

    def __init__(self, limit: int, **options: Any) -> None:
        BasePool.__init__(self, limit, **options)  # Celery's pool of threads refuses to have none
        self.executor = _threads(limit)
        self._fewest = min(limit, 1)
        self._tags: dict[Future[Any], str] = {}
        self._one_at_a_time = threading.Lock()

    def on_apply(  # noqa: PLR0917 - the signature is Celery's
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> ApplyResult | Job:
        """Run a task when there is room for it."""
        args = args or ()
        tag = _delivery_tag(args)
        call: Callable[[], None] = partial(apply_target, target, args, kwargs or {}, callback, accept_callback)
        if args and args[0] == TASK:
            call = partial(without_revoked, call, accept_callback)
            return self._scheduler.submit(partial(_run, call, error_callback), tag=tag)
        with self._one_at_a_time:
            future = self.executor.submit(_run, call, error_callback)
            self._tags[future] = tag
        future.add_done_callback(self._ended)
        return _Result(future)

    def grow(self, n: int = 1) -> None:
        """Let so many more run at once."""
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Let so many fewer run at once, but at least one: what runs is left to end, and then not so many begin."""
        self._resize(self.limit - n)

    def restart(self) -> None:
        """Take new threads for what begins from now on. Deliveries keep nothing that a restart could fix."""
        self._resize(self.limit)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Refuse to break a running task off.

        Raises:
            NotImplementedError: Always. AquilaX may have the feedback already, and its outcome would be unknown.
        """
        raise NotImplementedError("a task that has begun is not broken off: it ends within its own time limit")

    def _resize(self, limit: int) -> None:
        with self._one_at_a_time:
            self.limit = max(limit, self._fewest)
            before, self.executor = self.executor, _threads(self.limit)
        before.shutdown(wait=False)  # what it was given it still runs
        self._scheduler.resize(self.limit)

    def on_stop(self) -> None:
        """Start no more tasks; `GracefulShutdown` decides how long to wait for those that run."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._scheduler.stop()

    def ping(self) -> None:
        """Ask the thread of the deliveries to respond."""
        self._scheduler.ping()

    @property
    def silent_for(self) -> float:
        """For how many seconds a ping has had no response; 0 if there is none outstanding."""
        return self._scheduler.silent_for

    def drop_unstarted(self) -> frozenset[str]:
        """Forget the pending tasks; return the delivery tags of the running ones."""
        with self._one_at_a_time:
            tasks = dict(self._tags)
        threads = {tag for future, tag in tasks.items() if not future.cancel() and not future.done()}
        return self._scheduler.cancel_pending() | threads

    @cached_property
    def _scheduler(self) -> GeventScheduler:
        # Celery's other pools run without gevent.
        from worker.concurrency.gevent_scheduler import GeventScheduler  # noqa: PLC0415 - importing gevent is slow, and other pools need none

        scheduler = GeventScheduler(self.limit)
        if isinstance(self.app, FeedbackApp):
            scheduler.outside_changed = self.app.feedback.leases.set_outside_credit
        return scheduler

    def _ended(self, future: Future[Any]) -> None:
        with self._one_at_a_time:
            self._tags.pop(future, None)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        return info | {"deliveries": self._scheduler.running}


class _Result(ApplyResult):
    """Celery's, which can be told to end if it has not begun."""

    def terminate(self, signal: int | None = None) -> None:  # noqa: ARG002 - the signature is Celery's
        """Do not begin; what has begun goes on."""
        self.f.cancel()


def _threads(limit: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(limit, 1))


def _run(call: Callable[[], None], failed: Callable[..., Any] | None) -> None:
    """Run a task, and tell Celery how it ended, also where the code around it raises."""
    try:
        call()
    except Exception:
        if failed is None:
            raise
        log.exception("a fault of ours: what surrounds a task has failed")
        failed(ExceptionInfo())


def _delivery_tag(args: tuple[Any, ...]) -> str:
    """The delivery tag of the message whose task is run: its request's are the third of Celery's arguments."""
    request = args[_REQUEST] if len(args) > _REQUEST else None
    properties = request.get("properties") if isinstance(request, dict) else None
    return str(properties.get("delivery_tag", "")) if isinstance(properties, dict) else ""


_REQUEST = 2
"""Which of the arguments that is."""
