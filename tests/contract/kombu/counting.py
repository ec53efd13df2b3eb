"""Our transports where every queue of the tests is counted: what ends is counted as delivered, unless told how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from worker.broker import channel as channels
from worker.broker import qos, transport

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COUNTS", "Channel", "ClusterChannel", "ClusterTransport", "Transport"]

QUEUES: Final = (
    *("q", "a", "b", "full", "free", "simple", "buffered", "tasks", "not-declared", "even", "odd", "lost"),
    *("red", "blue", "left", "right", "star", "hash", "exact", "all", "gone", "stays"),
)
COUNTS: Final[Mapping[str, str]] = {name: f"counted:{name}" for name in QUEUES}


class _QoS(qos.QoS):
    def ack(self, delivery_tag: str, label: str = "") -> None:
        super().ack(delivery_tag, label or "delivered")

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if requeue:
            super().reject(delivery_tag, requeue=True)
        else:
            self.ack(delivery_tag)


class Channel(channels.Channel):
    """That of one Redis."""

    QoS = _QoS


class ClusterChannel(channels.ClusterChannel):
    """That of a cluster."""

    QoS = _QoS


class Transport(transport.Transport):
    """That for one Redis."""

    Channel: Any = Channel


class ClusterTransport(transport.ClusterTransport):
    """That for a cluster."""

    Channel: Any = ClusterChannel
