"""Events from files: what can be read is read, and what can't is named by its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.operations.cli.event_files import BadHeader, BadLine, GoodLine, read_csv, read_ndjson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.operations.cli.event_files import Line

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


def told(lines: Iterable[Line]) -> list[tuple[int, str]]:
    """Each line's number, with the status of its event or what is wrong with it."""
    return [
        (line.number, line.event.to_wire()["status"] if isinstance(line, GoodLine) else line.problem) for line in lines
    ]


def test_ndjson_is_one_event_a_line() -> None:
    """Empty lines are passed over, and numbers are the file's own."""
    lines = [
        f'{{"request_id": "{ID}", "status": true, "org": "o", "group": "g"}}\n',
        "\n",
        f'{{"request_id": "{ID}", "status": "false", "org": "o", "group": "g"}}\n',
    ]

    assert told(read_ndjson(lines, {})) == [(1, "true"), (3, "false")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("👍", "this is not JSON"),
        ("[]", "expected a JSON object, not list"),
        ('{"request_id": "x", "status": true, "org": "o", "group": "g"}', "request_id is 'x'"),
        (f'{{"request_id": "{ID}", "status": true, "org": "o"}}', "group is missing"),
        (f'{{"request_id": "{ID}", "status": 1, "org": "o", "group": "g"}}', "status is of type int"),
        (f'{{"request_id": "{ID}", "status": true, "org": "o", "group": "g", "vote": 1}}', "'vote' is no field"),
        (f'{{"request_id": "{ID}", "status": true, "org": "\udcff", "group": "g"}}', "org is"),
    ],
)
def test_a_line_that_is_no_event_is_told_by_its_number_and_reason(line: str, problem: str) -> None:
    """And the lines around it are read."""
    good = f'{{"request_id": "{ID}", "status": true, "org": "o", "group": "g"}}'

    first, bad, last = read_ndjson([good, line, good], {})

    assert isinstance(first, GoodLine)
    assert isinstance(bad, BadLine)
    assert bad.number == 2
    assert problem in bad.problem
    assert isinstance(last, GoodLine)


def test_fields_that_a_line_leaves_out_come_from_the_defaults() -> None:
    """``--org`` and ``--group`` stand in, and what the line says wins."""
    lines = [f'{{"request_id": "{ID}", "status": true, "org": "own"}}']

    (line,) = read_ndjson(lines, {"org": "default", "group": "default"})

    assert isinstance(line, GoodLine)
    assert (line.event.org, line.event.group) == ("own", "default")


def test_csv_names_its_columns_in_the_first_line() -> None:
    """An empty cell counts as left out."""
    lines = ["status,request_id,org,group,occurred_at\n", f"true,{ID},,g,\n", f"false,{ID},own,g,2026-01-31T12:00Z\n"]

    first, second = read_csv(lines, {"org": "default"})

    assert isinstance(first, GoodLine)
    assert isinstance(second, GoodLine)
    assert (first.number, first.event.org) == (2, "default")
    assert (second.number, second.event.org, second.event.occurred_at.isoformat()) == (
        3,
        "own",
        "2026-01-31T12:00:00+00:00",
    )


def test_csv_rows_that_are_no_events_are_told_and_the_rest_is_read() -> None:
    """Too many cells, too few, and a wrong value."""
    lines = [
        "request_id,status,org,group\n",
        f"{ID},true,o,g,more\n",
        f"{ID},true\n",
        f"{ID},maybe,o,g\n",
        f"{ID},true,o,g\n",
    ]

    assert told(read_csv(lines, {})) == [
        (2, "there are more cells than columns"),
        (3, "org is missing: expected request_id, status, org and group"),
        (4, 'status is \'maybe\': expected True, False, "true" or "false"'),
        (5, "true"),
    ]


def test_csv_that_breaks_off_inside_quotes_is_told() -> None:
    """Nothing after it could be told apart, so reading ends there."""
    lines = ["request_id,status,org,group\n", f'{ID},true,"o,g\n', f"{ID},true,o,g\n"]

    (bad,) = read_csv(lines, {})

    assert isinstance(bad, BadLine)
    assert "this is not CSV" in bad.problem


def test_a_line_that_is_no_csv_is_named_and_the_rest_is_read() -> None:
    """A stray quote spoils its own line only."""
    lines = ["request_id,status,org,group\n", f'{ID},true,"o"x,g\n', f"{ID},false,o,g\n"]

    assert told(read_csv(lines, {})) == [(2, "this is not CSV: ',' expected after '\"'"), (3, "false")]


def test_a_line_nested_too_deep_is_named_and_the_rest_is_read() -> None:
    """Python's JSON reader gives up on it in a way of its own."""
    event = f'{{"request_id": "{ID}", "status": true, "org": "o", "group": "g"}}\n'

    bad, good = read_ndjson(["[" * 200_000 + "\n", event], {})

    assert isinstance(bad, BadLine)
    assert "this is not JSON" in bad.problem
    assert isinstance(good, GoodLine)


@pytest.mark.parametrize(
    ("header", "defaults", "missing"),
    [
        ([f"{ID},true,o,g\n"], {}, "request_id, status, org, group are missing"),
        (["request_id;status;org;group\n", f"{ID};true;o;g\n"], {}, "request_id, status, org, group are missing"),
        (["request_id,org,group\n", f"{ID},o,g\n"], {}, "status is missing"),
        (["request_id,status\n", f"{ID},true\n"], {"org": "o"}, "group is missing"),
        (['"request_id"x,status\n', f"{ID},true\n"], {"org": "o", "group": "g"}, "request_id, status are missing"),
        ([], {"org": "o", "group": "g"}, "request_id, status are missing"),
    ],
    ids=["no header", "semicolons", "no status", "no group", "no CSV", "empty"],
)
def test_csv_without_a_usable_header_is_refused(header: list[str], defaults: dict[str, str], missing: str) -> None:
    """Without it no line can be read; what is missing is named."""
    with pytest.raises(BadHeader) as caught:
        list(read_csv(header, defaults))

    expected = "line 1: expected a header with request_id,status,org,group, separated by commas"
    assert str(caught.value) == f"{expected}; {missing}"


def test_a_huge_cell_is_named_and_the_rest_is_read() -> None:
    """Python's CSV reader takes 128 KiB in a cell; no field of an event is so long."""
    lines = ["request_id,status,org,group\n", f"{ID},true,{'o' * 200_000},g\n", f"{ID},false,o,g\n"]

    assert told(read_csv(lines, {})) == [
        (2, "this is not CSV: field larger than field limit (131072)"),
        (3, "false"),
    ]
