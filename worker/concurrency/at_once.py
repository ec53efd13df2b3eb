"""Several questions at once, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ask_at_once", "do_at_once"]

T = TypeVar("T")


def ask_at_once(questions: Sequence[Callable[[], T]], *, within: float | None = None) -> list[T | Exception]:
    """Ask several questions at the same time, and return the answers in their order.

    So it takes as long as the slowest, where one after the other each would add its wait. A single question is asked
    in the thread that calls, unless it is given up in time.

    Args:
        questions: Each returns its answer.
        within: Seconds after which the answers that have not come are given up; their threads go on. None to wait.

    Returns:
        What each has returned, or the exception that it has raised; a `TimeoutError` where none of both has come.
    """
    found: dict[int, T | Exception] = {}

    def ask(number: int) -> None:
        try:
            found[number] = questions[number]()
        except Exception as error:  # noqa: BLE001 - it is handed to who asked
            found[number] = error

    here = 0 if within is None and questions else None
    numbers = [number for number in range(len(questions)) if number != here]
    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in numbers]
    for thread in threads:
        thread.start()
    if here is not None:
        ask(here)
    deadline = None if within is None else time.monotonic() + within
    for thread in threads:
        thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
    late = TimeoutError(f"no answer within {within} s")
    return [found.get(number, late) for number in range(len(questions))]


def do_at_once(actions: Sequence[Callable[[], object]]) -> None:
    """Do several things at the same time; raises what the first of them has raised, once all are done."""
    for outcome in ask_at_once(actions):
        if isinstance(outcome, Exception):
            raise outcome
