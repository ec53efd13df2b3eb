from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from worker.database.models import State
from worker.dead_letters.selection import Selection
from worker.operations.dashboard.filters import NAMES, Filters, WrongFilter, read_filters
from worker.operations.dashboard.previews import frozen
from worker.policy.retry import Reason

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


def read(query: str, *, form: bool = True) -> Filters:
    """Read what stands in an address."""
    values = parse_qs(query, keep_blank_values=True)
    return read_filters(lambda name: values.get(name, []), now=NOW, blank_is_any=form)


def test_every_filter_is_read() -> None:
    """The names are the command line's."""
    one = f"reason=rejected&http_status=404&org=a&org=b&group=g&fingerprint=c&request_id={ID.upper()}"
    assert read(f"{one}&state=dead&since=2h&until=2026-03-01").selection == Selection(
        reasons=(Reason.REJECTED,),
        http_statuses=(404,),
        orgs=("a", "b"),
        groups=("g",),
        fingerprints=("c",),
        request_ids=(ID,),
        states=(State.DEAD,),
        since=NOW - timedelta(hours=2),
        until=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_without_a_state_the_dead_are_meant() -> None:
    """They are what waits for an operator; of rows that were ticked, the discarded may be taken too."""
    assert read("").selection.states == (State.DEAD,)
    assert read("state=").selection.states == (State.DEAD,)
    assert read("id=7").selection.states == (State.DEAD, State.DISCARDED)
    assert read("state=any").selection.states == tuple(State)
    assert read("state=delivered&state=dead").selection.states == (State.DELIVERED, State.DEAD)


def test_a_status_brings_its_reasons_along() -> None:
    """The index has the reason first."""
    assert read("http_status=404").selection.reasons == tuple(Reason)


@pytest.mark.parametrize(
    "query",
    ["reason=x", "http_status=99", "http_status=x", "request_id=x", "state=x", "since=x", "until=99999999w", "id=0",
     "id=9223372036854775808", "id=²", "http_status=๔๔๔", "http_status=4_04", "http_status=%2B404", "since=๑h",
     "org=a%00b", "since=1h&since=2h", "org=" + "x" * 201, "&".join(f"id={number}" for number in range(1, 502))],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused(query: str) -> None:
    """The message names the filter."""
    with pytest.raises(WrongFilter, match=query.partition("=")[0]):
        read(query)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_filter_is_none_in_a_form_and_refused_elsewhere(name: str) -> None:
    """A browser sends each field of a form; elsewhere what was to narrow the choice would choose every row."""
    for blank in (f"{name}=", f"{name}=%20", f"{name}=&{name}="):
        assert read(f"{blank}&group=g").selection == read("group=g").selection
        with pytest.raises(WrongFilter, match=f"^{name} is empty"):
            read(f"{blank}&group=g", form=False)


def test_an_address_keeps_what_was_asked_for() -> None:
    """And changes what a link changes."""
    filters = read("org=a%26b&state=any&order=oldest")
    assert filters.query() == "?org=a%26b&state=any"
    assert filters.query(fingerprint="c", org=None) == "?state=any&fingerprint=c"
    assert filters.query(but=("org",)) == "?state=any"
    assert read("").query() == ""
    assert filters.one("org") == "a&b"
    assert filters.narrowed
    assert not read("state=any").narrowed


def test_buttons_take_the_dead_unless_a_state_was_named() -> None:
    """To look at rows of any state is not to say that the discarded shall be sent after all."""
    every = read("state=any&org=a").acting
    assert every is not None
    assert (every.selection.states, every.query()) == ((State.DEAD,), "?org=a")
    for query in ("", "org=a", "state=discarded", "state=delivered&state=dead", "id=7"):
        chosen = read(query)
        assert chosen.acting is chosen
    assert read("state=delivered").acting is None


def test_a_state_that_is_not_the_usual_one_can_be_seen() -> None:
    """In the form, which is not folded then, and in the title."""
    assert [read(query).folded for query in ("", "state=dead", "state=any", "state=delivered", "org=a")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [
        read(query).kind for query in ("", "id=7", "state=any", "state=delivered", "state=dead&state=replaying")
    ] == [
        "",
        "",
        "",
        "delivered",
        "dead or replaying",
    ]


def test_a_filter_that_can_not_be_read_leaves_the_others_in_the_form() -> None:
    """One wrong value costs no other."""
    with pytest.raises(WrongFilter) as caught:
        read("org=a&since=yesterday")
    assert caught.value.name == "since"
    assert (caught.value.given["org"], caught.value.given["since"]) == (("a",), ("yesterday",))


def test_a_preview_is_of_one_moment() -> None:
    """What is relative becomes absolute, and what dies later was not seen."""
    seen = frozen(read("since=2h&org=a"), now=NOW)
    assert seen.selection.until == NOW
    again = read(seen.query().removeprefix("?"))
    assert again.selection == seen.selection
    assert frozen(read("until=2026-02-01"), now=NOW).selection.until == datetime(2026, 2, 1, tzinfo=UTC)
    assert frozen(read("until=2026-04-01"), now=NOW).selection.until == NOW
