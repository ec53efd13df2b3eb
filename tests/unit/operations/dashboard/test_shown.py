"""What pages show: charts, raw bytes, rates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.accounting.snapshot import Snapshot
from worker.operations.dashboard.presenters import bars, view_of
from worker.operations.dashboard.sources import Throughput

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_bar_is_as_high_as_its_count() -> None:
    """The highest takes all of the height; what is not zero can be seen; zero can't."""
    found = bars([10, 0, 5, 1], width=40, height=20)
    assert [(bar.number, bar.count, bar.x, bar.y, bar.width, bar.height) for bar in found] == [
        (0, 10, "0", 0, "8", 20),
        (2, 5, "20", 10, "8", 10),
        (3, 1, "30", 18, "8", 2),
    ]
    assert bars([1000, 1], width=20, height=10)[1].height == 1
    assert bars([], width=40, height=20) == bars([0, 0], width=40, height=20) == []


def test_text_is_shown_as_text() -> None:
    """As it came."""
    assert view_of('{"a": "ü"}\n'.encode()).text == '{"a": "ü"}\n'
    assert view_of(b"").is_text


def test_what_is_no_text_is_dumped() -> None:
    """Also what only a terminal would take for text."""
    for raw in (b"\xff\xfe", b"a\x00b", b"\x1b[31mred"):
        assert not view_of(raw).is_text
    assert view_of(b"\x00ABC\x7f" + b"x" * 12).text == (
        "00000000  00 41 42 43 7f 78 78 78 78 78 78 78 78 78 78 78  .ABC.xxxxxxxxxxx\n"
        "00000010  78                                               x"
    )


def test_much_is_cut() -> None:
    """The rest is a file; a character that is cut in half does not make it bytes."""
    view = view_of("ü".encode() * 10_000 + b"x")
    assert (view.is_text, view.size, view.shown) == (True, 20_001, 16_384)
    assert view_of(b"x" + "ü".encode() * 10_000).is_text


def test_the_pace_is_measured_from_the_looks_before() -> None:
    """The first look says nothing; later ones say how much came between, over 20 seconds at most."""
    pace = Throughput()
    assert pace.after(_at(0, delivered=0)) is None
    assert pace.after(_at(0.5, delivered=50)) is None
    rates = pace.after(_at(2, delivered=100))
    assert rates is not None
    assert (rates.delivered, rates.over) == (50.0, timedelta(seconds=2))
    later = pace.after(_at(21, delivered=290))
    assert later is not None
    assert (later.delivered, later.over) == (10.0, timedelta(seconds=19))
    assert pace.after(_at(100, delivered=300)) is None


def _at(seconds: float, *, delivered: int) -> Snapshot:
    return Snapshot(
        at=NOON + timedelta(seconds=seconds),
        counts={"accepted": delivered, "delivered": delivered},
        queued=0,
        in_flight=0,
        scheduled=0,
        oldest=None,
        hold=None,
        holders=(),
    )
