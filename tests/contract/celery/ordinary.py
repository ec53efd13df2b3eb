"""An ordinary Celery app that knows nothing of feedback, on the transport of this project.

As a worker it reads where its Redis is from ``ORDINARY_BROKER``, and its transport's options, as JSON, from
``ORDINARY_OPTIONS``.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from celery import Celery

from worker.broker import install

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Task

__all__ = ["app", "create_app"]


def create_app(broker: str, options: Mapping[str, Any]) -> Celery:
    """Return the app.

    Args:
        broker: The Redis of its messages, and of its results.
        options: Of the transport.
    """
    install()
    app = Celery("ordinary", broker=broker, backend=broker, set_as_current=False)
    app.conf.update(
        broker_transport_options=dict(options),
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_prefetch_multiplier=1,
    )
    for function in (_add, _join, _clock, _attempts, _nap, _note, _lost):
        app.task(name=function.__name__.lstrip("_"), bind=True, shared=False)(function)
    return app


def _add(_: Task, one: int, other: int) -> int:
    return one + other


def _join(_: Task, parts: list[Any], between: str) -> str:
    return between.join(map(str, parts))


def _clock(_: Task) -> float:
    return time.time()


def _attempts(task: Task, wanted: int, wait: float) -> int:
    """Fail until it was tried so often."""
    tried: int = task.request.retries + 1
    if tried < wanted:
        raise task.retry(countdown=wait, max_retries=wanted)
    return tried


def _nap(task: Task, key: str, seconds: float) -> str:
    """Write down that it begins, sleep, and write down that it has ended."""
    _note(task, key, "begun")
    time.sleep(seconds)
    _note(task, key, "ended")
    return "rested"


def _note(task: Task, key: str, value: str) -> None:
    """Write a value down, behind those of the tasks before."""
    task.app.backend.client.rpush(key, value)


def _lost(task: Task, key: str) -> str:
    """End its process without a word, the first time."""
    _note(task, key, "begun")
    if task.app.backend.client.llen(key) == 1:
        os._exit(9)
    return "survived"


app = create_app(
    os.environ.get("ORDINARY_BROKER", "redis://127.0.0.1:6379/0"), json.loads(os.environ.get("ORDINARY_OPTIONS", "{}"))
)
