"""How a worker's process ends that has waited long enough."""

from __future__ import annotations

import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.context import ForkProcess

from worker.runtime.bootsteps import _tidy_up


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the child only sleeps
def test_the_processes_of_a_pool_end_with_the_worker() -> None:
    """At once, whatever they are doing: each has a message that goes back."""
    child = ForkProcess(target=time.sleep, args=(600,))
    child.start()
    worker: Any = SimpleNamespace(pidlock=None)

    _tidy_up(worker)

    child.join(10)
    assert child.exitcode == -signal.SIGKILL
