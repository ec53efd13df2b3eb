"""Start-up checks and graceful shutdown."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Never

from billiard.process import active_children
from celery import bootsteps
from celery.apps.worker import Worker as WorkerProgram
from celery.concurrency.solo import TaskPool as SoloPool
from celery.exceptions import WorkerShutdown
from celery.signals import worker_process_init, worker_shutdown, worker_shutting_down
from celery.worker import state

from worker.concurrency.shutdown_deadline import MARGIN, ShutdownDeadline
from worker.database.errors import DatabaseUnusable, DeadLetterStoreUnavailable, SchemaError
from worker.database.schema import checked_engine
from worker.runtime.container import container_of
from worker.runtime.pool import TaskPool
from worker.settings import SettingsError
from worker.unknown_settings import given_variables, unknown_settings

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta
    from socketserver import BaseServer

    from celery.worker import WorkController
    from celery.worker.consumer import Consumer

    from worker.runtime.container import Container

__all__ = [
    "GracefulShutdown", "ListeningStep", "Preflight", "exit_with_error", "port_error", "start_error",
]  # fmt: skip

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.05


def start_error(problem: object) -> str:
    """Return what a worker says that does not start."""
    return f"aquilax-feedback: the worker does not start: {problem}"


def port_error(purpose: str, host: str, port: int | None, error: OSError) -> str:
    """Return what a worker says that can't listen on the port of a purpose, which its settings name."""
    problem = f"{purpose.lower()} can't be served on {host} port {port}: {error.strerror or error}"
    fix = f"give FEEDBACK_{purpose}_PORT one that is free (each worker of a machine its own)"
    return start_error(f"{problem}: {fix}, FEEDBACK_{purpose}_HOST an address of this machine")


def exit_with_error(consumer: Consumer, problem: str) -> None:
    """End a worker that starts; one that had begun before goes on, and tells."""
    if consumer.restart_count > 1:
        log.critical("%s", problem)
    else:
        sys.stderr.write(f"{start_error(problem)}\n")
        raise WorkerShutdown(1)


class Preflight(bootsteps.Step):
    """A worker that can't do its work refuses to start, and says what to run."""

    def create(self, worker: WorkController) -> None:
        """Check the settings and the database."""
        for name, advice in unknown_settings(given_variables()):
            log.warning("%s is set, and no setting: %s", name, advice)
        if worker.autoscale and issubclass(worker.pool_cls, SoloPool):
            raise SystemExit(
                start_error("the pool solo has one place: start it without --autoscale, or without -P solo")
            )
        # Not in the app's own configuration: Flower and `celery inspect` are no workers.
        worker.app.conf.broker_transport_options["node"] = worker.hostname
        container = container_of(worker.app)
        container.node = worker.hostname
        self._check(container)

    @staticmethod
    def _check(container: Container) -> None:
        settings = container.settings
        try:
            if settings.aquilax_keys_file is None:
                settings.require_api_key()
            _ = container.keys
            with checked_engine(settings.feedback_database_url.get_secret_value()):
                pass
        except (SettingsError, SchemaError, DatabaseUnusable) as error:
            raise SystemExit(start_error(error)) from None
        except DeadLetterStoreUnavailable as error:
            log.warning(
                "the dead-letter database is unavailable, so its schema is not checked; events that die wait: %s", error
            )


class ListeningStep(bootsteps.StartStopStep):
    """A step that listens on a port, from its creation on; in the worker's process, and in none of its pool's."""

    requires = (Preflight,)
    _server: BaseServer | None = None

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._listens = os.getpid()
        worker_process_init.connect(self._leave_to_parent)

    def start(self, worker: WorkController) -> None:
        """Nothing more: it listens already, or the worker would not have come this far."""

    def _leave_to_parent(self, **_: object) -> None:
        """In a process of the pool: a port that it kept open would be in use when the worker is started again."""
        if self._server is not None and os.getpid() != self._listens:  # the solo pool sends the signal in its parent
            self._server.server_close()


class GracefulShutdown(bootsteps.StartStopStep):
    """How a worker stops: nothing new is begun, what was not begun goes back at once, what runs has a deadline.

    Celery's warm shutdown has none. A second SIGTERM ends the wait, as the deadline does. Whatever hangs meanwhile, the
    process ends `MARGIN` after it (`worker.concurrency.shutdown_deadline`).
    """

    # It stops before what it requires, which in other respects Celery orders by chance: these answer while it waits.
    _answer = ("worker.runtime.metrics_server:MetricsServer", "worker.runtime.probe_server:Probes")
    requires = ("celery.worker.components:Pool", *_answer)

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._patience: timedelta = container_of(worker.app).settings.feedback_shutdown_timeout
        self._deadline = ShutdownDeadline(
            lambda: _left_behind(container_of(worker.app)), before_exit=lambda: _tidy_up(worker)
        )
        self._asked_to_stop = 0
        worker_shutting_down.connect(self._asked)
        worker_shutdown.connect(self._stopped)

    def start(self, worker: WorkController) -> None:
        """Nothing more: it hears already how often the worker is asked to stop."""

    def _asked(self, how: str = "", **_: object) -> None:
        """Begin to count; in the handler of the signal. What is to end at once is not waited for."""
        self._asked_to_stop += 1
        wait = how != "Cold" and self._asked_to_stop == 1
        self._deadline.begin(MARGIN + (self._patience.total_seconds() if wait else 0))

    def _stopped(self, sender: object = None, **_: object) -> None:
        """Count no more, if the worker was a part of another program, which lives on."""
        if not isinstance(sender, WorkerProgram):
            self._deadline.call_off()

    def close(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """Begin to count, where no signal has stopped the worker but a command, or a fault."""
        self._deadline.begin(MARGIN + self._patience.total_seconds())

    def stop(self, worker: WorkController) -> None:
        """Let what runs end. By now Celery has stopped consuming."""
        if not isinstance(worker.pool, TaskPool):
            return  # the other pools of Celery stop in their own ways; what they leave goes back as the channel closes
        container_of(worker.app).stop_waiting()
        _requeue_unstarted(worker, keep=worker.pool.drop_unstarted())
        while running := worker.pool.drop_unstarted():
            if self._deadline.left <= MARGIN or self._asked_to_stop > 1:
                _leave(worker, running)
            time.sleep(_LOOK_EVERY)

    def terminate(self, worker: WorkController) -> None:
        """Let nothing end: everything goes back."""
        if isinstance(worker.pool, TaskPool) and (running := worker.pool.drop_unstarted()):
            _leave(worker, running)


def _requeue_unstarted(worker: WorkController, *, keep: Collection[str]) -> None:
    consumer = worker.consumer.task_consumer
    if consumer is not None and consumer.channel is not None:
        consumer.channel.let_go(keep)


def _leave(worker: WorkController, running: Collection[str]) -> Never:
    """End the process although threads are at work: Python itself would wait for them."""
    log.warning("%d tasks are still running: their messages go back to the queue", len(running))
    _requeue_unstarted(worker, keep=())
    state.should_stop = True
    container_of(worker.app).end_history()
    _tidy_up(worker)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(os.EX_OK)


def _left_behind(parts: Container) -> str:
    """What a worker says that ends although it has not finished leaving."""
    held = sum(lease.held for lease in parts.leases.in_use)
    return (
        f"the time to stop is over (FEEDBACK_SHUTDOWN_TIMEOUT and {MARGIN:g} s), and something still hangs: "
        f"the process ends now; {held} messages that it holds go back to the queue when its lease ends, "
        f"within {parts.settings.feedback_lease.total_seconds():g} s of Redis being there"
    )


def _tidy_up(worker: WorkController) -> None:
    """Leave no process and no file behind that only Python's own end would take away."""
    for child in active_children():  # of a pool of processes, each with a message that goes back
        if child.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
    if worker.pidlock:
        worker.pidlock.release()
