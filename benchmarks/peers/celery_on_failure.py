"""Plain Celery that writes what failed into a table. ``python -m benchmarks.peers.celery_on_failure`` creates it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any, Final

from celery import Task
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, Text, create_engine, insert

from benchmarks.peers import celery
from benchmarks.peers.asking import ask

__all__ = ["TABLE", "app"]

TABLE: Final = "bench_failures"
_failures: Final = Table(
    TABLE,
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("task_id", String(36)),
    Column("arguments", Text),
    Column("error", Text),
    Column("failed_at", DateTime(timezone=True)),
)
_url: Final = os.environ["FEEDBACK_DATABASE_URL"]
# An SQLite that another thread writes to is waited for, as ours is.
_engine: Final = create_engine(_url, connect_args={"timeout": 60} if _url.startswith("sqlite") else {})


class _Recording(Task):
    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:  # noqa: ANN401 - the signature is Celery's
        del args, einfo
        row = {"task_id": task_id, "arguments": json.dumps(kwargs), "error": str(exc), "failed_at": datetime.now(UTC)}
        with _engine.begin() as connection:
            connection.execute(insert(_failures), row)


app = celery.app
del app.tasks["deliver"]
app.task(name="deliver", base=_Recording)(ask)

if __name__ == "__main__":
    _failures.metadata.create_all(_engine)
