"""The heartbeat of one worker: a small file that it touches while it is well, and where it is.

Also read by ``aquilax-feedback health``, which container engines call every few seconds: this module imports next to
nothing, and reads what it needs of the settings by itself.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import stat
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

__all__ = ["Beat", "Heartbeat", "heartbeat_file", "heartbeat_files", "heartbeat_folder", "node_name", "read_beat"]

log = logging.getLogger(__name__)

_SUFFIX: Final = ".heartbeat"
_PRIVATE: Final = 0o700
_FRESH: Final = 60.0
"""Seconds after which a heartbeat of another worker is no sign that it still uses the file."""


class Beat(NamedTuple):
    """What a worker has written into its file.

    Attributes:
        node: The worker's node name.
        pid: Its process.
        started: When that process started, as the kernel counts; '' where it does not say.
        at: When it was well last, in seconds since 1970.
    """

    node: str
    pid: int
    started: str
    at: float

    @property
    def is_running(self) -> bool:
        """Whether the process is there, and is the same one."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is another user's
            pass
        return not self.started or _started(self.pid) in {self.started, ""}


class Heartbeat:
    """Touches the file of this process's worker."""

    def __init__(self, file: Path, node: str) -> None:
        self._file = file
        self._node = node
        self._failed = False
        self._pid = 0

    def beat(self, at: float) -> None:
        """Say that the worker was well ``at`` a time, in s since 1970. A failure is logged once, and ends nothing."""
        try:
            if self._pid != os.getpid():
                self._begin()
            os.utime(self._file, (at, at))
        except OSError as error:
            self._pid = 0  # it was taken away: write it again
            if not self._failed and not isinstance(error, FileNotFoundError):
                self._failed = True
                log.warning("the heartbeat %s can't be written: %s: `aquilax-feedback health` fails", self._file, error)
        else:
            self._failed = False

    def _begin(self) -> None:
        """Write who touches the file from now on."""
        _make_private(self._file.parent)
        self._look_for_another()
        content = {"node": self._node, "pid": os.getpid(), "started": _started(os.getpid())}
        written = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        written.write_text(json.dumps(content), encoding="utf-8")
        written.replace(self._file)
        self._pid = os.getpid()

    def _look_for_another(self) -> None:
        with suppress(OSError, ValueError):
            other = read_beat(self._file)
            if other.pid != os.getpid() and other.is_running and time.time() - other.at < _FRESH:
                log.warning(
                    "the heartbeat %s is also that of the worker %s (process %d), so `aquilax-feedback health` can't "
                    "tell the two apart: give each a FEEDBACK_HEARTBEAT_FILE or a name (-n) of its own",
                    self._file,
                    other.node,
                    other.pid,
                )


def read_beat(file: Path) -> Beat:
    """Return what a worker has written.

    Raises:
        OSError: The file can't be read.
        ValueError: No worker wrote it.
    """
    content: Any = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("pid"), int):
        raise ValueError("it is not the heartbeat of a worker")  # noqa: TRY004 - the value comes from a file: its content is invalid
    return Beat(str(content.get("node")), content["pid"], str(content.get("started")), file.stat().st_mtime)


def heartbeat_folder() -> Path:
    """The folder of all heartbeats of this user that were not given a place."""
    return Path(os.environ.get("TMPDIR") or "/tmp", f"aquilax-feedback-{os.getuid()}")  # noqa: S108 - the directory is made private: see `_make_private`


def heartbeat_file(*, broker_url: str, node: str) -> Path:
    """Return the file of a worker that was not given one.

    Args:
        broker_url: Where its queue is: workers of different queues may have the same name.
        node: Its node name.
    """
    return heartbeat_folder() / f"{_queue(broker_url)}-{quote(node, safe='@')}{_SUFFIX}"


def heartbeat_files(*, broker_url: str) -> list[Path]:
    """Return the files of all workers of a queue that this user has had on this machine."""
    return sorted(heartbeat_folder().glob(f"{_queue(broker_url)}-*{_SUFFIX}"))


def node_name(given: str) -> str:
    """Return the node name that Celery gives to a worker that is started with ``-n given``."""
    host = socket.gethostname()
    name, at, given_host = given.partition("@")
    if not at:
        name, given_host = "", given
    short, _, domain = host.partition(".")
    parts = {"h": host, "n": short, "d": domain, "%": "%"}
    whole = f"{name or 'celery'}@{given_host or host}"
    return re.sub("%(.)", lambda found: parts.get(found[1], found[0]), whole)


def _queue(broker_url: str) -> str:
    """A digest of where the queue is: of hosts and database, and of no login and no option."""
    places = broker_url.strip().partition("?")[0].split(";")
    where = ";".join(place.rpartition("@")[2].rpartition("://")[2] for place in places)
    return blake2b(where.encode(), digest_size=6).hexdigest()


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; '' if that is not known here."""
    try:
        text = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # the 22nd field; the second one is a name in brackets


def _make_private(folder: Path) -> None:
    """Make the folder if it is ours to make; in /tmp it must not be another user's.

    Raises:
        OSError: It can't be made, or belongs to another user.
    """
    if folder != heartbeat_folder():
        return
    folder.mkdir(mode=_PRIVATE, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
