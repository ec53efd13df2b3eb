"""``revoke``, ``terminate`` and ``revoke_by_stamped_headers``, for feedback: what waits is hit, and nothing later.

For the tasks of others that share the worker they are Celery's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from celery import bootsteps
from celery.utils.functional import maybe_list
from celery.worker import control
from celery.worker import state as worker_state

from producer.message import QUEUE
from worker.broker.channel import default_channel
from worker.delivery.revocations import Searched, criteria_of_ids, criteria_of_stamps
from worker.runtime.broker_check import BrokerCheck
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from celery.utils.collections import AttributeDict
    from celery.worker.consumer import Consumer


__all__ = ["KnowRevocations", "revoke", "revoke_by_stamped_headers", "terminate"]

_celerys_stamps = control.revoke_by_stamped_headers


class KnowRevocations(bootsteps.StartStopStep):
    """What was revoked before this worker came, or while it had lost Redis."""

    requires = (BrokerCheck,)

    def start(self, consumer: Consumer) -> None:
        """Read it from Redis."""
        channels = default_channel(consumer.connection).channels_of(QUEUE)
        container_of(consumer.app).revocations.connect(
            Searched(channel.scripting, channel.keys) for channel in channels
        )


@control.control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: AttributeDict,
    task_id: str | list[str],
    terminate: bool = False,  # noqa: ARG001 - the signature is Celery's
    signal: str | None = None,  # noqa: ARG001 - likewise
    **_: object,
) -> dict[str, Any]:
    """Revoke task by task id (or list of ids).

    What is being sent to AquilaX can't be taken back, so ``terminate`` stops nothing that runs.
    """
    task_ids = [str(name) for name in maybe_list(task_id) or []]
    if problem := _revoke(state, criteria_of_ids(task_ids)):
        return problem
    worker_state.revoked.update(task_ids)
    return dict(control.ok(f"tasks {set(task_ids)} flagged as revoked"))


@control.control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: AttributeDict, signal: str | None, task_id: str | list[str], **_: object) -> dict[str, Any]:
    """Revoke task by task id (or list of ids); what runs is not stopped."""
    return dict(revoke(state, task_id, terminate=True, signal=signal))


@control.control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(
    state: AttributeDict,
    headers: dict[str, str] | list[str],
    terminate: bool = False,
    signal: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Revoke task by header (or list of headers)."""
    if isinstance(headers, list):
        headers = dict(header.split("=", 1) for header in headers)
    if problem := _revoke(state, criteria_of_stamps(headers)):
        return problem
    return dict(_celerys_stamps(state, headers, terminate, signal))


def _revoke(state: AttributeDict, criteria: list[str]) -> dict[str, Any] | None:
    """Revoke feedback; return what is wrong if that failed."""
    revocations = container_of(state.app).revocations

    def tell(task_ids: Collection[str]) -> None:
        events = state.consumer.event_dispatcher
        for task_id in task_ids if events and events.enabled else ():
            events.send("task-revoked", uuid=task_id, terminated=False, signum=None, expired=False)

    try:
        revocations.revoke(criteria, on_ended=tell)
    except redis.RedisError as error:
        return dict(control.nok(f"not revoked: Redis: {error}"))
    return None
