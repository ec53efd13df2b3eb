"""The tokens of programs that call the dashboard's API: a row for each that was made, also once it is revoked."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from worker.database.models import MAX_ACTOR_LENGTH, UTF8MB4, Base, UtcDateTime, enum_column
from worker.policy.roles import Role

__all__ = ["MAX_TOKEN_NAME", "ApiToken"]

MAX_TOKEN_NAME: Final = 48
"""Characters of a token's name: with ``token`` before it, it is the target of an action in the audit log."""


class ApiToken(Base):
    """One token; the token itself is nowhere."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_TOKEN_NAME), unique=True)
    """For good: the audit log has what was done with it under this name."""
    prefix: Mapped[str] = mapped_column(String(16))
    """How it begins, for people to recognise it by."""
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[Role] = mapped_column(enum_column(Role))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(MAX_ACTOR_LENGTH))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """To the minute: it is not written more often."""
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = ({"sqlite_autoincrement": True, **UTF8MB4},)
