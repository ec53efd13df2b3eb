"""``python -m tests.chaos.wrong_clock SECONDS -m MODULE …`` runs a module by a clock that is wrong by so many seconds.

It moves Python's own clock, `time.time`, `time.time_ns` and `datetime.now`, which is all that the worker and its
libraries ask; the clock of the machine, of Redis and of every other process stays right. `datetime.datetime` is a type
of C, so its methods are replaced where the type keeps them: a subclass in its place would not be what C code makes.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import gc
import runpy
import sys
import time
from typing import Any

__all__ = ["shift"]


def shift(seconds: float) -> None:
    """Let this process's clock be wrong from now on."""
    right, right_ns, now, today = time.time, time.time_ns, dt.datetime.now, dt.datetime.today
    offset = dt.timedelta(seconds=seconds)
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + round(seconds * 1e9)
    (members,) = (each for each in gc.get_referents(dt.datetime.__dict__) if isinstance(each, dict))
    replaced: dict[str, Any] = {
        "now": classmethod(lambda _cls, tz=None: now(tz) + offset),
        "utcnow": classmethod(lambda _cls: now(dt.UTC).replace(tzinfo=None) + offset),
        "today": classmethod(lambda _cls: today() + offset),
    }
    members.update(replaced)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(dt.datetime))


def _main() -> None:
    _, seconds, _, module, *arguments = sys.argv
    shift(float(seconds))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
