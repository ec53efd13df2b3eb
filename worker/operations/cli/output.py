"""What a command writes: in any encoding, into a pipe that is closed early, onto a full disk, and into a whole file."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import secrets
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TextIO

import click

from worker.operations.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CLOSED_PIPE", "INTERRUPTED", "json_text", "prepare_output", "say", "shown", "whole_file", "writing"]

CLOSED_PIPE: Final = 128 + 13
"""The exit status of a command whose reader has gone, as a shell has it for SIGPIPE: 1 says that a check failed."""

INTERRUPTED: Final = 128 + 2
"""The exit status of a command that Ctrl-C ended, as shells have it."""

_HANDLER: Final = "feedback-terminal"

_PLAIN: Final = {"→": ">", "…": "~", "·": "-"}
"""One character for each, so that columns stay in line."""


def prepare_output() -> None:
    """Let no character end a command: what the terminal's encoding lacks is written as another one."""
    codecs.register_error(_HANDLER, _in_plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_HANDLER)


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in text), error.end


def say(text: str = "", *, err: bool = False, color: bool | None = None) -> None:
    """Print a line: in none does a character hide, or turn the terminal's text round.

    Args:
        text: The line. Its control characters are those of colours: what is foreign in it is `shown` already.
        err: Whether it goes to standard error.
        color: Whether colours are kept; as the output is a terminal, if None.
    """
    click.echo(visible(text), err=err, color=color)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON that any encoding carries whole, and in which nothing turns the terminal's text round."""
    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return visible(json.dumps(value, indent=indent, ensure_ascii=not unicode))


def shown(text: str) -> str:
    """Return text of others as a part of one line: it begins no line of its own, and hides nothing in it."""
    from worker.policy.dead_letter import clean  # noqa: PLC0415 - it imports SQLAlchemy, too slow for `health`

    return visible(" ".join(clean(text).split()))


@contextmanager
def writing() -> Iterator[None]:
    """End the command in order where its output can't be written."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            _drop_the_rest()
            sys.exit(CLOSED_PIPE)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            _drop_the_rest()
            raise click.ClickException(f"the output can't be written: {error.strerror}") from None
        raise


def _drop_the_rest() -> None:
    """Or Python tries to write it once more as it ends, and complains."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a file for text; it takes its place when the block ends, and only if nothing has failed."""
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
