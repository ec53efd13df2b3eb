"""The spool: no press is lost while Redis is unavailable.

    producer = FeedbackProducer.from_env(spool="/var/lib/backend/feedback")

An event that Redis does not take in time goes to disk, and the call returns; a thread of the producer's sends it when
Redis is back. See docs/ways-in.md for what that promises and costs.
"""

from producer.spool.sender import SpoolSender
from producer.spool.spool import Spool
from producer.spool.status import SpoolStatus, records_of, status_of

__all__ = ["Spool", "SpoolSender", "SpoolStatus", "records_of", "status_of"]
