"""What each answer of AquilaX means, and how it is put into words."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.policy.classification import Classification, Response, classify

TABLE = [
    (200, Classification.DELIVERED),
    (201, Classification.DELIVERED),
    (204, Classification.DELIVERED),
    (299, Classification.DELIVERED),
    (301, Classification.UNAUTHORIZED),
    (302, Classification.UNAUTHORIZED),
    (304, Classification.UNAUTHORIZED),
    (308, Classification.UNAUTHORIZED),
    (400, Classification.REJECTED),
    (401, Classification.UNAUTHORIZED),
    (403, Classification.FORBIDDEN),
    (404, Classification.REJECTED),
    (405, Classification.REJECTED),
    (408, Classification.RETRYABLE),
    (410, Classification.REJECTED),
    (418, Classification.REJECTED),
    (422, Classification.REJECTED),
    (425, Classification.RETRYABLE),
    (429, Classification.RETRYABLE),
    (451, Classification.REJECTED),
    (500, Classification.RETRYABLE),
    (502, Classification.RETRYABLE),
    (503, Classification.RETRYABLE),
    (504, Classification.RETRYABLE),
    (599, Classification.RETRYABLE),
]


@pytest.mark.parametrize(("status", "classification"), TABLE)
def test_each_status_means_what_the_table_says(status: int, classification: Classification) -> None:
    """The event's fault is inserted, our fault is held, AquilaX's fault is retried."""
    assert classify(Response(status=status)) is classification


def test_no_answer_is_not_now() -> None:
    """A timeout, a reset or a TLS failure says nothing about the event."""
    assert classify(Response(status=None, text="timeout")) is Classification.RETRYABLE


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 700, 999, -1])
def test_an_unknown_status_is_not_now(status: int) -> None:
    """A needless retry costs a request, a drop costs feedback."""
    assert classify(Response(status=status)) is Classification.RETRYABLE


@given(status=st.integers(min_value=100, max_value=599))
def test_every_status_has_a_classification_by_its_class_but_for_five(status: int) -> None:
    """Only 401, 403, 408, 425 and 429 mean something else than their class."""
    exceptions = {401, 403, 408, 425, 429}
    by_class = {
        1: Classification.RETRYABLE,
        2: Classification.DELIVERED,
        3: Classification.UNAUTHORIZED,
        4: Classification.REJECTED,
        5: Classification.RETRYABLE,
    }

    classification = classify(Response(status=status))

    assert (classification is by_class[status // 100]) == (status not in exceptions)


def test_only_a_2xx_is_delivered() -> None:
    """No other answer may ever let an event go."""
    delivered = [status for status in range(1000) if classify(Response(status=status)) is Classification.DELIVERED]

    assert delivered == list(range(200, 300))


def test_an_answer_in_words_is_its_status_and_its_text() -> None:
    """An operator reads what AquilaX said."""
    assert Response(status=404, text="Request ID not found").summary == "404 Request ID not found"


def test_a_json_error_in_words_is_its_message() -> None:
    """AquilaX's errors are JSON: the message says it all."""
    assert Response(status=403, text='{"code": 403, "message": "No access"}').summary == "403 No access"


@pytest.mark.parametrize("text", ["{", '{"code": 1}', '{"message": 7}', '{"message": null}'])
def test_json_without_a_message_is_shown_as_it_is(text: str) -> None:
    """What can't be understood is shown, not hidden."""
    assert Response(status=400, text=text).summary == f"400 {text}"


def test_a_status_without_a_text_is_named() -> None:
    """503 alone means nothing to a newcomer."""
    assert Response(status=503).summary == f"503 {HTTPStatus.SERVICE_UNAVAILABLE.phrase}"
    assert Response(status=599).summary == "599"


def test_no_answer_in_words_is_why() -> None:
    """There is no status to show."""
    assert Response(status=None, text="timeout: no answer within 10 s").summary == "timeout: no answer within 10 s"
    assert Response(status=None).summary == "no answer"


def test_a_page_of_html_is_cut_short() -> None:
    """The words go into every log line and every event for Flower."""
    assert len(Response(status=502, text="<html>" + "x" * 60_000).summary) < 250


@given(text=st.text() | st.text().map(lambda message: '{"message": "\\u001b' + message.replace('"', "") + '"}'))
def test_the_words_are_one_printable_line(text: str) -> None:
    """An answer can't forge a second log line, nor send an escape sequence to an operator's terminal."""
    assert Response(status=500, text=text).summary.isprintable()
