"""Celery's thread pool, which knows what it has begun."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as CeleryTaskPool

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["TaskPool"]


class TaskPool(CeleryTaskPool):  # type: ignore[misc]  # Celery is untyped
    """Celery's, and it can give back what it has not begun."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's own
        super().__init__(*args, **kwargs)
        self._tags: dict[Future[Any], str] = {}
        self._one_at_a_time = threading.Lock()

    def on_apply(self, *args: Any, **kwargs: Any) -> ApplyResult:  # noqa: ANN401 - Celery's own
        """Run a task when a thread is free."""
        result = super().on_apply(*args, **kwargs)
        with self._one_at_a_time:
            self._tags[result.f] = _delivery_tag(*args, **kwargs)
        result.f.add_done_callback(self._ended)
        return result

    def on_stop(self) -> None:
        """Begin nothing more. How long to wait for what runs is not the pool's to decide (`worker.bootsteps.Leave`)."""
        self.executor.shutdown(wait=False, cancel_futures=True)

    def drop_unstarted(self) -> frozenset[str]:
        """Begin nothing of what waits for a thread; return the delivery tags of what is running."""
        with self._one_at_a_time:
            tasks = dict(self._tags)
        return frozenset(tag for future, tag in tasks.items() if not future.cancel() and not future.done())

    def _ended(self, future: Future[Any]) -> None:
        with self._one_at_a_time:
            self._tags.pop(future, None)


def _delivery_tag(_target: Any, args: tuple[Any, ...] = (), *_: Any, **__: Any) -> str:  # noqa: ANN401 - Celery's own
    """The delivery tag of the message whose task is run: its request's are the third of Celery's arguments."""
    request = args[2] if len(args) > _REQUEST else None
    properties = request.get("properties") if isinstance(request, dict) else None
    return str(properties.get("delivery_tag", "")) if isinstance(properties, dict) else ""


_REQUEST = 2
