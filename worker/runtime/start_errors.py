"""How a worker refuses to start: one sentence, which says what to do, and no traceback."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from celery.exceptions import WorkerShutdown

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

__all__ = ["exit_with_error", "start_error"]

log = logging.getLogger(__name__)


def start_error(problem: object) -> str:
    """Return what a worker says that does not start."""
    return f"aquilax-feedback: the worker does not start: {problem}"


def exit_with_error(consumer: Consumer, problem: str) -> None:
    """End a worker that starts; one that had begun before goes on, and tells."""
    if consumer.restart_count > 1:
        log.critical("%s", problem)
    else:
        sys.stderr.write(f"{start_error(problem)}\n")
        raise WorkerShutdown(1)
