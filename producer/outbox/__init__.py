"""The outbox: feedback that is enqueued if, and only if, the backend's own transaction commits.

    from producer import outbox

    outbox.table(Base.metadata)  # once, so that Alembic or `create_all` makes the table

    with Session(engine) as session, session.begin():
        session.add(answer)
        outbox.add(session, answer.request_id, True, org="65dd…", group="67e8…")

A relay carries the committed rows to Redis: ``aquilax-feedback relay``, or a thread of the backend's own:

    with outbox.Relay(engine, FeedbackProducer.from_env()):
        ...

It needs SQLAlchemy 2 beside redis-py: ``pip install 'aquilax-feedback[outbox]'``.
"""

from importlib.util import find_spec

if find_spec("sqlalchemy") is None:
    raise ModuleNotFoundError(
        "producer.outbox needs SQLAlchemy: pip install 'aquilax-feedback[outbox]'", name="sqlalchemy"
    )

from producer.outbox._add import add, insert
from producer.outbox._errors import OutboxTableError, reason_of
from producer.outbox._relay import Relay
from producer.outbox._status import OutboxStatus, create_table, require_table, status
from producer.outbox._table import TABLE, table

__all__ = [
    "TABLE",
    "OutboxStatus",
    "OutboxTableError",
    "Relay",
    "add",
    "create_table",
    "insert",
    "reason_of",
    "require_table",
    "status",
    "table",
]
