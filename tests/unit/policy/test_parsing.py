from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.policy.parsing import LARGEST, LONGEST, read_decimal, read_text, read_uuid, read_whole

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "\u2003", "a\x00b", "a\ud800", "\udcff", "a\x1bb", "x" * (LONGEST + 1)]
)
def test_text_that_no_row_can_have_is_refused(text: str) -> None:
    """Empty text would choose every row; NUL and half a character no database takes."""
    with pytest.raises(ValueError, match=r"text|at most"):
        read_text(text)


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1.0", "1e2", "1_0", "๑๒", "²", "٣", "0x10", "nan", "9" * 5000, str(LARGEST + 1), "\ud800"],
)
def test_a_whole_number_is_ascii_digits(text: str) -> None:
    """Python's own `int` takes a sign, underscores and the digits of every script, and raises at thousands of them."""
    with pytest.raises(ValueError, match="a whole number from 0 to"):
        read_whole(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1e400", "1_0", "๑", "0.5", "11", "\ud800", "true"])
def test_a_decimal_number_is_finite_and_in_its_range(text: str) -> None:
    """NaN is neither too small nor too large."""
    with pytest.raises(ValueError, match="a number from 1 to 10"):
        read_decimal(text, least=1, most=10)


@pytest.mark.parametrize("text", ["", "x", ID[:-1], ID.replace("7", "๗"), f"{ID}\ud800"])
def test_a_uuid_is_ascii(text: str) -> None:
    """Python's own `UUID` takes the digits of every script."""
    with pytest.raises(ValueError, match="a UUID"):
        read_uuid(text)


def test_what_is_right_is_read() -> None:
    """Without the blanks around it."""
    assert read_text(" org-1 ") == "org-1"
    assert (read_whole("0"), read_whole(" 007 "), read_whole(str(LARGEST))) == (0, 7, LARGEST)
    assert read_decimal("2.5", least=1, most=10) == 2.5
    assert read_uuid(ID.upper()) == ID


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_but_a_value_error_comes_of_any_text(text: str) -> None:
    """So whatever is sent is refused in words."""
    for read in (read_text, read_whole, read_uuid, lambda value: read_decimal(value, least=0, most=1)):
        with suppress(ValueError):
            read(text)
