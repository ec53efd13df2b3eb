"""A consumer that keeps what it receives."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Consumer, Queue

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Receiver", "body_of"]


class Receiver:
    """Consumes, by `drain_events`, on a channel of its own.

    Args:
        connection: A connection of Kombu's.
        queues: The queues, or their names.
        prefetch: How many messages it may have in flight; 0 for any number.
        no_ack: Whether what is received counts as acknowledged.
        channel: An open channel to consume on.
    """

    def __init__(
        self, connection: Any, *queues: Any, prefetch: int = 0, no_ack: bool = False, channel: Any = None
    ) -> None:
        self.connection = connection
        self.messages: list[Any] = []
        self.channel = channel or connection.channel()
        self.consumer = Consumer(
            self.channel,
            [queue if isinstance(queue, Queue) else Queue(queue) for queue in queues],
            on_message=self.messages.append,
            no_ack=no_ack,
            prefetch_count=prefetch,
        )
        self.consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        """What it has received so far."""
        return [message.payload for message in self.messages]

    def receive(self, number: int = 1, *, ack: bool = False) -> list[Any]:
        """Wait for so many messages more, and return their bodies."""
        before = len(self.messages)
        self.wait_until(lambda: len(self.messages) >= before + number)
        received = self.messages[before:]
        if ack:
            for message in received:
                message.ack()
        return [message.payload for message in received]

    def wait_until(self, look: Callable[[], Any], *, timeout: float = 20) -> None:
        """Receive until `look` sees something."""
        deadline = time.monotonic() + timeout
        while not look():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout} s; received: {self.bodies}")
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                continue

    def receives_nothing(self, seconds: float = 0.2) -> bool:
        """Whether no message comes for so long."""
        before = len(self.messages)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and len(self.messages) == before:
            try:
                self.connection.drain_events(timeout=left)
            except TimeoutError:
                break
        return len(self.messages) == before


def body_of(entry: str) -> Any:
    """The body of a message as it lies in Redis."""
    message = json.loads(entry)
    body = b64decode(message["body"]).decode()
    return json.loads(body) if message["content-type"] == "application/json" else body
