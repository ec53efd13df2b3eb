"""A dead letter in plain values, under the names that the API and the command line use."""

from __future__ import annotations

import csv
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, TextIO

from worker.operations.attempts import attempts_of
from worker.operations.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from worker.database.models import DeadLetter

__all__ = ["FIELDS", "to_record", "write_csv", "write_ndjson"]

FIELDS: Final = (
    "id",
    "request_id",
    "status",
    "org",
    "group",
    "occurred_at",
    "reason",
    "http_status",
    "response_body",
    "fingerprint",
    "summary",
    "attempts",
    "first_enqueued_at",
    "failed_at",
    "state",
    "comment",
    "resolved_at",
    "replay_count",
    "last_replay_at",
    "original_org",
    "original_group",
)
"""The fields of a record, in the order of the columns of a CSV. Programs of others read them: add, don't rename."""

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets take the full-width signs for formulas too
"""What a spreadsheet takes for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection."""


def to_record(row: DeadLetter, *, with_raw: bool = False) -> dict[str, Any]:
    """Return a row as JSON can carry it: times in ISO 8601 with an offset, the raw message in base64.

    Args:
        row: The row.
        with_raw: Whether the raw message and the last requests are wanted; the row must have been read with it.
    """
    record = {name: getattr(row, name) for name in FIELDS}
    for name in ("occurred_at", "first_enqueued_at", "failed_at", "resolved_at", "last_replay_at"):
        record[name] = _text(record[name])
    if with_raw:
        record["history"] = [attempt.to_record() for attempt in attempts_of(row)]
        record["raw_base64"] = None if row.raw is None else b64encode(row.raw).decode()
    return record


def write_ndjson(rows: Iterable[DeadLetter], output: TextIO) -> None:
    """Write rows as one JSON object a line."""
    output.writelines(visible(json.dumps(to_record(row, with_raw=True), ensure_ascii=False)) + "\n" for row in rows)


def write_csv(rows: Iterable[DeadLetter], output: TextIO, *, header: bool = True) -> None:
    """Write rows as CSV, with a header unless they go on a file that has one.

    A text that a spreadsheet would carry out gets an apostrophe in front.

    What would turn a text's order round on a screen is written out, as `worker.operations.text` has it.
    """
    writer = csv.DictWriter(output, [*FIELDS, "history", "raw_base64"], lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        record = to_record(row, with_raw=True)
        record["history"] = json.dumps(record["history"], ensure_ascii=False) if record["history"] else None
        writer.writerow({name: _harmless(value) for name, value in record.items()})


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _harmless(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    begins = value.lstrip().startswith(_FORMULAS) or value.startswith(_FORMULAS)  # some spreadsheets pass over blanks
    return f"'{visible(value)}" if begins else visible(value)
