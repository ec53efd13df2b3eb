"""A file that is written whole or not at all: half an export must not look like one."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a file for text; it takes its place when the block ends, and only if nothing has failed.

    Raises:
        click.ClickException: It can't be written.
    """
    if path.exists() and not path.is_file():  # a device or a pipe: there is nothing to put in its place
        with _told(path), path.open("w", encoding="utf-8") as file:
            yield file
        return
    path = path.resolve()  # a link stays, and what it leads to is replaced
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with _told(path):
        try:
            with part.open("x", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror or error}") from None
