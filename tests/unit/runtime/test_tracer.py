"""The tracer of the deliveries tells Celery, and what listens to its signals, as much as Celery's own does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from billiard.einfo import ExceptionWithTraceback
from celery import Celery, signals
from celery.app.trace import build_tracer
from celery.exceptions import Reject

from worker.delivery.tasks import DeadLettered, Waiting
from worker.runtime.tracer import delivery_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEN = datetime(2026, 3, 1, tzinfo=UTC)
ENDINGS: list[BaseException | str] = [
    "delivered",
    DeadLettered("dead letter: rejected 404"),
    Waiting("retry in 12 s", when=WHEN),
    Reject(RuntimeError("Redis is unavailable"), requeue=True),
    RuntimeError("a fault of ours"),
]
SIGNALS = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")


class Scene:
    """A task that ends as it is told, and the signals that it sends."""

    def __init__(self) -> None:
        self.app = Celery("test", broker="memory://", set_as_current=False)
        self.ending: BaseException | str = "delivered"
        self.ran_as: list[Any] = []
        self.sent: list[tuple[str, Any]] = []

        def deliver(task: Any, **kwargs: Any) -> str:
            self.ran_as.append((task.request.id, task.request.headers, kwargs))
            if isinstance(self.ending, BaseException):
                raise self.ending
            return self.ending

        options = {"bind": True, "shared": False, "throws": (DeadLettered,), "ignore_result": True}
        self.app.task(name="feedback.deliver", **options)(deliver)
        self.task = self.app.tasks["feedback.deliver"]
        self.ours = delivery_tracer(self.app, self.task, hostname="a@b")
        self.celerys = build_tracer(self.task.name, self.task, self.app.loader, "a@b", app=self.app)

    def hear(self, name: str) -> Any:
        """Return a receiver that notes its signal, and what it says of the ending."""

        def receive(**said: Any) -> None:
            ending = next((said[key] for key in ("state", "result", "exception", "reason") if key in said), None)
            self.sent.append((name, ending))

        return receive

    def trace(self, tracer: Any, **request: Any) -> Any:
        """Run the task once."""
        told = {"task": self.task.name, "id": "an-id", "headers": {"mine": "x"}, "delivery_info": {}}
        return tracer("an-id", [], {"status": "true"}, told | request)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """With receivers for each of Celery's signals of a task."""
    scene = Scene()
    receivers = {name: scene.hear(name) for name in SIGNALS}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, weak=False)
    yield scene
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)
    scene.app.close()


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: type(ending).__name__)
def test_each_ending_is_told_as_celery_tells_it(scene: Scene, ending: BaseException | str) -> None:
    """Signals in their order; the result, or the exception in the form in which Celery's request expects it."""
    scene.ending = ending
    theirs = scene.trace(scene.celerys)
    signals_of_celery, scene.sent = scene.sent, []

    ours = scene.trace(scene.ours)

    assert scene.sent == signals_of_celery
    assert ours.retstr == theirs.retstr
    assert bool(ours.info) is bool(theirs.info)
    if isinstance(ending, str):
        assert ours.retval == theirs.retval
    else:
        assert ours.info.state == theirs.info.state
        assert unwrapped(ours.retval.exception) is unwrapped(theirs.retval.exception) is ending
    assert scene.ran_as == [("an-id", {"mine": "x"}, {"status": "true"})] * 2
    assert not scene.task.request.id, "the stack of requests is as it was"


def unwrapped(error: Any) -> Any:
    """The exception that billiard may have wrapped."""
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def test_a_retry_is_wrapped_as_celerys_request_unwraps_it(scene: Scene) -> None:
    """It shows `exc_info.exception.exc` in the event for monitors, and must not find the retry's own, which is none."""
    scene.ending = Waiting("retry in 12 s", when=WHEN)

    assert scene.trace(scene.ours).retval.exception.exc is scene.ending


def test_an_expected_ending_copies_no_frame(scene: Scene) -> None:
    """Its traceback is its own line; a fault of ours has the whole one."""
    scene.ending = DeadLettered("dead letter: rejected 404")
    assert scene.trace(scene.ours).retval.traceback == "worker.delivery.tasks.DeadLettered: dead letter: rejected 404"

    scene.ending = RuntimeError("a fault of ours")
    assert "test_tracer.py" in scene.trace(scene.ours).retval.traceback


def test_canvas_is_left_to_celery(scene: Scene) -> None:
    """A message may ask for a task to follow: Celery's tracer publishes it."""
    asked: list[str] = []

    def follow(result: str) -> None:
        asked.append(result)

    follows = scene.app.task(name="follows", shared=False)(follow)
    scene.app.conf.task_always_eager = True

    scene.trace(scene.ours, callbacks=[follows.s()])

    assert asked == ["delivered"]
