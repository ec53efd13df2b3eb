"""The form of a line in the log: for people, or JSON for machines; without secrets in either."""

from __future__ import annotations

import json
import logging
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from worker.observability.outcome_log import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.observability.redaction import Redactor
    from worker.setting_types import LogFormat

__all__ = ["formatter"]

_COLOURS: Final = {"DEBUG": "\x1b[34m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[35m"}
_PLAIN: Final = "\x1b[0m"


def formatter(
    form: LogFormat, redactor: Redactor, *, colour: bool = False, fields: Sequence[str] = FIELDS
) -> logging.Formatter:
    """Return a formatter for a handler of the standard library.

    Args:
        form: The format.
        redactor: What takes secrets out.
        colour: Whether the console's lines have colours.
        fields: What a line may say beside its message, in this order.
    """
    return _Formatter(redactor, _as_json if form == "json" else _Console(colour=colour), fields)


class _Formatter(logging.Formatter):
    """Takes the secrets out of what is known of a record, before it is written.

    Args:
        redactor: What takes secrets out.
        written: What makes a line of what is known.
        fields: What may be known.
    """

    def __init__(
        self,
        redactor: Redactor,
        written: Callable[[logging.LogRecord, dict[str, object]], str],
        fields: Sequence[str],
    ) -> None:
        super().__init__()
        self._fields = fields
        self._redactor = redactor
        self._written = written

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, with a traceback and a stack below it if it has them."""
        known = vars(record)
        line: dict[str, object] = {"event": record.getMessage()}
        for name in self._fields:
            if name in known:
                line[name] = known[name]
        if record.exc_info or record.exc_text:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]  # it is not None here
        if record.stack_info:
            line["stack_info"] = self.formatStack(record.stack_info)
        return self._written(record, self._redactor(line))


def _as_json(record: logging.LogRecord, line: dict[str, object]) -> str:
    """One object a line; what is always there comes first."""
    always = {
        "timestamp": f"{_second_utc(int(record.created))}.{_milliseconds(record)}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "process": record.processName,
    }
    return json.dumps(always | line, default=str)


class _Console:
    """Celery's own form, and what is known besides as ``name=value``.

    Args:
        colour: Whether lines that are no plain information have a colour.
    """

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, record: logging.LogRecord, line: dict[str, object]) -> str:
        moment = f"{_second(int(record.created))},{_milliseconds(record)}"
        below = [str(line.pop(name)) for name in ("exception", "stack_info") if name in line]
        text = str(line.pop("event"))
        for name, value in line.items():
            text += f" {name}={value if type(value) in _NUMBERS else _shown(value)}"
        text = "\n".join([text, *below])
        if self._colour and (colour := _COLOURS.get(record.levelname)):
            text = f"{colour}{text}{_PLAIN}"
        return f"[{moment}: {record.levelname}/{record.processName}] {text}"


@lru_cache(maxsize=8)
def _second(created: int) -> str:
    """A second as people here count it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(created))


@lru_cache(maxsize=8)
def _second_utc(created: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))


def _milliseconds(record: logging.LogRecord) -> str:
    return f"{int(record.msecs):03d}"


def _shown(value: object) -> str:
    """A value that can't be taken for two, or for another line: anything but plain characters is quoted."""
    text = str(value)
    if _UNQUOTED.fullmatch(text) or (text and text.isprintable() and not _AMBIGUOUS.search(text)):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


_NUMBERS: Final = frozenset({int, float})
_UNQUOTED: Final = re.compile(r"[\w.:+-]+", re.ASCII)
_AMBIGUOUS: Final = re.compile(r"[ \"'=\\]")
