"""`aquilax-feedback dead-letters list` and `show`, in a pipe, on a terminal and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.dead_letter_records import NOON, REQUEST_ID, a_record, an_event, settle
from tests.support.dead_letters_cli import add_rows, say
from worker.database.models import State
from worker.policy.attempt import Attempt
from worker.policy.classification import Response
from worker.policy.result import ResultKind
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.dead_letters.store import DeadLetterStore


def test_a_list_in_a_pipe_has_one_line_a_row(table: DeadLetterStore) -> None:
    """Tabs between the columns, the newest death first, and a line break in an answer breaks no line."""
    add_rows(table, 1, response_body="first")
    add_rows(table, 1, response_body="two\nlines", failed_at=NOON + timedelta(hours=1))

    ended = say("list")

    head, newest, oldest = (line.split("\t") for line in ended.stdout.splitlines())
    assert head[0] == "id"
    assert (newest[0], newest[1], newest[2], newest[-1]) == (
        "2",
        "2026-03-01 13:00:00",
        "dead",
        "rejected 404: two lines",
    )
    assert oldest[0] == "1"
    assert ended.stderr == "2 of 2 shown\n"


def test_a_list_says_how_many_more_there_are(table: DeadLetterStore) -> None:
    """A page is not all there is."""
    add_rows(table, 3)

    assert say("list", "--limit", 2).stderr == "2 of 3 shown\n"


def test_a_list_is_of_the_dead_and_counts_the_others(table: DeadLetterStore) -> None:
    """As on the dashboard: what was delivered after all needs no operator; by cause likewise."""
    dead, delivered = add_rows(table, 2)
    settle(table, delivered, State.DELIVERED)

    assert [row["id"] for row in json.loads(say("list", "--json").stdout)] == [dead]
    assert say("list").stderr == "1 of 1 shown\n1 more in other states: --state any shows them\n"
    assert [cause["rows"] for cause in json.loads(say("list", "--group-by", "fingerprint", "--json").stdout)] == [1]
    assert [
        cause["rows"]
        for cause in json.loads(say("list", "--group-by", "fingerprint", "--json", "--state", "any").stdout)
    ] == [2]
    assert say("list", "--state", "any").stderr == "2 of 2 shown\n"
    assert say("list", "--state", "delivered").stderr == "1 of 1 shown\n"


def test_a_list_as_json_has_the_fields_names_of_the_api(table: DeadLetterStore) -> None:
    """For programs."""
    table.add(a_record(an_event(request_id=REQUEST_ID, status=False, group="group-7")))

    (row,) = json.loads(say("list", "--json").stdout)

    assert (row["request_id"], row["status"], row["group"]) == (REQUEST_ID, False, "group-7")


def test_a_list_by_cause_counts(table: DeadLetterStore) -> None:
    """And the cause that it prints is what the filter takes; it is called so wherever it stands."""
    add_rows(table, 3)
    add_rows(table, 1, http_status=400, response_body="bad")

    head, first, second = (line.split("\t") for line in say("list", "--group-by", "fingerprint").stdout.splitlines())

    assert (first[0], second[0]) == ("3", "1")
    assert len(json.loads(say("list", "--json", "--fingerprint", second[1]).stdout)) == 1
    (row,) = json.loads(say("list", "--group-by", "fingerprint", "--json", "--fingerprint", second[1]).stdout)
    assert (row["rows"], row["fingerprint"], row["summary"]) == (1, second[1], "rejected 400: bad")
    assert "fingerprint" in head
    assert "fingerprint" in say("list").stdout.splitlines()[0].split("\t")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--reason", "exhausted"], [1]),
        (["--http-status", "404", "--org", "org-1"], [2]),
        (["--group", "group-9"], [1]),
        (["--request-id", REQUEST_ID.upper()], [2]),
        (["--state", "dead", "--state", "delivered"], [2, 1]),
        (["--since", "1h"], [2]),
        (["--until", "1h"], [1]),
        (["--since", "2026-03-01T12:00:00", "--until", "2026-03-01T13:00:00+01:00"], []),
        (["--since", "2026-03-01T13:00:00+01:00", "--until", "2026-03-02"], [1]),
    ],
)
def test_filters_are_said_as_a_person_says_them(table: DeadLetterStore, filters: list[str], found: list[int]) -> None:
    """By name, by how long ago, by a day or by an instant."""
    table.add(a_record(an_event(group="group-9"), reason=Reason.EXHAUSTED, http_status=503))
    table.add(a_record(an_event(request_id=REQUEST_ID), failed_at=datetime.now(UTC)))

    assert [row["id"] for row in json.loads(say("list", "--json", *filters).stdout)] == found


def test_a_time_that_can_not_be_read_is_refused(table: DeadLetterStore) -> None:  # noqa: ARG001 - the settings
    """With what is expected instead."""
    ended = say("list", "--since", "yesterday")

    assert ended.exit_code == 2
    assert "2h, 30m or 7d" in ended.stderr


def test_the_requests_that_were_sent_are_shown(table: DeadLetterStore) -> None:
    """Each on a line; whatever a response says, it begins no line of its own."""
    response = Response(status=503, text="busy\nsent: ok", took=timedelta(milliseconds=1250))
    attempt = Attempt.of(response, at=NOON, worker="w@host", then=ResultKind.DEAD_LETTER)
    table.add(a_record(history=(attempt,)))

    assert "sent:               2026-03-01 12:00:00 UTC 503 busy sent: ok (1,250 ms, w@host), dead letter\n" in (
        say("show", 1).stdout
    )


def test_one_dead_letter_is_shown_whole(table: DeadLetterStore) -> None:
    """By its id or by its request_id, for people and for programs; one that is not there is said not to be."""
    table.add(a_record(an_event(request_id=REQUEST_ID)))

    assert "response_body:      Request ID not found" in say("show", 1).stdout
    assert "status:             true" in say("show", REQUEST_ID).stdout
    assert json.loads(say("show", 1, "--json").stdout)[0]["raw_base64"] is None
    assert say("show", 2).stderr == "Error: there is no dead letter 2\n"
