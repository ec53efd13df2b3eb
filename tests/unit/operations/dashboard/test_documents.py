from __future__ import annotations

import pytest

from worker.operations.dashboard.documents import WrongDocument, number_in, read_document, text_in, values_in
from worker.operations.dashboard.filters import WrongFilter

NAMES = ("comment", "expected", "id", "org")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "expected a JSON object"),
        (b"{", "expected a JSON object"),
        (b"\xff", "expected a JSON object"),
        (b"[" * 100_000, "expected a JSON object"),
        (b'{"orgs": "x"}', '"orgs" is no field: expected some of comment, expected, id, org'),
        (b'{"\\ud800": "x"}', '"\\ud800" is no field'),
        (b'{"org": "a", "org": "b"}', '"org" is there twice'),
        (b'{"id": NaN}', "NaN is no number in JSON"),
        (b'{"expected": -Infinity}', "-Infinity is no number in JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "expected a JSON object"),
    ],
)
def test_a_document_that_can_be_misread_is_refused(body: bytes, words: str) -> None:
    """A misspelt filter would choose every row, and of a field that is there twice it is unclear which counts."""
    with pytest.raises(WrongDocument) as caught:
        read_document(body, NAMES)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "value", ["[]", "null", "true", "{}", "1.0", "1e400", "[[]]", "[null]", '[1, "", {}]', '[{"a": 1}]'], ids=str
)
def test_a_filter_is_a_value_or_a_list_of_values(value: str) -> None:
    """Nothing else is made to fit."""
    document = read_document(f'{{"id": {value}}}'.encode(), NAMES)
    with pytest.raises(WrongFilter, match=r"^id is "):
        values_in(document)("id")


def test_values_are_text_and_where_they_can_be_numbers() -> None:
    """As JSON has them; a filter that is not there has none."""
    document = read_document(b'{"id": [7, "8"], "org": "a"}', NAMES)
    of = values_in(document)
    assert (of("id"), of("org"), of("fingerprint")) == (["7", "8"], ["a"], [])
    with pytest.raises(WrongFilter, match=r"^org is 5: expected text"):
        values_in({"org": 5})("org")


@pytest.mark.parametrize("value", ["", None, True, [], {}])
def test_a_number_that_is_none_is_refused(value: object) -> None:
    """An empty one would leave out the check that it stands for."""
    assert number_in({}, "expected") is None
    assert number_in({"expected": 7}, "expected") == "7"
    with pytest.raises(WrongDocument, match=r"^expected is "):
        number_in({"expected": value}, "expected")


def test_text_is_text() -> None:
    """A list of words is none."""
    assert (text_in({}, "comment"), text_in({"comment": "so"}, "comment")) == ("", "so")
    with pytest.raises(WrongDocument, match=r"^comment is "):
        text_in({"comment": ["so"]}, "comment")
