"""Making a plan on real databases: in small steps, beside others who write, and killed in the middle."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dead_letter_records import a_record, add
from worker.database.replay_models import ReplayState
from worker.dead_letters.replays import freezing, planning
from worker.dead_letters.replays.advancer import overdue
from worker.dead_letters.replays.freezing import freeze
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import plans, rows
from worker.dead_letters.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from worker.dead_letters.store import DeadLetterStore


def _add_rows(store: DeadLetterStore, number: int) -> None:
    for _ in range(number):
        add(store, a_record())


def _between_pages(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> list[int]:
    """Freeze two rows at a time, and do something after the first page; return how many rows each page had."""
    sizes: list[int] = []

    def watched(pages: Iterable[Any]) -> Iterator[Any]:
        for page in pages:
            sizes.append(len(page))
            yield page
            if len(sizes) == 1:
                then()

    monkeypatch.setattr(freezing, "_PAGE", 2)
    monkeypatch.setattr(planning, "freeze", lambda engine, name, pages: freeze(engine, name, watched(pages)))
    return sizes


def test_a_dead_letter_comes_while_a_plan_is_made(store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written down a page at a time: no transaction is open in between. What dies meanwhile is in no plan."""
    _add_rows(store, 5)
    late = replace(a_record(), dedup_key="e" * 64)
    sizes = _between_pages(monkeypatch, lambda: store.add(late))

    plan = create(store.engine, Selection(), actor="ann", canary=1)

    assert sizes == [1, 1, 2, 1], "the canary, and the others of each page"
    assert (plan.total, plan.state, plan.canary_until) == (5, ReplayState.PLANNED, 1)
    assert [row.position for row in rows(store.engine, plan.id)] == [0, 1, 2, 3, 4]


def test_a_plan_that_is_cut_short_never_goes(store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle it is cancelled, and another plan takes all of its rows."""
    _add_rows(store, 5)
    with monkeypatch.context() as patched:
        _between_pages(patched, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            create(store.engine, Selection(), actor="ann")
    engine = store.engine

    (cut_short,) = plans(engine)

    assert (cut_short.state, cut_short.progress.waiting) == (ReplayState.CANCELLED, 2)
    assert "cut short" in cut_short.stopped_because
    assert overdue(engine, now=datetime.now(UTC)) == []
    assert create(store.engine, Selection(), actor="ann").total == 5


def test_of_two_plans_made_at_once_one_has_a_row(store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was made first."""
    _add_rows(store, 5)
    engine = store.engine
    with monkeypatch.context() as patched:
        _between_pages(patched, lambda: create(engine, Selection(), actor="bob", limit=3))
        slower = create(engine, Selection(), actor="ann")
    quicker = plans(engine)[0]

    assert (quicker.total, slower.total) == (3, 2)
    assert slower.state is quicker.state is ReplayState.PLANNED
