"""The log of a worker, all of it in one format: lines for people, or JSON for machines.

Celery goes on to decide where it is written and from which level on (``--logfile``, ``--loglevel``); only the formatter
of its handlers is replaced, so Celery's own lines and those of other libraries look the same as ours.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from celery.signals import after_setup_logger, after_setup_task_logger
from celery.utils.log import get_multiprocessing_logger

from worker.observability.line_gathering import gather_lines
from worker.observability.log_lines import formatter

if TYPE_CHECKING:
    from worker.observability.redaction import Redactor
    from worker.settings import LogFormat

__all__ = ["Logs"]

_OF_EACH_TASK: Final = ("celery.worker.strategy", "celery.app.trace")
"""Who says "Task … received" and "Task … succeeded", where our own line says it once and with more in it."""


class Logs:
    """Gives Celery's handlers the format, whenever Celery sets its logging up.

    Args:
        form: The format.
        redactor: What takes secrets out.
    """

    def __init__(self, form: LogFormat, redactor: Redactor) -> None:
        self._form: LogFormat = form
        self._redactor = redactor

    def connect(self) -> None:
        """Listen to Celery, for as long as this object lives."""
        after_setup_logger.connect(self._root_is_set_up)
        after_setup_task_logger.connect(self._is_set_up)

    def _root_is_set_up(self, *, logger: logging.Logger, loglevel: int, colorize: bool, **_: object) -> None:
        self._is_set_up(logger=logger, colorize=colorize)
        self._is_set_up(logger=get_multiprocessing_logger(), colorize=colorize)
        # By the logger's level, and not by a filter: Celery then does not even put the line together.
        level = logging.NOTSET if loglevel <= logging.DEBUG else logging.WARNING
        for name in _OF_EACH_TASK:
            logging.getLogger(name).setLevel(level)

    def _is_set_up(self, *, logger: logging.Logger, colorize: bool, **_: object) -> None:
        for handler in logger.handlers:
            handler.setFormatter(formatter(self._form, self._redactor, colour=colorize))
            gather_lines(handler)
