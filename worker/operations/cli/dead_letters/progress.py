"""A bar for long work, on standard error, and only on a terminal; and Ctrl-C that ends it in order."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["counting", "stopping"]


@contextmanager
def counting(what: str, total: int | Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; what it yields takes how many are done.

    Args:
        what: What is done.
        total: How many there are; or what counts them, which is called only if there is a bar.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # A fifteenth of the start of a command whose output a program reads.
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - see above

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total() if callable(total) else total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def stopping() -> Iterator[Event]:
    """Turn the first Ctrl-C, or SIGTERM, into an event, so that the step at hand ends in order.

    A second one has its usual effect: the command ends at once, which a replay survives too.
    """
    stop = Event()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, usual[signal.Signals(number)])

    for number in usual:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
