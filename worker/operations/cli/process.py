"""For a command that runs until it is told to stop."""

from __future__ import annotations

import logging
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from worker.observability.log_lines import formatter
from worker.observability.redaction import Redactor, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.settings import Settings

__all__ = ["log_as_a_worker", "stop_signals", "until_stopped"]

_ENDS: Final = {signal.SIGTERM, signal.SIGINT}


def log_as_a_worker(settings: Settings) -> None:
    """Write the log to standard error as a worker does: its format, and without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings.feedback_log_format, Redactor(secrets_of(settings))))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@contextmanager
def stop_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C wait for `until_stopped`: no thread that is begun in the block is interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def until_stopped() -> None:
    """Wait for SIGTERM or Ctrl-C."""
    signal.sigwait(_ENDS)
