"""Celery's pool of threads, but for deliveries, which take turns in one; and it knows what it has begun."""

from __future__ import annotations

import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as CeleryTaskPool

from producer.message import TASK

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from worker.loop import Job, Loop

__all__ = ["TaskPool"]


class TaskPool(CeleryTaskPool):  # type: ignore[misc]  # Celery is untyped
    """Celery's, and it can give back what it has not begun."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's own
        super().__init__(*args, **kwargs)
        self._tags: dict[Future[Any], str] = {}
        self._one_at_a_time = threading.Lock()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **options: Any,  # noqa: ANN401 - Celery's own
    ) -> ApplyResult | Job:
        """Run a task when there is room for it."""
        tag = _delivery_tag(args)
        if args and args[0] == TASK:
            return self._loop.submit(
                partial(apply_target, target, args, kwargs or {}, callback, accept_callback), tag=tag
            )
        result = super().on_apply(target, args, kwargs, callback, accept_callback, **options)
        with self._one_at_a_time:
            self._tags[result.f] = tag
        result.f.add_done_callback(self._ended)
        return result

    def on_stop(self) -> None:
        """Begin nothing more. How long to wait for what runs is not the pool's to decide (`worker.bootsteps.Leave`)."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._loop.stop()

    def drop_unstarted(self) -> frozenset[str]:
        """Begin nothing of what waits for room; return the delivery tags of what is running."""
        with self._one_at_a_time:
            tasks = dict(self._tags)
        threads = {tag for future, tag in tasks.items() if not future.cancel() and not future.done()}
        return self._loop.drop_unstarted() | threads

    @cached_property
    def _loop(self) -> Loop:
        from worker.loop import Loop  # noqa: PLC0415 - the other pools of Celery do without gevent

        return Loop(self.limit)

    def _ended(self, future: Future[Any]) -> None:
        with self._one_at_a_time:
            self._tags.pop(future, None)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        return info | {"deliveries": self._loop.running}


def _delivery_tag(args: tuple[Any, ...]) -> str:
    """The delivery tag of the message whose task is run: its request's are the third of Celery's arguments."""
    request = args[_REQUEST] if len(args) > _REQUEST else None
    properties = request.get("properties") if isinstance(request, dict) else None
    return str(properties.get("delivery_tag", "")) if isinstance(properties, dict) else ""


_REQUEST = 2
"""Which of the arguments that is."""
