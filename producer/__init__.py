"""What a chat backend imports: hand feedback over to Redis and move on.

    from producer import FeedbackProducer

    producer = FeedbackProducer.from_env()
    producer.enqueue("77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", True, org="65dd…", group="67e8…")

It needs redis-py and nothing else.
"""

from producer._async_client import AsyncFeedbackProducer
from producer._client import FeedbackProducer
from producer._version import __version__
from producer.errors import BrokerUnavailable, EnqueueUncertain, InvalidEvent, ProducerError
from producer.event import FeedbackEvent

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
