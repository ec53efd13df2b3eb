from collections import defaultdict
from collections.abc import Callable, Container
from typing import Any

from celery.app.base import Celery
from kombu.clocks import LamportClock

class EventDispatcher:
    buffer_group: Container[str]
    buffer_limit: int
    clock: LamportClock
    enabled: bool
    groups: set[str]
    hostname: str
    on_send_buffered: Callable[[], object] | None
    pid: int
    producer: Any
    _group_buffer: defaultdict[str, list[dict[str, Any]]]
    def __init__(
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        buffer_while_offline: bool = True,
        app: Celery | None = None,
        serializer: str | None = None,
        groups: Container[str] | None = None,
        delivery_mode: int = 1,
        buffer_group: Container[str] | None = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], object] | None = None,
    ) -> None: ...
    def send(self, type: str, blind: bool = False, **fields: Any) -> None: ...
    def flush(self, errors: bool = True, groups: bool = True) -> None: ...
    def _publish(
        self,
        event: Any,
        producer: Any,
        routing_key: str,
        retry: bool = False,
        retry_policy: dict[str, Any] | None = None,
        utcoffset: Callable[[], float] = ...,
    ) -> None: ...
