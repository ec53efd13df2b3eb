from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.dead_letter_records import NOON, REQUEST_ID, a_record, an_event
from worker.policy.dead_letter import clean, key_of_event, key_of_event_without_time, key_of_raw
from worker.policy.retry import Reason

EVENT = an_event(request_id=REQUEST_ID)


def test_the_same_word_has_the_same_key() -> None:
    """The key is a matter of what was said, not of who says it or when it is read."""
    assert key_of_event(EVENT) == key_of_event(an_event(request_id=REQUEST_ID.upper()))


def test_the_key_does_not_change_between_releases() -> None:
    """A dead letter of last year is found by its key today."""
    assert key_of_event(EVENT) == "adff8a4a55b99f54d1354f6a7b9c94341e064501bb7827e25397b8cf121f016a"


@pytest.mark.parametrize(
    "change",
    [
        {"status": False},
        {"org": "org-2"},
        {"group": "group-2"},
        {"occurred_at": NOON + timedelta(microseconds=1)},
        {"request_id": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_another_word_has_another_key(change: dict[str, Any]) -> None:
    """Every field counts."""
    assert key_of_event(EVENT) != key_of_event(replace(EVENT, **change))


def test_without_a_time_of_its_own_the_message_tells_two_words_apart() -> None:
    """A redelivery is the same message; a second press is another one."""
    later = replace(EVENT, occurred_at=NOON + timedelta(hours=1))

    assert key_of_event_without_time(EVENT, "tag-1") == key_of_event_without_time(later, "tag-1")
    assert key_of_event_without_time(EVENT, "tag-1") != key_of_event_without_time(EVENT, "tag-2")


def test_an_unreadable_message_is_known_by_its_bytes() -> None:
    """There is nothing else to know it by."""
    assert key_of_raw(b"\xff") == key_of_raw(b"\xff")
    assert key_of_raw(b"\xff") != key_of_raw(b"\xfe")


def test_only_an_invalid_dead_letter_is_without_its_event() -> None:
    """A rejected event without its fields could not be replayed."""
    with pytest.raises(ValueError, match="invalid, not rejected"):
        replace(a_record(), event=None)
    assert replace(a_record(), event=None, reason=Reason.INVALID).event is None


@pytest.mark.parametrize(
    ("foreign", "kept"),
    [
        ("Request ID not found", "Request ID not found"),
        ("a\x00b\x1b[31mc\x07", "a b [31mc"),
        ("one\r\ntwo\tthree\n", "one\ntwo\tthree"),
        ("half a \ud83d", "half a \N{REPLACEMENT CHARACTER}"),
        ("  ", ""),
    ],
)
def test_an_answer_is_cleaned_of_what_databases_and_terminals_choke_on(foreign: str, kept: str) -> None:
    """NUL, escape sequences and half a surrogate pair go; lines, tabs and every script stay."""
    assert clean(foreign) == kept


@pytest.mark.parametrize("character", ["x", "é", "👎"])
def test_an_answer_is_cut_between_two_characters(character: str) -> None:
    """At most 4 KiB of UTF-8, and no half a character at the end."""
    kept = clean(character * 5000)

    assert kept == character * (4096 // len(character.encode()))
