"""dramatiq, with its Redis broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dramatiq
import requests
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.asking import ask
from benchmarks.sender import Sender, redis_url

if TYPE_CHECKING:
    from benchmarks.events import Fields

__all__ = ["Sending", "broker", "deliver"]

broker = RedisBroker(url=redis_url())
dramatiq.set_broker(broker)
deliver = dramatiq.actor(ask, actor_name="deliver", throws=requests.HTTPError)  # then it is dead at once


class Sending(Sender):
    """``send``."""

    def __init__(self, url: str, *, threads: int) -> None:
        del url, threads  # the broker has the one, and as many connections as it needs

    def send(self, event: Fields) -> None:
        deliver.send(**event)
