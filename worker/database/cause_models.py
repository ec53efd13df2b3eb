"""The table of causes: what operators decided about each, and since when it is known.

A cause outlives its dead letters. When it was first seen stays known after they are discarded and pruned.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from worker.database.models import MAX_ACTOR_LENGTH, UTF8MB4, Base, UtcDateTime, enum_column
from worker.policy.fingerprint import MAX_SUMMARY_LENGTH

__all__ = ["MAX_URL_LENGTH", "Cause", "CauseState"]

MAX_URL_LENGTH: Final = 500
"""Characters of a runbook's address."""


class CauseState(StrEnum):
    """What operators have decided about a cause."""

    OPEN = "open"
    """Nothing yet; or it came back since."""
    ACKNOWLEDGED = "acknowledged"
    """It is known, and an operator sees to it."""
    RESOLVED = "resolved"
    """It is fixed. If anything dies of it after that, it is open again."""


class Cause(Base):
    """One cause of dead letters."""

    __tablename__ = "dead_letter_causes"

    fingerprint: Mapped[str] = mapped_column(String(12), primary_key=True)
    summary: Mapped[str] = mapped_column(String(MAX_SUMMARY_LENGTH))
    first_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When something died of it last, to about a minute: see `worker.dead_letters.cause_sightings`."""
    returned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it came back last, after it was resolved or quiet."""
    state: Mapped[CauseState] = mapped_column(enum_column(CauseState))
    changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When an operator changed its state last."""
    owner: Mapped[str] = mapped_column(String(MAX_ACTOR_LENGTH))
    """The operator who sees to it; '' if none does."""
    muted_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    runbook_url: Mapped[str] = mapped_column(String(MAX_URL_LENGTH))
    """The operators' own page about it; '' if there is none."""

    __table_args__ = (Index("ix_dead_letter_causes_last_seen_at", "last_seen_at"), UTF8MB4)
