"""The outbox on real databases: what commits arrives, the rest never does, and no backend waits for a relay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, MetaData, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackEvent, FeedbackProducer, outbox
from producer.testing import RecordingProducer
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.databases import DatabaseServer
    from tests.support.processes import RedisServer

METADATA: Final = MetaData()
ROWS: Final = outbox.table(METADATA)


def _event(number: int, **fields: Any) -> FeedbackEvent:
    known: dict[str, Any] = {"request_id": f"00000000-0000-4000-8000-{number:012d}", "status": True}
    return FeedbackEvent(**({"org": "o", "group": "g"} | known | fields))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A backend's database of each kind, with an outbox."""
    yield from _with_outbox(database_url)


@pytest.fixture(params=["postgres", "mariadb"])
def server_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A backend's database on each kind of server."""
    yield from _with_outbox(request.getfixturevalue(f"{request.param}_url"))


def _with_outbox(url: str) -> Iterator[Engine]:
    engine = create_engine(url, pool_pre_ping=True)
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


def _waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return outbox.status(connection).waiting


def test_what_commits_arrives_as_it_was(engine: Engine, valkey: RedisServer) -> None:
    """Any org, and a time to the microsecond, before and after the turn of a day."""
    moment = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    event = _event(1, status=False, org="Ünïcödé 👍 'o\"%s", occurred_at=moment)
    with Session(engine) as session:
        outbox.add(session, _event(2))
        session.rollback()
        outbox.add(session, event)
        session.commit()

    with FeedbackProducer(valkey.url, timeout=5) as producer:
        assert outbox.Relay(engine, producer).run_once() == 1

    with valkey.client() as client:
        (message,) = client.lrange("feedback", 0, -1)
        assert client.hgetall("feedback:counts") == {"accepted": "1"}
    recorded = RecordingProducer()
    recorded.enqueue_messages([message.encode()])
    assert recorded.recorded == [event]
    assert _waiting(engine) == 0


def test_several_relays_carry_each_row_once(server_engine: Engine) -> None:
    """They pass over what another one has locked."""
    events = [_event(number) for number in range(3000)]
    with Session(server_engine) as session, session.begin():
        for each in events:
            outbox.add(session, each)
    producer = RecordingProducer()
    relays = [outbox.Relay(server_engine, producer) for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda relay: relay.run_once(), relays))

    assert sum(counts) + _waiting(server_engine) == 3000
    relays[0].run_once()
    assert sorted(each.request_id for each in producer.recorded) == [each.request_id for each in events]


def test_a_lower_id_that_commits_late_is_not_passed_over(server_engine: Engine) -> None:
    """A long transaction has its id from its INSERT, and is seen after rows with higher ones."""
    producer = RecordingProducer()
    relay = outbox.Relay(server_engine, producer)
    with server_engine.connect() as long, server_engine.connect() as short:
        outbox.add(long, _event(1))
        outbox.add(short, _event(2))
        short.commit()
        assert relay.run_once() == 1
        long.commit()

    assert relay.run_once() == 1
    assert [each.request_id[-1] for each in producer.recorded] == ["2", "1"]


def test_a_backend_does_not_wait_while_a_group_is_sent(engine: Engine) -> None:
    """Its rows are locked then, and no gap beside them: others are added and committed meanwhile."""

    class Producer(RecordingProducer):
        def enqueue_messages(self, messages: Sequence[bytes], **options: Any) -> None:
            with engine.begin() as backend:
                _impatient(backend)
                outbox.add(backend, _event(2))
            super().enqueue_messages(messages, **options)

    with engine.begin() as connection:
        outbox.add(connection, _event(1))

    assert outbox.Relay(engine, Producer()).run_once() == 1
    assert _waiting(engine) == 1


def _impatient(connection: Connection) -> None:
    wait = {
        "sqlite": "PRAGMA busy_timeout = 1000",
        "postgresql": "SET LOCAL lock_timeout = '1s'",
        "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
        "mariadb": "SET SESSION innodb_lock_wait_timeout = 1",
    }
    connection.exec_driver_sql(wait[connection.dialect.name])


def test_a_relay_outlives_its_connection(server_engine: Engine) -> None:
    """The server ends it, as when it restarts."""
    producer = RecordingProducer()
    with outbox.Relay(server_engine, producer, interval=0.01) as relay:
        for number in (1, 2):
            with Session(server_engine) as session, session.begin():
                outbox.add(session, _event(number))
            eventually(lambda number=number: relay.relayed == number, what="it is carried")  # type: ignore[misc]  # mypy can't infer a lambda with defaults
            _end_other_connections(server_engine)

    assert len(producer.recorded) == 2


def _end_other_connections(engine: Engine) -> None:
    others = {
        "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "mariadb": "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    }
    end = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
    with engine.connect() as connection:
        for number in connection.scalars(text(others[connection.dialect.name])).all():
            connection.execute(text(end[connection.dialect.name].format(number)))


async def test_a_session_of_asyncio_adds_as_any_other(postgres_url: str) -> None:
    """Without a word of await: the row is written with the flush of its commit."""
    engine = create_async_engine(postgres_url)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
        await connection.execute(outbox.insert(_event(1)))
    async with AsyncSession(engine) as session:
        event = outbox.add(session, _event(2).request_id, True, org="o", group="g")
        await session.commit()
        outbox.add(session, _event(3))
        await session.rollback()
        found = list(await session.scalars(select(ROWS.c.request_id).order_by(ROWS.c.id)))
    await engine.dispose()

    assert found == [_event(1).request_id, event.request_id]


class _Killed(BaseException):
    """The relay is not there any more."""


class _Mortal(RecordingProducer):
    """Redis and the process at its moods: each group of a relay may end in any way."""

    mood = "well"

    def enqueue_messages(self, messages: Sequence[bytes], **options: Any) -> None:
        if self.mood == "killed before":
            raise _Killed
        if self.mood == "unavailable":
            raise BrokerUnavailable("told to")
        super().enqueue_messages(messages, **options)
        if self.mood == "uncertain":
            raise EnqueueUncertain("told to")
        if self.mood == "killed after":
            raise _Killed


@pytest.fixture(scope="module")
def one_postgres(_postgres: DatabaseServer) -> Iterator[Engine]:
    """One database for all the random histories."""
    with _postgres.fresh() as url:
        yield from _with_outbox(url)


_MOODS: Final = ("well", "unavailable", "uncertain", "killed before", "killed after")
_BACKENDS: Final = 3
_STEPS: Final = st.one_of(
    st.tuples(st.sampled_from(["add", "commit", "rollback"]), st.integers(0, _BACKENDS - 1)),
    st.tuples(st.just("relay"), st.sampled_from(_MOODS)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_STEPS, min_size=5, max_size=40))
def test_whatever_commits_arrives_and_nothing_else(one_postgres: Engine, steps: list[tuple[str, Any]]) -> None:
    """Random histories of three backends and a relay that is killed, or meets a Redis that fails, at any group."""
    producer, number = _Mortal(), 0
    open_: list[list[FeedbackEvent]] = [[] for _ in range(_BACKENDS)]
    committed: list[FeedbackEvent] = []
    sessions = [Session(one_postgres) for _ in range(_BACKENDS)]
    for what, which in [*steps, ("relay", "well")]:
        if what == "add":
            number += 1
            open_[which].append(outbox.add(sessions[which], _event(number)))
            sessions[which].flush()
        elif what == "relay":
            producer.mood = which
            try:
                outbox.Relay(one_postgres, producer).run_once()
            except (BrokerUnavailable, EnqueueUncertain, _Killed):
                continue
            assert {each.request_id for each in committed} <= {each.request_id for each in producer.recorded}
        else:
            committed += open_[which] if what == "commit" else []
            open_[which] = []
            getattr(sessions[which], what)()
    for session in sessions:
        session.close()

    assert {each.request_id for each in producer.recorded} == {each.request_id for each in committed}
    assert _waiting(one_postgres) == 0
