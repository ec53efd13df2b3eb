from collections.abc import Callable
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery.app.base import Celery
from celery.app.task import Context, Task

class trace_ok_t(NamedTuple):
    retval: Any
    info: Any
    runtime: Any
    retstr: Any

class TraceInfo:
    def __init__(self, state: str, retval: object = None) -> None: ...
    def handle_error_state(
        self, task: Task, req: Context, eager: bool = False, call_errbacks: bool = True
    ) -> ExceptionInfo: ...

def build_tracer(
    name: str,
    task: Task,
    loader: object = None,
    hostname: str | None = None,
    store_errors: bool = True,
    Info: object = ...,  # noqa: N803 - the name is Celery's
    eager: bool = False,
    propagate: bool = False,
    app: Celery | None = None,
) -> Callable[..., trace_ok_t]: ...
