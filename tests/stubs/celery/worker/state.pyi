from typing import Any

from celery.worker.request import Request

should_stop: bool | int | None
requests: dict[str, Request]
reserved_requests: Any
revoked: set[str]

def task_reserved(request: Request) -> None: ...
def task_ready(request: Request, successful: bool = False) -> None: ...
