"""Writing into the outbox: in the backend's transaction, validated at the door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine, MetaData, create_engine, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from producer import FeedbackEvent, InvalidEvent, outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
EVENT = FeedbackEvent(request_id=ID, status=False, org="o", group="g")
METADATA = MetaData()
ROWS = outbox.table(METADATA)


@pytest.fixture
def engine(tmp_path: Any) -> Iterator[Engine]:
    """A database with an outbox."""
    engine = create_engine(f"sqlite:///{tmp_path}/backend.sqlite3")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


def _rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(ROWS)))


def test_fields_are_added_as_an_event_is(engine: Engine) -> None:
    """The row has the fields as the message spells them; a time with another offset is the same moment."""
    east = datetime.now(timezone(timedelta(hours=9)))
    with Session(engine) as session, session.begin():
        event = outbox.add(session, ID.upper(), "true", org="o", group="g", occurred_at=east)

    (row,) = _rows(engine)
    assert event == FeedbackEvent(request_id=ID, status=True, org="o", group="g", occurred_at=east)
    assert {name: getattr(row, "org_group" if name == "group" else name) for name in event.to_wire()} == event.to_wire()
    assert datetime.now(UTC) - datetime.fromisoformat(row.created_at) < timedelta(minutes=1)


def test_an_invalid_event_is_refused_at_the_door(engine: Engine) -> None:
    """Nothing is written, and the transaction can go on."""
    with Session(engine) as session, session.begin():
        with pytest.raises(InvalidEvent, match="org is missing"):
            outbox.add(session, ID, True, org=None, group="g")  # type: ignore[call-overload]  # the test's point
        outbox.add(session, EVENT)

    assert [row.request_id for row in _rows(engine)] == [ID]


def test_what_is_rolled_back_was_never_there(engine: Engine) -> None:
    """A whole transaction, and a savepoint of one."""
    with Session(engine) as session:
        outbox.add(session, EVENT)
        session.rollback()
        outbox.add(session, EVENT)
        with session.begin_nested() as savepoint:
            outbox.add(session, ID.replace("7", "8"), True, org="o", group="g")
            savepoint.rollback()
        session.commit()

    assert [row.request_id for row in _rows(engine)] == [ID]


def test_every_kind_of_session_and_connection_is_taken(engine: Engine) -> None:
    """Also a registry's, and a bare connection, on which the row is written at once."""
    registry = scoped_session(sessionmaker(engine))
    outbox.add(registry, EVENT)
    registry.commit()
    registry.remove()
    with engine.begin() as connection:
        outbox.add(connection, EVENT)
        connection.execute(outbox.insert(EVENT))

    assert len(_rows(engine)) == 3


def test_what_is_no_session_is_refused_with_the_way_out() -> None:
    """An AsyncConnection would have to be awaited, and a forgotten await would lose the event."""
    connection = AsyncConnection(create_async_engine("postgresql+psycopg://"))

    with pytest.raises(TypeError, match=r"of type AsyncConnection.*await connection.execute\(outbox.insert\(event\)\)"):
        outbox.add(connection, EVENT)  # type: ignore[call-overload]  # the test's point


def test_a_row_leads_back_to_the_span_in_which_it_was_written(engine: Engine) -> None:
    """The relay sends it later, outside of every span."""
    with TracerProvider().get_tracer("backend").start_as_current_span("press") as span, engine.begin() as connection:
        outbox.add(connection, EVENT)

    assert _rows(engine)[0].traceparent.split("-")[1:3] == [
        f"{span.get_span_context().trace_id:032x}",
        f"{span.get_span_context().span_id:016x}",
    ]


def test_the_table_is_added_once_and_without_a_schema() -> None:
    """A backend's metadata may have a schema of its own, and several modules may ask for the table."""
    metadata = MetaData(schema="chat")

    assert outbox.table(metadata) is outbox.table(metadata)
    assert outbox.table(metadata).schema is None


def test_a_table_that_is_missing_or_too_old_is_named_with_the_fix(tmp_path: Any) -> None:
    """It is looked for when a relay starts."""
    engine = create_engine(f"sqlite:///{tmp_path}/other.sqlite3")
    with engine.begin() as connection:
        with pytest.raises(
            outbox.OutboxTableError, match="no table feedback_outbox: run `aquilax-feedback relay --cre"
        ):
            outbox.require_table(connection)
        METADATA.create_all(connection)
        outbox.require_table(connection)
        connection.execute(text("ALTER TABLE feedback_outbox DROP COLUMN problem"))
        with pytest.raises(outbox.OutboxTableError, match="no column problem"):
            outbox.require_table(connection)
    engine.dispose()


def test_the_columns_are_these(engine: Engine) -> None:
    """Other programs write them by hand: docs/guides/outbox.md has the table."""
    assert [column["name"] for column in inspect(engine).get_columns(outbox.TABLE)] == [
        *("id", "request_id", "status", "org", "org_group", "occurred_at", "created_at"),
        *("traceparent", "tracestate", "problem"),
    ]
