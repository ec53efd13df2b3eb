"""Remote control in a Redis that other Celery applications may use too, and whose replies are given up in time.

Control commands, and events, have exchanges of their own. So what is said to all workers is said to ours alone: workers
of other applications neither hear it nor count among those that answer. A command that names its workers
(``-d other@host``) goes to Celery's shared exchange as well, and reaches them whatever application they are of.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

import kombu.pidbox
from celery.app import control
from kombu import uuid

from producer.message import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Connection, Exchange

__all__ = ["CONTROL_EXCHANGE", "EVENT_EXCHANGE", "Control", "Mailbox"]

CONTROL_EXCHANGE: Final = QUEUE
EVENT_EXCHANGE: Final = f"{QUEUE}.events"

_SHARED: Final = "celery"
"""The control exchange of an application that sets none."""

_READ_WITHIN: Final = 0.25
"""Seconds for the next of several replies, which stand in Redis already."""

_BRIEFLY: Final = {"max_retries": 1, "interval_start": 0.2}
"""Kombu would try for ever, in the thread that runs the consumer: a worker that is told to stop meanwhile never would.
Once it has given up it reconnects as after any other lost connection, and who asked asks again."""


class Mailbox(kombu.pidbox.Mailbox):
    """Kombu's, but a reply is tried twice, and what is addressed goes to the shared exchange too."""

    exchange: Exchange

    def _publish_reply(self, *args: Any, **options: Any) -> None:
        super()._publish_reply(*args, retry_policy=_BRIEFLY, **options)

    def _publish(
        self,
        type: str,  # noqa: A002 - the name is Kombu's
        arguments: dict[str, Any],
        destination: list[str] | None = None,
        *args: Any,
        **options: Any,
    ) -> None:
        super()._publish(type, arguments, destination, *args, **options)
        if destination and self.exchange.name != self.exchange_fmt % _SHARED:
            own, self.exchange = self.exchange, self._get_exchange(_SHARED, self.type)
            try:  # not on a copy, which would listen for its replies elsewhere
                super()._publish(type, arguments, destination, *args, **options)
            finally:
                self.exchange = own

    def shared(self) -> Mailbox:
        """The same mailbox on the shared exchange, where workers of other applications listen, and none of ours."""
        other = copy(self)
        other.exchange = self._get_exchange(_SHARED, self.type)
        return other


class Control(control.Control):
    """Celery's, with that mailbox."""

    Mailbox = Mailbox

    def ask_others(self, command: str, *, connection: Connection, within: float) -> Callable[[], list[dict[str, Any]]]:
        """Ask workers of other applications a question that every Celery worker knows.

        Args:
            command: The question: an ``inspect`` command without arguments, which changes nothing.
            connection: The broker.
            within: Seconds after which a worker need not answer any more.

        Returns:
            What reads the replies that came until it is called; so other things can be done meanwhile.
        """
        box: Mailbox = self.mailbox.shared()(connection)
        ticket = uuid()
        box._publish(command, {}, reply_ticket=ticket, timeout=within)  # noqa: SLF001 - Celery itself uses it so
        return lambda: box._collect(ticket, timeout=_READ_WITHIN) or []  # noqa: SLF001 - likewise
