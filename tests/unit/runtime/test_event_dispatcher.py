"""What monitors are told goes together, and says what Celery says."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.events.dispatcher import EventDispatcher as CeleryDispatcher

from worker.runtime.event_dispatcher import EventDispatcher

if TYPE_CHECKING:
    from collections.abc import Callable


class Producer:
    """Takes what is published, or is unavailable."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []
        self.away = False

    def publish(self, event: Any, *, routing_key: str, content_type: str | None = None, **_: Any) -> None:
        """Take it; what is written already is read."""
        if self.away:
            raise OSError("away")
        self.published.append((routing_key, json.loads(event) if content_type == "application/json" else event))


@pytest.fixture
def dispatcher() -> Callable[..., Any]:
    """Makes a dispatcher of a kind, which publishes to a `Producer`."""

    def make(kind: type[CeleryDispatcher] = EventDispatcher, **options: Any) -> Any:
        app = Celery(broker="memory://", set_as_current=False)
        made = kind(app.connection_for_write(), app=app, hostname="h", buffer_group=["task"], **options)
        made.producer = Producer()
        return made

    return make


def test_nothing_is_published_before_it_is_time(dispatcher: Callable[..., Any]) -> None:
    """Then all at once, each with what Celery's own would have, and the clock going forward."""
    ours, celerys = dispatcher(buffer_limit=10), dispatcher(CeleryDispatcher, buffer_limit=10)
    for each in (ours, celerys):
        each.send("task-received", uuid="1", name="t")
        each.send("task-succeeded", uuid="1", result="ok")
        assert not each.producer.published
        each.flush()

    ((route, events),) = ours.producer.published
    ((celerys_route, celerys_events),) = celerys.producer.published
    assert route == celerys_route
    assert [event | {"timestamp": 0} for event in events] == [event | {"timestamp": 0} for event in celerys_events]
    assert all(isinstance(event["timestamp"], float) for event in events)


@pytest.mark.parametrize(
    "told", [object(), 10**30, "\ud800"], ids=["an object", "a number that is too large", "half a character"]
)
def test_what_the_fast_way_can_not_write_goes_celerys_way(dispatcher: Callable[..., Any], told: object) -> None:
    """It is Kombu that decides what can be told."""
    ours = dispatcher()
    ours.send("task-succeeded", uuid="1", result=told)
    ours.flush()

    ((_, (event,)),) = ours.producer.published
    assert event["result"] == told


def test_much_is_published_at_once(dispatcher: Callable[..., Any]) -> None:
    """Without waiting for the time."""
    ours = dispatcher(buffer_limit=2)
    ours.send("task-started", uuid="1")
    ours.send("task-started", uuid="2")

    assert [event["uuid"] for event in ours.producer.published[0][1]] == ["1", "2"]


def test_a_workers_heartbeat_goes_at_once(dispatcher: Callable[..., Any]) -> None:
    """It is no task's."""
    ours = dispatcher()
    ours.send("worker-heartbeat", freq=2)

    assert [route for route, _ in ours.producer.published] == ["worker.heartbeat"]


@pytest.mark.parametrize("options", [{"enabled": False}, {"groups": ["worker"]}], ids=["off", "other groups"])
def test_nothing_is_kept_that_no_monitor_asked_for(dispatcher: Callable[..., Any], options: dict[str, Any]) -> None:
    """As with ``--without-task-events``."""
    ours = dispatcher(**options)
    ours.producer = Producer()
    ours.send("task-started", uuid="1")
    ours.flush()

    assert not ours.producer.published
    assert not ours._group_buffer["task"]


def test_what_could_not_be_published_is_published_later(dispatcher: Callable[..., Any]) -> None:
    """Once, and as it was."""
    ours = dispatcher()
    ours.producer.away = True
    ours.send("task-started", uuid="1")
    ours.flush()
    ours.producer.away = False
    ours.flush()
    ours.flush()

    ((route, (event,)),) = ours.producer.published
    assert (route, event["uuid"], event["hostname"]) == ("task.multi", "1", "h")


def test_no_event_of_many_threads_is_lost_or_told_twice(dispatcher: Callable[..., Any]) -> None:
    """They send while others publish."""
    ours = dispatcher(buffer_limit=7)

    def send(thread: int) -> None:
        for number in range(500):
            ours.send("task-started", uuid=f"{thread}-{number}")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ours.flush()

    told = [event for _, events in ours.producer.published for event in events]
    assert len({event["uuid"] for event in told}) == len(told) == 2000
    assert len({event["clock"] for event in told}) == 2000
