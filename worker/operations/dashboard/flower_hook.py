"""How Flower's own command comes to install the dashboard. Imports nothing of Flower: a worker has none."""

from __future__ import annotations

import os
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from producer.environment import FILE, secret
from worker.policy.environment import drop_flowers_port

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import click

__all__ = ["hook", "read_login"]

_HOOKED: Final = "feedback_dashboard"
_LOGIN: Final = "FLOWER_BASIC_AUTH"


def hook(command: click.Command | None = None) -> None:
    """Let Flower's own command install the dashboard before it starts. Nothing happens where Flower is not installed.

    Celery loads the command with all others, from Flower's entry point. An entry point of ours with the same name would
    win or lose by the order of the files on the disk, and in the commands of every other Celery app beside ours. So it
    is this one command's callback that is wrapped, once this app is loaded.

    Args:
        command: The command; Flower's, if Celery has loaded it, if None.
    """
    command = command or getattr(sys.modules.get("flower.command"), "flower", None)
    if command is None or command.callback is None or getattr(command.callback, _HOOKED, False):
        return
    flower = command.callback

    @wraps(flower)
    def with_dashboard(*arguments: Any, **options: Any) -> object:
        from worker.operations.dashboard.install import install  # noqa: PLC0415 - Tornado, which it imports, is optional

        install()
        drop_flowers_port(os.environ)
        read_login(os.environ)
        return flower(*arguments, **options)

    setattr(with_dashboard, _HOOKED, True)
    command.callback = with_dashboard


def read_login(environ: MutableMapping[str, str]) -> None:
    """Set FLOWER_BASIC_AUTH to what stands in the file that FLOWER_BASIC_AUTH_FILE names, if that is set.

    Flower takes every variable that begins with its name for an option, and fails on one that is none.

    Raises:
        click.UsageError: Both are set, or the file can't be read.
    """
    if _LOGIN + FILE not in environ:
        return
    from click import UsageError  # noqa: PLC0415 - a worker that loads this app for itself needs no command line

    try:
        login = secret(environ, _LOGIN)
    except ValueError as error:
        raise UsageError(str(error)) from None
    del environ[_LOGIN + FILE]
    if login:
        environ[_LOGIN] = login
