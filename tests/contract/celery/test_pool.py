"""What Celery, its autoscaler, its remote control and so Flower call on a pool, ours has; and a new Celery's too."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import celery
import pytest
from celery.concurrency import ALIASES, get_implementation
from celery.worker.autoscale import Autoscaler

from tests.support.processes import eventually
from worker.app import create_app
from worker.runtime.pool import TaskPool

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_GREEN_POOLS: Final = {"spawn_n"}
"""Called where a pool says `is_green`; ours does not."""

_OF_OTHERS: Final = {"Lock", "__module__", "split"}
"""Of Billiard's module of this name, and of the pool's class or name."""


def _called() -> set[str]:
    """Every attribute that Celery's worker takes of something called ``pool``."""
    root = Path(celery.__file__).parent
    found: set[str] = set()
    for source in (*root.glob("worker/**/*.py"), root / "apps" / "worker.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            match node:
                case ast.Attribute(value=ast.Attribute(attr="pool") | ast.Name(id="pool"), attr=name):
                    found.add(name)
                case ast.Call(
                    func=ast.Name(id="getattr"), args=[ast.Attribute(attr="pool"), ast.Constant(value=name), *_]
                ):
                    found.add(str(name))
    return found - _OF_OTHERS


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    """A pool as the worker makes it for ``--autoscale=6,2``."""
    made = TaskPool(2)
    made.start()
    yield made
    made.stop()


def test_all_that_celery_calls_is_there(pool: TaskPool) -> None:
    """`grow` was missing, and each event that called for it became a dead letter."""
    called = _called()

    assert {"grow", "shrink", "num_processes", "maintain_pool", "restart", "terminate_job"} <= called
    assert {name for name in called - _OF_GREEN_POOLS if not hasattr(pool, name)} == set()


@pytest.mark.parametrize("name", ["restart", "maintain_pool", "flush"])
def test_what_is_called_without_arguments_can_be(pool: TaskPool, name: str) -> None:
    """`BasePool` has a few that only raise."""
    getattr(pool, name)()


def test_threads_are_our_pool() -> None:
    """Celery's own of that name has neither `grow` nor `shrink`."""
    before = ALIASES["threads"]
    try:
        create_app()
        assert get_implementation("threads") is TaskPool
    finally:
        ALIASES["threads"] = before


def test_the_autoscaler_scales_it(pool: TaskPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up with what is in flight, and down when nothing has been for a while."""
    in_hand = 5
    monkeypatch.setattr(Autoscaler, "qty", property(lambda _: in_hand))
    scaler: Any = Autoscaler(pool, 6, 2, keepalive=1e-9)

    scaler.maybe_scale()
    assert (pool.num_processes, pool.info["max-concurrency"]) == (5, 5)
    in_hand = 0
    eventually(lambda: scaler.maybe_scale() or pool.num_processes == 2, what="it has shrunk")
