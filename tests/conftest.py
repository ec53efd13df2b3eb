"""Fixtures that many tests share: real servers, one of each for the whole run, empty for each test."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.completeness import pytest_configure  # noqa: F401 - pytest finds it here
from tests.support.databases import DatabaseServer, empty_tables, mariadb_server, postgres_server
from tests.support.processes import VALKEY, RedisServer, need, redis_server
from tests.support.sandbox import RunningSandbox, running_sandbox
from tests.support.scripts import watching_keys
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.broker.lease import Lease


@pytest.fixture(scope="session")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(VALKEY, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def _debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(need("redis-server"), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def valkey(_valkey: RedisServer) -> RedisServer:
    """A real Valkey, empty."""
    empty(_valkey)
    return _valkey


@pytest.fixture(params=["valkey", "redis"])
def broker(request: pytest.FixtureRequest) -> RedisServer:
    """A real Valkey, then a real Redis, empty."""
    server: RedisServer = request.getfixturevalue("_valkey" if request.param == "valkey" else "_debian_redis")
    empty(server)
    return server


@pytest.fixture
def keys_are_declared(request: pytest.FixtureRequest) -> Iterator[None]:
    """While the test runs, every key that a script touches in its server was declared by the script's caller."""
    server = next((name for name in ("broker", "valkey") if name in request.fixturenames), None)
    client = request.getfixturevalue("client") if not server and "client" in request.fixturenames else None
    if server:
        port = request.getfixturevalue(server).port
    elif type(client) is redis.Redis:
        port = client.connection_pool.connection_kwargs["port"]
    else:  # a fake one, which has no MONITOR
        yield
        return
    with watching_keys(port):
        yield


@pytest.fixture
def broker_client(broker: RedisServer) -> Iterator[redis.Redis]:
    """A connection for looking into `broker`."""
    with broker.client() as client:
        yield client


def empty(server: RedisServer) -> None:
    """Empty a server. A holder that an earlier test left with messages would show up as a worker of this one."""
    for thread in threading.enumerate():
        if thread.name.startswith("lease "):
            holder: Lease = thread._target.__self__  # type: ignore[attr-defined]
            holder.forget()
    with server.client() as client:
        client.flushall()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[DatabaseServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def _mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    with mariadb_server(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/dead-letters.sqlite3"


@pytest.fixture
def postgres_url(_postgres: DatabaseServer) -> Iterator[str]:
    """The URL of an empty database of a real PostgreSQL."""
    with _postgres.fresh() as url:
        yield url


@pytest.fixture
def mariadb_url(_mariadb: DatabaseServer) -> Iterator[str]:
    """The URL of an empty database of a real MariaDB."""
    with _mariadb.fresh() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: SQLite, then PostgreSQL, then MariaDB."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def _postgres_tables(_postgres: DatabaseServer) -> Iterator[str]:
    with _postgres.fresh() as url:
        upgrade(url)
        yield url


@pytest.fixture(scope="session")
def _mariadb_tables(_mariadb: DatabaseServer) -> Iterator[str]:
    with _mariadb.fresh() as url:
        upgrade(url)
        yield url


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def tables_url(request: pytest.FixtureRequest) -> str:
    """The URL of an up-to-date database of each kind, without a row; a server's is emptied, and not made again."""
    kind: str = request.param
    url: str = request.getfixturevalue("sqlite_url" if kind == "sqlite" else f"_{kind}_tables")
    if kind == "sqlite":
        upgrade(url)
    else:
        empty_tables(url)
    return url


@pytest.fixture
def store(tables_url: str) -> Iterator[DeadLetterStore]:
    """The dead-letter table in an up-to-date database of each kind."""
    with closing(DeadLetterStore.connect(tables_url)) as store:
        yield store


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[DeadLetterStore]:
    """The dead-letter table in SQLite, for what no database decides."""
    upgrade(sqlite_url)
    with closing(DeadLetterStore.connect(sqlite_url)) as store:
        yield store


@pytest.fixture
def no_system_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the machine's own authorities: redis-py loads all of them for each connection, for 28 ms of CPU."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    """A local AquilaX that behaves well, until the test tells it otherwise."""
    with running_sandbox(tmp_path) as local:
        yield local
