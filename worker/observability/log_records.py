"""Records of `logging` for lines that are written a thousand times a second."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import lru_cache

__all__ = ["quick_record"]


def quick_record(logger: str, level: int, summary: str, *, file: str, function: str) -> logging.LogRecord:
    """Return a record. One of `logging`'s own is a copy, with its own time.

    Making one takes longer: it asks which process, thread and task it is made in. `Logger.log` looks for its caller and
    asks of each field whether it is one of its own.

    Args:
        logger: The logger's name.
        level: The level.
        summary: The text.
        file: The file that logs.
        function: The function that does.
    """
    factory = logging.getLogRecordFactory()
    if factory is not logging.LogRecord:
        return factory(logger, level, file, 0, "%s", (summary,), None, function)
    model = _model(logger, level, file, function, threading.get_ident(), os.getpid())
    record, moment = logging.LogRecord.__new__(logging.LogRecord), time.time()
    elapsed = 1000 * (moment - model.created)
    vars(record).update(
        vars(model),
        args=(summary,),
        created=moment,
        msecs=float(int(moment % 1 * 1000)),
        relativeCreated=model.relativeCreated + elapsed,
    )
    return record


@lru_cache(maxsize=64)
def _model(logger: str, level: int, file: str, function: str, _thread: int, _process: int) -> logging.LogRecord:
    return logging.LogRecord(logger, level, file, 0, "%s", ("",), None, function)
