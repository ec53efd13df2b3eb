"""Why a message waits for its time in Redis, in one value that travels with it, for operators."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["WaitReason"]


class WaitReason(StrEnum):
    """A reason to be scheduled. It decides nothing."""

    RETRY = "retry"
    """AquilaX could not take it."""
    REDIS = "redis"
    """Redis failed under it."""
    DATABASE = "database"
    """The dead-letter database failed under it."""
    BUSY = "busy"
    """Another message of its request_id is being sent."""
    FAULT = "fault"
    """A fault of ours."""
