from __future__ import annotations

import pytest

from worker.policy.fingerprint import MAX_SUMMARY_LENGTH, Fingerprint, fingerprint_of
from worker.policy.retry import Reason


@pytest.mark.parametrize(
    ("answer", "summary"),
    [
        ("Request ID not found", "rejected 404: Request ID not found"),
        ("no 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6!", "rejected 404: no <uuid>!"),
        ("no 77E81BBC3E7F47B987FA681B5D2F54E6", "rejected 404: no <uuid>"),
        ("org 65dd3e835a669e3347654200 is unknown", "rejected 404: org <id> is unknown"),
        ("at 0xdeadbeef0", "rejected 404: at <id>"),
        ("since 2026-03-01T12:00:00.123Z or 2026-03-01 12:00:00+02:00", "rejected 404: since <time> or <time>"),
        ("until Sun, 01 Mar 2026 12:00:00 GMT", "rejected 404: until <time>"),
        ("10.0.0.1 after 3.5 s, try 7 of 10", "rejected 404: <n> after <n> s, try <n> of <n>"),
        ('{"code": 404,\n  "message": "Not  found"}', "rejected 404: Not found"),
        ('{"error":  404}', 'rejected 404: {"error": <n>}'),
        ("the facade was defaced", "rejected 404: the facade was defaced"),
        ("", "rejected 404"),
    ],
)
def test_what_differs_between_two_answers_is_no_part_of_their_cause(answer: str, summary: str) -> None:
    """Ids, times and numbers give way to a stand-in; words stay."""
    assert fingerprint_of(Reason.REJECTED, 404, answer).summary == summary


def test_a_death_without_an_answer_has_a_cause_too() -> None:
    """A timeout has no status."""
    assert fingerprint_of(Reason.EXHAUSTED, None, "timeout").summary == "exhausted: timeout"


def test_two_statuses_are_two_causes() -> None:
    """The status is not one of the numbers that vary."""
    assert fingerprint_of(Reason.REJECTED, 400, "no") != fingerprint_of(Reason.REJECTED, 404, "no")


def test_the_fingerprint_is_the_lines_and_stays_so() -> None:
    """Operators write it into runbooks, and rows of many releases are grouped by it."""
    assert (
        fingerprint_of(Reason.REJECTED, 404, "job 1").fingerprint
        == fingerprint_of(Reason.REJECTED, 404, "job 2").fingerprint
    )
    assert Fingerprint("rejected 404: Request ID not found").fingerprint == "732a1c19a072"


def test_a_long_answer_fits_the_column() -> None:
    """The line is cut; two pages of HTML with one beginning are one cause."""
    assert len(fingerprint_of(Reason.EXHAUSTED, 502, "<html>" * 1000).summary) == MAX_SUMMARY_LENGTH
