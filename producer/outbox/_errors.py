"""What can go wrong with the outbox, in words without a statement or its values."""

from __future__ import annotations

from sqlalchemy import exc

from producer.errors import ProducerError

__all__ = ["OutboxTableError", "reason_of"]


class OutboxTableError(Exception):
    """The table is missing, or lacks a column; the message says how to make it."""


def reason_of(error: Exception) -> str:
    """Return why nothing was relayed, in one line; of a database error the driver's own message."""
    match error:
        case ProducerError():
            return f"Redis: {error}"
        case exc.SQLAlchemyError():
            cause = getattr(error, "orig", None) or error
            return f"the database: {type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
        case _:
            return f"{type(error).__name__}: {error}"
