"""``aquilax-feedback worker``: Celery's worker, and of Celery's command line only what a worker needs.

``celery -A worker worker`` is the same worker. It loads every command of Celery first, an interactive shell among them,
and Flower's where that is installed: 11 MiB in each worker.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from celery.app.utils import find_app
from celery.bin.base import CeleryCommand, CLIContext
from celery.bin.worker import worker

if TYPE_CHECKING:
    import click

__all__ = ["start_worker"]

_CELERYS_START: Final = re.compile(r"(?:^| )(?:-D|--detach|(?:-P|--pool)[ =]?(?:gevent|eventlet))(?: |$)")
"""Options for which Celery must come first: a pool that patches Python before anything is imported, and a daemon."""

_HELP: Final = {"-h", "--help"}


class _WorkerCommand(CeleryCommand):
    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the options, for which Celery asks the app."""
        if _CELERYS_START.search(" ".join(args)):
            os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "worker", "worker", *args])  # noqa: S606 - no shell is meant
        if _HELP.isdisjoint(args):
            extra["obj"] = _celery_context()
        return super().make_context(info_name, args, parent, auto_envvar_prefix="CELERY_WORKER", **extra)


def _celery_context() -> CLIContext:
    return CLIContext(app=find_app("worker"), no_color="NO_COLOR" in os.environ, workdir=None)


start_worker: Final = _WorkerCommand(
    "worker",
    callback=worker.callback,
    params=worker.params,
    context_settings=worker.context_settings,
    help="Run a worker: `celery -A worker worker`, with all of its options, in less memory.",
)
