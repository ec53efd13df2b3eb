from typing import Any

from celery.app.base import Celery
from kombu.message import Message

class Request:
    acknowledged: bool
    id: str
    time_limits: tuple[float | None, float | None]
    time_start: float | None
    worker_pid: int | None
    name: str
    _already_revoked: bool
    _app: Celery
    _args: Any
    _argsrepr: str
    _body: Any
    _content_encoding: str | None
    _content_type: str | None
    _decoded: bool
    _eventer: Any
    _kwargs: Any
    _kwargsrepr: str
    _message: Message
    _on_ack: Any
    _request_dict: dict[str, Any]
    def __init__(self, message: Message, **options: Any) -> None: ...
    @property
    def message(self) -> Message: ...
    @property
    def stamps(self) -> dict[str, Any]: ...
    @property
    def argsrepr(self) -> str: ...
    @property
    def body(self) -> Any: ...
    @property
    def content_encoding(self) -> str | None: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def kwargsrepr(self) -> str: ...
    @property
    def request_dict(self) -> dict[str, Any]: ...
    def acknowledge(self) -> None: ...
    def on_accepted(self, pid: int, time_accepted: float) -> None: ...
    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any: ...
    def on_retry(self, exc_info: Any) -> None: ...
    def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> Any: ...
    def on_timeout(self, soft: bool, timeout: float) -> None: ...
    def revoked(self) -> bool: ...
    def terminate(self, pool: Any, signal: str | int | None = None) -> None: ...
    def _announce_revoked(self, reason: str, terminated: bool, signum: str | None, expired: bool) -> None: ...

def create_request_cls(
    base: type[Request],
    task: Any,
    pool: Any,
    hostname: str,
    eventer: Any,
    ref: Any = ...,
    revoked_tasks: Any = ...,
    task_ready: Any = ...,
    trace: Any = ...,
    app: Any = ...,
) -> type[Request]: ...
