from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from celery.concurrency.base import BasePool

class ApplyResult:
    f: Future[Any]
    def __init__(self, future: Future[Any]) -> None: ...
    def wait(self, timeout: float | None = None) -> None: ...

class TaskPool(BasePool):
    executor: ThreadPoolExecutor
    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> Any: ...
