"""A line for each request: its route, client and result; nothing of its query, its other headers or its body."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any, Final

from worker.gateway.exchange import UNKNOWN_CLIENT
from worker.gateway.loop_handler import LoopHandler
from worker.observability.log_lines import formatter
from worker.observability.log_records import quick_record
from worker.observability.outcome_log import trace_id_of
from worker.observability.redaction import Redactor, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.gateway.exchange import Exchange
    from worker.settings import Settings

__all__ = ["AccessLog", "configure_logging"]

log = logging.getLogger(__name__)

_FIELDS: Final = (
    "method", "route", "http_status", "client", "peer", "request_id", "taken", "spooled", "invalid",
    "latency_seconds", "trace_id", "weight",
)  # fmt: skip
"""What a line may say beside its message, in this order."""

_BAD: Final = 400
_FAILED: Final = 500


def configure_logging(settings: Settings) -> None:
    """Let this process log to its standard error, in the format of the settings, and write lines together."""
    handler = LoopHandler()
    redactor = Redactor(secrets_of(settings))
    handler.setFormatter(
        formatter(settings.feedback_log_format, redactor, colour=handler.stream.isatty(), fields=_FIELDS)
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class AccessLog:
    """Writes the lines.

    Args:
        sample: The fraction of them that is written where all went well; see `OutcomeLog`.
        quiet: Routes whose lines are for debugging alone.
        chance: Chance, from 0 to 1.
    """

    def __init__(
        self, *, sample: float, quiet: frozenset[str] = frozenset(), chance: Callable[[], float] = random.random
    ) -> None:
        self._sample = sample
        self._quiet = quiet
        self._chance = chance

    def write(self, exchange: Exchange, status: int) -> None:
        """Write the line of a request that was answered, unless its level is off."""
        level = logging.DEBUG if exchange.route in self._quiet else logging.INFO
        if status >= _FAILED:
            level = logging.WARNING
        if not log.isEnabledFor(level):
            return
        weight = 1.0
        if status < _BAD and self._sample < 1:
            if self._chance() >= self._sample:
                return
            weight = 1 / self._sample
        summary = f"{exchange.method} {exchange.route} {status}"
        record = quick_record(log.name, level, summary, file=__file__, function="write")
        vars(record).update(_known(exchange, status, weight))
        log.handle(record)


def _known(exchange: Exchange, status: int, weight: float) -> dict[str, Any]:
    known: dict[str, Any] = {
        "method": exchange.method,
        "route": exchange.route,
        "http_status": status,
        "latency_seconds": round(exchange.seconds, 4),
    }
    if exchange.client != UNKNOWN_CLIENT:
        known["client"] = exchange.client
    if peer := exchange.peer:
        known["peer"] = peer
    if exchange.request_id:
        known["request_id"] = exchange.request_id
    for name in ("taken", "spooled", "invalid"):
        if number := getattr(exchange, name):
            known[name] = number
    if trace_id := trace_id_of(exchange.header(b"traceparent")):
        known["trace_id"] = trace_id
    if weight != 1:
        known["weight"] = round(weight, 3)
    return known
