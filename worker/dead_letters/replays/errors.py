"""What can go wrong with a replay plan: the operator asked for something that can't be.

ReplayError
├── NoSuchReplay      there is no plan of this number
├── NotPossible       the plan's state does not allow it
└── NothingToReplay   no row fits: no plan was made

A database that is unavailable is `worker.database.errors.DeadLetterStoreUnavailable`, as everywhere.
"""

from __future__ import annotations

__all__ = ["NoSuchReplay", "NotPossible", "NothingToReplay", "ReplayError"]


class ReplayError(Exception):
    """The message is for the operator."""


class NoSuchReplay(ReplayError):
    """There is no plan of this number."""


class NotPossible(ReplayError):
    """The plan's state does not allow it."""


class NothingToReplay(ReplayError):
    """No row fits: no plan was made."""
