from __future__ import annotations

from worker.accounting.balance import ENDS, PLACES, Balance


def _balance(*, queued: int = 0, in_flight: int = 0, scheduled: int = 0, uncounted: int = 0, **counts: int) -> Balance:
    return Balance(counts=counts, queued=queued, in_flight=in_flight, scheduled=scheduled, uncounted=uncounted)


def test_what_is_in_a_place_or_has_ended_is_not_missing() -> None:
    """Every place and every end takes one message."""
    ends = dict.fromkeys(ENDS, 1)
    places = dict.fromkeys(PLACES, 1)

    balance = _balance(accepted=len(ENDS) + len(PLACES), **ends, **places)

    assert balance.missing == 0


def test_what_is_nowhere_is_missing() -> None:
    """Three came, one was delivered, and the others are nowhere."""
    assert _balance(accepted=3, delivered=1).missing == 2


def test_more_than_was_accepted_is_a_surplus() -> None:
    """It can be told from a loss by its sign."""
    assert _balance(accepted=1, delivered=1, queued=2).missing == -2


def test_what_is_not_counted_yet_explains_a_surplus() -> None:
    """A foreign client's message is counted when the first worker takes it."""
    assert _balance(accepted=1, delivered=1, queued=2, uncounted=2).missing == 0


def test_what_is_not_counted_yet_hides_no_loss() -> None:
    """Two foreign messages wait, and two of ours are gone."""
    assert _balance(accepted=3, delivered=1, queued=2, uncounted=2).missing == 2


def test_counts_that_are_no_ends_are_no_part_of_it() -> None:
    """A retry is neither, and a dead letter is counted once although its reason is counted too."""
    assert (
        _balance(accepted=1, dead=1, **{"dead:rejected": 1}, retried=7, snoozed=5, dead_letters_inserted=1).missing == 0
    )


def test_the_equation_says_every_number() -> None:
    """An operator can add it up."""
    balance = _balance(accepted=4499, delivered=4182, duplicate=209, stale=108)

    assert balance.equation() == (
        "4,499 accepted = 4,182 delivered + 209 duplicate + 108 stale + 0 dead + 0 revoked + 0 purged + 0 written off"
        " + 0 queued + 0 in flight + 0 scheduled"
    )


def test_the_equation_names_what_does_not_add_up() -> None:
    """By its number, missing or surplus."""
    assert _balance(accepted=3, delivered=1).equation().endswith(" + 2 missing")
    assert _balance(accepted=1, queued=3).equation().endswith(" - 2 surplus")
    assert _balance(accepted=1, queued=3, uncounted=2).equation().startswith("1 accepted + 2 not counted yet = ")


def test_in_brief_it_still_adds_up() -> None:
    """What there is none of is left out, and what is not counted yet is not."""
    balance = _balance(accepted=1, delivered=1, queued=2, uncounted=2)

    assert balance.sides(brief=True) == "1 accepted + 2 not counted yet = 1 delivered + 2 queued"
    assert _balance().sides({"accepted": "taken"}, brief=True) == "0 taken = 0"


def test_the_record_says_the_same() -> None:
    """Its parts and what is missing make the accepted ones."""
    record = _balance(accepted=10, delivered=4, queued=2, in_flight=1, uncounted=1).to_record()

    assert record["missing"] == 4
    assert record["accepted"] + record["uncounted"] == sum(record[name] for name in (*ENDS, *PLACES, "missing"))
