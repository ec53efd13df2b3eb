"""Remote control whose replies are given up where Redis is away, instead of keeping the whole worker waiting."""

from __future__ import annotations

from typing import Any, Final

import kombu.pidbox
from celery.app import control

__all__ = ["Control", "Mailbox"]

_BRIEFLY: Final = {"max_retries": 1, "interval_start": 0.2}
"""Kombu would try for ever, in the thread that runs the consumer: a worker that is told to stop meanwhile never would.
Once it has given up it reconnects as after any other lost connection, and who asked asks again."""


class Mailbox(kombu.pidbox.Mailbox):  # type: ignore[misc]  # Kombu is untyped
    """Kombu's, but a reply is tried twice."""

    def _publish_reply(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as Kombu has them
        super()._publish_reply(*args, retry_policy=_BRIEFLY, **options)


class Control(control.Control):  # type: ignore[misc]  # Celery is untyped
    """Celery's, with that mailbox."""

    Mailbox = Mailbox
