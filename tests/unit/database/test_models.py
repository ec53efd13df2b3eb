from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import make_url
from sqlalchemy.schema import CreateTable

from worker.database.models import Base, UtcDateTime


def _ddl(url: str) -> str:
    """What would create the table: compiled, and not carried out."""
    return str(CreateTable(Base.metadata.tables["dead_letters"]).compile(dialect=make_url(url).get_dialect()()))


@pytest.mark.parametrize("url", ["mysql+pymysql://", "mariadb+pymysql://"])
def test_on_mysql_times_have_microseconds_text_has_emoji_and_names_have_case(url: str) -> None:
    """None of the three is MySQL's default."""
    ddl = _ddl(url)

    assert "failed_at DATETIME(6) NOT NULL" in ddl
    assert "utf8mb4_bin" in ddl
    assert "raw LONGBLOB" in ddl


def test_on_postgresql_times_know_that_they_are_utc() -> None:
    """A session in another zone reads them right."""
    assert "failed_at TIMESTAMP WITH TIME ZONE NOT NULL" in _ddl("postgresql+psycopg://")


def test_on_sqlite_an_id_is_not_given_twice() -> None:
    """The id of a deleted row may still travel with an event that is being replayed."""
    assert "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" in _ddl("sqlite://")


def test_a_time_without_an_offset_is_refused() -> None:
    """It could not be told later which noon was meant."""
    with pytest.raises(ValueError, match="without an offset"):
        _stored("sqlite://", datetime(2026, 3, 1, 12))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("url", ["sqlite://", "postgresql+psycopg://", "mysql+pymysql://"])
def test_a_time_of_any_offset_is_stored_as_utc(url: str) -> None:
    """Naive where the database knows no offsets, aware where it does; the same instant in both."""
    stored = _stored(url, datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))))

    assert stored.replace(tzinfo=UTC) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def _stored(url: str, moment: datetime) -> datetime:
    stored = UtcDateTime().process_bind_param(moment, make_url(url).get_dialect()())
    assert stored is not None
    return stored
