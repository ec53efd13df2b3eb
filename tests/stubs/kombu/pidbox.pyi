from typing import Any, Self

from kombu.connection import Connection
from kombu.entity import Exchange

class Mailbox:
    exchange: Exchange
    exchange_fmt: str
    type: str
    connection: Connection | None
    def __call__(self, connection: Connection) -> Self: ...
    def _publish_reply(self, reply: Any, exchange: str, routing_key: str, ticket: str, **opts: Any) -> None: ...
    def _publish(
        self,
        type: str,
        arguments: dict[str, Any],
        destination: list[str] | None = None,
        reply_ticket: str | None = None,
        channel: Any = None,
        timeout: float | None = None,
        serializer: str | None = None,
        producer: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None: ...
    def _collect(self, ticket: str, limit: int | None = None, timeout: float | None = 1) -> list[dict[str, Any]]: ...
    def _get_exchange(self, namespace: str, type: str) -> Exchange: ...
