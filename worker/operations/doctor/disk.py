"""The disks of this machine that a worker writes to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url

from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.runtime.heartbeat_file import heartbeat_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.settings import Settings

__all__ = ["look_at_disk"]

_MEBIBYTE: Final = 2**20
_SOON: Final = 1024 * _MEBIBYTE
_NOW: Final = 64 * _MEBIBYTE
"""Free bytes. A dead letter takes about a kilobyte, and 1 MiB if it is the largest message that can't be read."""


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """Check the disk of the dead letters, if they are in a file, and that of the heartbeat."""
    address = make_url(settings.feedback_database_url.get_secret_value())
    if address.get_backend_name() == "sqlite" and address.database and not address.database.startswith("file:"):
        yield _space(Path(address.database).absolute().parent)
    yield _heartbeat(settings.feedback_heartbeat_file or heartbeat_folder())


def _space(folder: Path) -> Finding:
    check = "disk"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return red(check, f"{folder} can't be looked at: {error.strerror}", fix="make the folder, or fix its rights")
    summary = f"{free / _MEBIBYTE:,.0f} MiB are free for the dead letters in {folder}"
    fix = "make room; `aquilax-feedback dead-letters prune` takes finished ones away"
    if free < _NOW:
        return red(check, summary, fix=fix)
    if free < _SOON:
        return yellow(check, summary, fix=fix)
    return green(check, summary)


def _heartbeat(file: Path) -> Finding:
    """The file is empty: it needs a place, and no room."""
    check = "heartbeat"
    if os.access(file if file.exists() else file.parent, os.W_OK):
        return green(check, f"{file} can be written")
    summary = f"{file} can't be written here, so `aquilax-feedback health` will call a worker of this user dead"
    return yellow(check, summary, fix="set FEEDBACK_HEARTBEAT_FILE to a file in a folder that the worker may write to")
