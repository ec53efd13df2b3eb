"""The fleet as the pages see it: leases at once, and what the workers answered last, which no page waits for."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import OperationalError

from worker.app import create_app
from worker.operations.dashboard.handler import RequestRefused
from worker.operations.doctor.fleet import ask_fleet
from worker.operations.workers.control import NoReply, WorkerControl
from worker.operations.workers.view import leases_of, view_of_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.operations.dashboard.handler import Handler
    from worker.operations.dashboard.sources import Sources
    from worker.operations.doctor.fleet import Fleet
    from worker.operations.workers.control import Told, WorkerAction
    from worker.operations.workers.view import WorkerView

__all__ = ["FleetView", "FleetWatch", "fleet_of"]

log = logging.getLogger(__name__)

_FRESH: Final = 5.0
"""Seconds for which one answer of the workers serves."""

_OLD: Final = 60.0
"""Seconds after which an answer says nothing any more: it is of the last visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The workers.

    Attributes:
        workers: Each of them, those with something wrong first.
        answered_at: When they were asked; None if they are being asked for the first time.
        unavailable: The numbers of the partitions whose leases can't be told.
    """

    workers: Sequence[WorkerView]
    answered_at: datetime | None
    unavailable: tuple[int, ...]

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "answered_at": None if self.answered_at is None else self.answered_at.isoformat(),
            "workers": [worker.to_record() for worker in self.workers],
            "unavailable_partitions": list(self.unavailable),
        }


class FleetWatch:
    """Asks the workers on a thread when a page looks at them; safe for many threads.

    Args:
        sources: Redis and the database.
        ask: Asks them.
        monotonic: What tells how old an answer is.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        ask: Callable[[], Fleet] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = sources
        self._ask = ask or self._ask_all
        self._monotonic = monotonic
        self._fleet: Fleet | None = None
        self._at: datetime | None = None
        self._asked_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._one_at_a_time = threading.Lock()
        self._one_is_told = threading.Lock()
        self._apps: dict[str, Any] = {}

    def look(self) -> FleetView:
        """Look at the leases, and return them with what the workers answered last.

        Raises:
            redis.RedisError: No partition can be asked.
        """
        held = leases_of(self._sources.partitions())
        with self._one_at_a_time:
            age = self._monotonic() - self._asked_at
            if age >= _FRESH and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="dashboard-fleet", daemon=True)
                self._thread.start()
            fleet, at = (self._fleet, self._at) if age < _OLD else (None, None)
        return FleetView(workers=view_of_workers(held, fleet), answered_at=at, unavailable=held.unavailable)

    def tell(self, name: str, action: WorkerAction, *, comment: str, actor: str, by: int) -> Told:
        """Tell a worker something; see `WorkerControl.tell`. Raises `RequestRefused` if it did not do it."""
        engine = self._sources.engine
        with self._one_is_told:
            control = WorkerControl(app=self._app("tell"), database=lambda: nullcontext(engine()), actor=actor)
            try:
                return control.tell(name, action, comment=comment, by=by)
            except NoReply as error:
                raise RequestRefused(409, str(error)) from None
            except OperationalError:
                raise RequestRefused(503, "Redis is unavailable: the worker was not told") from None
            finally:
                with self._one_at_a_time:
                    self._asked_at = min(self._asked_at, self._monotonic() - _FRESH)  # it is another worker now

    def _run(self) -> None:
        fleet = None
        try:
            fleet = self._ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the leases are shown, and the workers asked again
            log.warning("the workers can't be asked: %s", type(error).__name__)
        with self._one_at_a_time:
            self._asked_at = self._monotonic()
            if fleet is not None:
                self._fleet, self._at = fleet, datetime.now(UTC)

    def _ask_all(self) -> Fleet:
        return ask_fleet(self._app("ask"), leases_of(self._sources.partitions()).alive)

    def _app(self, use: str) -> Any:  # noqa: ANN401 - a Celery app
        """Return an app for one use: not Flower's own, whose loop sends on it, nor that of another thread."""
        if use not in self._apps:
            self._apps[use] = create_app(self._sources.settings)
        return self._apps[use]


def fleet_of(handler: Handler) -> FleetWatch:
    """Return the watch of a handler's Flower: there is one in it."""
    application: Any = handler.application  # which carries it
    if not hasattr(application, "feedback_fleet"):
        application.feedback_fleet = FleetWatch(handler.sources)
    watch: FleetWatch = application.feedback_fleet
    return watch
