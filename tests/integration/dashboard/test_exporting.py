"""A selection as a file: with the filters of the page, in flat memory, and never one that only looks whole."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support.dashboard import add_three, an_invalid_record
from tests.support.dead_letter_records import a_record, add, an_event
from tests.support.dead_letters import fill
from worker.database.errors import DeadLetterStoreUnavailable
from worker.dead_letters import queries
from worker.operations.dashboard import export_views
from worker.operations.export import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.flower import ServedFlower
    from worker.dead_letters.store import DeadLetterStore

EXPORT = "/feedback/dead-letters/export"


def test_a_file_has_what_the_list_has(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """All fields and the raw message, by the same filters, from the page and for programs."""
    add_three(browsed)
    add(browsed, an_invalid_record(b"\x80raw"))
    for path in (EXPORT, f"/api{EXPORT}"):
        answer = flower.get(f"{path}.ndjson?reason=forbidden&reason=invalid")
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert [(row["reason"], row["org"]) for row in rows] == [("forbidden", "org-2"), ("invalid", None)]
        assert rows[1]["raw_base64"] == "gHJhdw=="
        assert answer.headers["Content-Type"] == "application/x-ndjson"

        answer = flower.get(f"{path}.csv?org=org-1")
        table = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["org"] for row in table] == ["org-1", "org-1"]
        assert set(FIELDS) < set(table[0])
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="dead-letters-')

    assert f'href="{EXPORT}.csv?org=org-1"' in flower.get("/feedback/dead-letters/rows?org=org-1").text


def test_ticked_rows_alone_are_in_the_file(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """None ticked is refused: it would mean all."""
    _, ticked, _ = add_three(browsed)
    assert [
        json.loads(line)["id"] for line in flower.get(f"{EXPORT}.ndjson?ticked=1&id={ticked}").text.splitlines()
    ] == [ticked]
    assert flower.get(f"{EXPORT}.csv?ticked=1").status_code == 400
    assert flower.get(f"{EXPORT}.csv?orgs=org-1").status_code == 400
    assert flower.get(f"/api{EXPORT}.csv?state=gone").json()["error"].startswith("state is 'gone'")


def test_a_file_without_rows_has_a_header_or_nothing(flower: ServedFlower, browsed: DeadLetterStore) -> None:  # noqa: ARG001 - the empty table
    """As the command writes it."""
    assert flower.get(f"{EXPORT}.csv").text.startswith("id,request_id,")
    assert flower.get(f"{EXPORT}.ndjson").text == ""


def test_a_spreadsheet_carries_nothing_out(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """What begins a formula gets an apostrophe in front."""
    add(browsed, a_record(an_event(org="=cmd|' /C calc'!A0", group="@SUM(1)"), response_body="+1"))
    (row,) = csv.DictReader(io.StringIO(flower.get(f"{EXPORT}.csv").text))
    assert (row["org"], row["group"], row["response_body"]) == ("'=cmd|' /C calc'!A0", "'@SUM(1)", "'+1")


def test_a_long_file_is_read_as_it_is_taken(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Page by page, with one header and each row once."""
    fill(browsed, 2_500, last_at=datetime.now(UTC))
    with requests.get(f"{flower.url}{EXPORT}.csv?state=any", stream=True, timeout=60) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        ids = [row["id"] for row in csv.DictReader(answer.iter_lines(decode_unicode=True))]
    assert ids == [str(number) for number in range(1, 2_501)]


def test_a_file_that_can_not_be_read_to_its_end_is_broken_off(
    flower: ServedFlower, browsed: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not look whole; before the first page it is an error as any other."""
    fill(browsed, 300, last_at=datetime.now(UTC))

    def failing(after: int) -> object:
        def pages(*given: object, **named: object) -> Iterator[object]:
            for number, page in enumerate(queries.stream(*given, **named)):  # type: ignore[arg-type]  # passed on as they came
                if number == after:
                    raise DeadLetterStoreUnavailable("gone")
                yield page

        return pages

    monkeypatch.setattr(export_views, "stream", failing(1))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        flower.get(f"{EXPORT}.ndjson")
    monkeypatch.setattr(export_views, "stream", failing(0))
    assert flower.get(f"{EXPORT}.ndjson").status_code == 503
