"""How a worker's process ends that has waited long enough."""

from __future__ import annotations

import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.context import ForkProcess
from kombu.utils.imports import symbol_by_name

from worker.runtime.bootsteps import GracefulShutdown, _tidy_up
from worker.runtime.metrics_server import MetricsServer
from worker.runtime.probe_server import Probes


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the child only sleeps
def test_the_processes_of_a_pool_end_with_the_worker() -> None:
    """At once, whatever they are doing: each has a message that goes back."""
    child = ForkProcess(target=time.sleep, args=(600,))
    child.start()
    worker: Any = SimpleNamespace(pidlock=None)

    _tidy_up(worker)

    child.join(10)
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", ["celery.worker.components:Pool", MetricsServer, Probes])
def test_what_is_needed_while_a_worker_leaves_is_stopped_after_the_wait(step: type[Any] | str) -> None:
    """A step stops before those that it requires. Celery orders the others by the addresses of their classes."""
    assert symbol_by_name(step) in [symbol_by_name(required) for required in GracefulShutdown.requires]
