"""``aquilax-feedback gateway``: feedback over HTTP, and the keys of those who may send it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from worker.gateway.key_file import KeyFileError, add_key, read_keys, revoke_key
from worker.operations.cli.database import settings
from worker.operations.cli.output import say
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["gateway"]


@click.group(invoke_without_command=True)
@click.pass_context
def gateway(context: click.Context) -> None:
    """Take feedback over HTTP, and enqueue it.

    It answers once an event is durable in Redis, or in the spool. docs/gateway.md has its endpoints and its settings.
    """
    if context.invoked_subcommand is None:
        _serve()


def _serve() -> None:
    try:
        from worker.gateway.server import serve  # noqa: PLC0415 - the extra may not be installed, and keys need none of it
    except ModuleNotFoundError as error:
        need = f"the gateway needs {error.name}: pip install 'aquilax-feedback[gateway]'"
        raise click.ClickException(need) from None
    try:
        serve(settings())
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


@gateway.group()
def keys() -> None:
    """Add, list and revoke the keys of clients, in the file that FEEDBACK_GATEWAY_KEYS_FILE names.

    A running gateway follows the file within a second.
    """


@keys.command()
@click.argument("name")
def add(name: str) -> None:
    """Make a key for the client NAME, and print it: it is shown this once."""
    with _explained():
        say(add_key(_file(), name))


@keys.command("list")
def list_keys() -> None:
    """List the clients, and since when each has its key."""
    with _explained():
        for key in read_keys(_file()):
            say(f"{key.name}  {key.created_at.isoformat()}")


@keys.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Refuse the key of the client NAME from now on."""
    with _explained():
        revoke_key(_file(), name)
    say(f"revoked {name}: a running gateway refuses it within a second")


def _file() -> Path:
    path = settings().feedback_gateway_keys_file
    if path is None:
        raise click.UsageError("FEEDBACK_GATEWAY_KEYS_FILE is not set: set it to the path of the file of keys")
    return path


@contextmanager
def _explained() -> Iterator[None]:
    """End the command where the file, or the name, can't be used."""
    try:
        yield
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
