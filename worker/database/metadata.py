"""Every table, as the code knows it: Alembic compares the database with it. The check of the version needs none."""

from __future__ import annotations

from typing import Final

from worker.database import (  # noqa: F401 - they add tables to `Base`
    api_tokens,
    audit_log,
    cause_models,
    redis_generations,
    replay_models,
)
from worker.database.models import Base

__all__ = ["METADATA"]

METADATA: Final = Base.metadata
