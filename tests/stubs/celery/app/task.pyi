from datetime import datetime
from typing import Any

from celery.canvas import Signature
from celery.result import AsyncResult
from celery.utils.threads import _LocalStack

class Context:
    args: Any
    called_directly: bool
    correlation_id: str | None
    delivery_info: dict[str, Any] | None
    headers: Any
    id: str
    is_eager: bool
    kwargs: Any
    properties: Any
    retries: int
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def as_execution_options(self) -> dict[str, Any]: ...

class Task:
    name: str
    __trace__: Any
    acks_late: bool
    acks_on_failure_or_timeout: bool
    ignore_result: bool
    reject_on_worker_lost: bool | None
    throws: tuple[type[BaseException], ...]
    typing: bool
    app: Any
    @property
    def request(self) -> Context: ...
    request_stack: _LocalStack[Context]
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def run(self, *args: Any, **kwargs: Any) -> Any: ...
    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult: ...
    def apply_async(
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> AsyncResult: ...
    def chunks(self, it: Any, n: int) -> Signature: ...
    def s(self, *args: Any, **kwargs: Any) -> Signature: ...
    def push_request(self, *args: Any, **kwargs: Any) -> None: ...
    def pop_request(self) -> None: ...
    def signature_from_request(
        self,
        request: Context | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Signature: ...
    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> BaseException: ...
