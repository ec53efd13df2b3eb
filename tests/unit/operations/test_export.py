from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from worker.database.models import DeadLetter, State
from worker.operations.export import FIELDS, to_record, write_csv, write_ndjson
from worker.policy.attempt import Attempt
from worker.policy.classification import Response
from worker.policy.result import ResultKind
from worker.policy.retry import Reason

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _row(**changes: object) -> DeadLetter:
    fields: dict[str, object] = {
        "id": 7,
        "status": False,
        "org": "org-1",
        "group": "group-1",
        "reason": Reason.REJECTED,
        "state": State.DEAD,
        "response_body": "no",
        "failed_at": NOON,
        "raw": b"\x00\xff",
    }
    return DeadLetter(**(fields | changes))


def test_a_record_has_the_names_that_others_read() -> None:
    """They are pinned here: scripts and spreadsheets depend on them."""
    names = (
        "id request_id status org group occurred_at reason http_status response_body fingerprint summary attempts "
        "first_enqueued_at failed_at state comment resolved_at replay_count last_replay_at "
        "original_org original_group"
    )

    assert " ".join(FIELDS) == " ".join(to_record(_row())) == names


def test_a_whole_record_has_the_requests_that_were_sent() -> None:
    """As values in JSON, and in a column of a CSV; what a row of an earlier release lacks is an empty list."""
    response = Response(status=503, text="busy", took=timedelta(seconds=1))
    attempt = Attempt.of(response, at=NOON, worker="w@host", then=ResultKind.RETRY)
    row = _row(history=json.dumps([attempt.to_record()]))
    output = io.StringIO()
    write_csv([row, _row()], output)
    tried, untried = csv.DictReader(io.StringIO(output.getvalue()))

    assert to_record(row, with_raw=True)["history"] == json.loads(tried["history"]) == [attempt.to_record()]
    assert (to_record(_row(), with_raw=True)["history"], untried["history"]) == ([], "")


def test_ndjson_has_one_object_a_line() -> None:
    """A line break in an answer stays inside its line."""
    output = io.StringIO()

    write_ndjson([_row(response_body="one\ntwo"), _row()], output)

    first, second = map(json.loads, output.getvalue().splitlines())
    assert (first["response_body"], first["status"], first["failed_at"]) == (
        "one\ntwo",
        False,
        "2026-03-01T12:00:00+00:00",
    )
    assert (second["reason"], second["state"], second["raw_base64"]) == ("rejected", "dead", "AP8=")


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "＝1", "  =1", "\xa0=1", " \t@a"])  # noqa: RUF001 - it is meant
def test_a_csv_carries_no_formula(formula: str) -> None:
    """A foreign answer opened in a spreadsheet is text, and nothing that it carries out."""
    output = io.StringIO()

    write_csv([_row(response_body=formula, org=formula)], output)

    (line,) = csv.DictReader(io.StringIO(output.getvalue(), newline=""))
    assert line["response_body"] == line["org"] == f"'{formula}"


def test_a_csv_says_a_status_as_the_api_does() -> None:
    """`true` and `false`, so that `aquilax-feedback send --from-file` takes it."""
    output = io.StringIO()

    write_csv([_row()], output)

    (line,) = csv.DictReader(io.StringIO(output.getvalue()))
    assert (line["status"], line["id"], line["http_status"]) == ("false", "7", "")


def test_no_export_turns_a_texts_order_round() -> None:
    """A bidirectional control makes a foreign answer look like another; in JSON its escape means the same."""
    of_json, of_csv = io.StringIO(), io.StringIO()
    row = _row(response_body="no\u202eeurt", org="o\u2066rg")

    write_ndjson([row], of_json)
    write_csv([row], of_csv)

    for text in (of_json.getvalue(), of_csv.getvalue()):
        assert r"no\u202eeurt" in text
        assert not {"\u202e", "\u2066"} & set(text)
    assert json.loads(of_json.getvalue())["response_body"] == "no\u202eeurt"
