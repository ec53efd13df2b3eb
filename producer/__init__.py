"""What a chat backend imports: hand feedback over to Redis and move on.

    from producer import FeedbackProducer

    producer = FeedbackProducer.from_env()
    producer.enqueue("77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", True, org="65dd…", group="67e8…")

It needs redis-py and nothing else.
"""

from typing import TYPE_CHECKING

from producer._version import __version__
from producer.errors import BrokerUnavailable, EnqueueUncertain, InvalidEvent, ProducerError
from producer.event import FeedbackEvent

if TYPE_CHECKING:
    from producer._async_client import AsyncFeedbackProducer
    from producer._client import FeedbackProducer
else:

    def __getattr__(name: str) -> object:
        """Import a producer when it is asked for: commands need none, and asyncio and ssl are half of a start."""
        if name == "FeedbackProducer":
            from producer._client import FeedbackProducer  # noqa: PLC0415 - that is the purpose

            return FeedbackProducer
        if name == "AsyncFeedbackProducer":
            from producer._async_client import AsyncFeedbackProducer  # noqa: PLC0415 - that is the purpose

            return AsyncFeedbackProducer
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AsyncFeedbackProducer",
    "BrokerUnavailable",
    "EnqueueUncertain",
    "FeedbackEvent",
    "FeedbackProducer",
    "InvalidEvent",
    "ProducerError",
    "__version__",
]
