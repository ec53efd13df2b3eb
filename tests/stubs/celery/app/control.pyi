from typing import Any

from celery.app.base import Celery
from kombu.pidbox import Mailbox as KombuMailbox

class Inspect:
    def __init__(
        self,
        destination: list[str] | None = None,
        timeout: float = 1.0,
        callback: Any = None,
        connection: Any = None,
        app: Celery | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None: ...
    def active_queues(self) -> dict[str, Any] | None: ...
    def registered(self, *taskinfoitems: str) -> dict[str, Any] | None: ...
    def active(self, safe: bool | None = None) -> dict[str, Any] | None: ...
    def scheduled(self, safe: bool | None = None) -> dict[str, Any] | None: ...
    def stats(self) -> dict[str, Any] | None: ...
    def ping(self, destination: list[str] | None = None) -> dict[str, Any] | None: ...

class Control:
    Mailbox: type[KombuMailbox]
    mailbox: Any  # of the class that `Mailbox` names
    app: Celery
    def __init__(self, app: Celery | None = None) -> None: ...
    @property
    def inspect(self) -> type[Inspect]: ...
    def add_consumer(self, queue: str, **options: Any) -> list[dict[str, Any]] | None: ...
    def cancel_consumer(
        self, queue: str, destination: list[str] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]] | None: ...
    def rate_limit(
        self, task_name: str, rate_limit: str | float, destination: list[str] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]] | None: ...
    def revoke(
        self,
        task_id: str | list[str],
        destination: list[str] | None = None,
        terminate: bool = False,
        signal: str | int = "SIGTERM",
        **kwargs: Any,
    ) -> list[dict[str, Any]] | None: ...
    def broadcast(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        destination: list[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Any = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> list[dict[str, Any]]: ...
