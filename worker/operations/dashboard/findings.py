"""What the doctor finds, for the Overview: examined on threads of its own, and shown as it was found last.

No page and no loop waits for it: a page shows what there is, and has it examined again if that is old.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from worker.app import create_app
from worker.operations.doctor.examination import THREADS, examine_shared
from worker.operations.doctor.finding import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from worker.operations.doctor.examination import Examination
    from worker.operations.doctor.finding import Finding
    from worker.settings import Settings

__all__ = ["Doctor", "ExaminationResult"]

log = logging.getLogger(__name__)

_FRESH: Final = 30.0
"""Seconds for which one examination serves."""

_PATIENCE: Final = 12.0
"""Seconds that one may take."""

_MOST_THREADS: Final = 12
"""Looks that may hang at once, in a server that takes no time limit: with more of them nothing is examined again."""

_SHOWN_OTHERWISE: Final = frozenset({"hold", "org hold"})
"""Checks of which the page tells more itself, and sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminationResult:
    """What was found last.

    Attributes:
        findings: What is red, and then what is yellow.
        at: When; None if nothing was examined yet.
    """

    findings: tuple[Finding, ...] = ()
    at: datetime | None = None

    def banners(self, *, but: Collection[str] = ()) -> list[Finding]:
        """Return what the page does not show otherwise.

        Args:
            but: The checks that it shows just now.
        """
        return [one for one in self.findings if one.check not in _SHOWN_OTHERWISE and one.check not in but]

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "at": None if self.at is None else self.at.isoformat(),
            "findings": [asdict(finding) for finding in self.findings],
        }


class Doctor:
    """Examines what is shared, when a page is asked for; safe for many threads.

    Args:
        settings: Where Redis and the database are.
        examine: Examines them.
        monotonic: What tells how old an examination is.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        examine: Callable[[], Examination] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._examine = examine or self._examine_shared
        self._monotonic = monotonic
        self._found = ExaminationResult()
        self._found_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._one_at_a_time = threading.Lock()
        self._app: Any = None

    def found(self) -> ExaminationResult:
        """Return what was found last, at once; if that is old, it is examined again meanwhile."""
        with self._one_at_a_time:
            is_old = self._monotonic() - self._found_at >= _FRESH
            if is_old and (self._thread is None or not self._thread.is_alive()) and _may_begin():
                self._thread = threading.Thread(target=self._run, name="dashboard-doctor", daemon=True)
                self._thread.start()
            return self._found

    def _run(self) -> None:
        try:
            examination = self._examine()
        except Exception:
            log.exception("the Overview's examination failed")
            examination = None
        with self._one_at_a_time:
            self._found_at = self._monotonic()
            if examination is not None:
                worst = {Level.RED: 0, Level.YELLOW: 1}
                bad = [finding for finding in examination.findings if finding.level in worst]
                self._found = ExaminationResult(
                    findings=tuple(sorted(bad, key=lambda finding: worst[finding.level])), at=datetime.now(UTC)
                )

    def _examine_shared(self) -> Examination:
        if self._app is None:  # not Flower's own: its loop sends on that one
            self._app = create_app(self._settings)
        return examine_shared(self._settings, self._app, patience=_PATIENCE)


def _may_begin() -> bool:
    return sum(thread.name.startswith(THREADS) for thread in threading.enumerate()) < _MOST_THREADS
