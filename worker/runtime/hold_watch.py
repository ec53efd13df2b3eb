"""The hold, as a worker sees it, and shows it to Celery's remote control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from celery import bootsteps
from celery.worker.control import inspect_command

from worker.broker.channel import default_channel
from worker.delivery.hold import Hold, HoldKind
from worker.delivery.org_holds import read_org_holds
from worker.runtime.broker_check import BrokerCheck
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.utils.collections import AttributeDict
    from celery.worker.consumer import Consumer

__all__ = ["HoldWatch", "feedback_hold", "shown_hold"]


class HoldWatch(bootsteps.StartStopStep):
    """The hold, as a worker sees it: it tries at once whether a hold can end, and shows one in ``inspect stats``."""

    requires = (BrokerCheck,)
    _tried = False

    def start(self, consumer: Consumer) -> None:
        """Let the next probe be sent at once: this worker may have another key, or another URL."""
        hold = _hold(consumer)
        if not self._tried:  # once, and not whenever Redis was unavailable
            hold.probe_soon()
            self._tried = True
        if (state := hold.state()) is not None:
            announcer = container_of(consumer.app).announcer
            announcer.held(state.comment, by_hand=state.kind is HoldKind.OPERATOR)

    def info(self, consumer: Consumer) -> dict[str, Any]:
        """What ``celery inspect stats`` shows, and Flower's page of the worker."""
        return {"feedback_hold": shown_hold(consumer)}


def shown_hold(consumer: Consumer) -> dict[str, Any] | str:
    """The hold as a worker shows it: its fields; or a text, if there is none or it is not known.

    Holds of single orgs are in ``orgs``; where they are the only ones, there is no other field.
    """
    try:
        state = _hold(consumer).state()
        orgs = [hold.as_dict() for hold in read_org_holds(default_channel(consumer.connection).scripting())]
    except (redis.RedisError, AttributeError):  # the connection is being made again
        return "unknown: Redis is unavailable"
    if state is None and not orgs:
        return "none"
    return ({} if state is None else state.as_dict()) | ({"orgs": orgs} if orgs else {})


def _hold(consumer: Consumer) -> Hold:
    return Hold(default_channel(consumer.connection).scripting(), actor=consumer.hostname)


@inspect_command()
def feedback_hold(state: AttributeDict) -> dict[str, Any] | str:
    """Whether delivery is held, and why."""
    return shown_hold(state.consumer)
