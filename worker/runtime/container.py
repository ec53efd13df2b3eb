"""What the parts of Celery's worker need of this application: its container, made by `worker.app.create_app`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from datetime import datetime

    from celery import Celery

    from worker.concurrency.file_descriptors import Room
    from worker.dead_letters.replays.advancer import Advancer
    from worker.delivery.hold import Announcer
    from worker.delivery.hooks import HookChain, Hooks
    from worker.delivery.revocations import Revocations
    from worker.settings import Settings

__all__ = ["ProcessContainer", "container_of"]


class ProcessContainer(Protocol):
    """The parts of one worker process; see `worker.app`."""

    settings: Settings
    announcer: Announcer
    revocations: Revocations
    hooks: HookChain

    @property
    def room(self) -> Room | None:
        """How many deliveries have file descriptors, if fewer than the settings allow."""

    def now(self) -> datetime:
        """Return the time, by Redis' clock where this process delivers."""

    def observe(self, hooks: Hooks, /) -> None:
        """Add hooks, before the first delivery."""

    def make_advancer(self) -> Advancer:
        """Return an advancer with connections of its own; the caller closes it."""


class _Application(Protocol):
    feedback: ProcessContainer


def container_of(app: Celery) -> ProcessContainer:
    """Return the container of an app that `worker.app.create_app` has made."""
    return cast("_Application", app).feedback
