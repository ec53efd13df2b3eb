"""Celery's request, read once: the task is told the same, and monitors see what a client left out."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery
from celery.app.task import Context
from celery.worker import state
from celery.worker.request import Request as CeleryRequest
from celery.worker.request import create_request_cls
from kombu.message import Message

from worker.runtime.request import TaskRequest, without_revoked

_BODY = [["a"], {"request_id": "r", "status": True}, {"callbacks": None, "chain": None}]


@pytest.fixture
def app() -> Celery:
    """An app with one task, told of which things are compared."""
    app = Celery(set_as_current=False)

    def nothing(*_: Any, **__: Any) -> None:
        pass

    app.task(nothing, name="t", shared=False)
    app.finalize()
    return app


def message(*, body: str | None = None, **headers: Any) -> Message:
    """A message for that task."""
    return Message(
        body=json.dumps(_BODY) if body is None else body,
        delivery_tag="d",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "t", "id": "i", **headers},
        delivery_info={"exchange": "", "routing_key": "q"},
        properties={"delivery_tag": "d"},
        accept={"application/json"},
    )


def as_told(request: Any) -> dict[str, Any]:
    """What the task is told of its message."""
    found = vars(Context(request.request_dict))
    return {name: value for name, value in found.items() if name not in {"argsrepr", "kwargsrepr"}}


@pytest.mark.parametrize(
    "headers",
    [{}, {"feedback": {"v": 2}, "traceparent": "00"}, {"headers": {"x": 1}}, {"lang": "py", "eta": None, "retries": 3}],
    ids=["none", "ours", "foreign", "Celery's"],
)
def test_the_task_is_told_what_celery_tells(app: Celery, headers: dict[str, Any]) -> None:
    """Its own headers, above all."""
    assert as_told(TaskRequest(message(**headers), app=app)) == as_told(CeleryRequest(message(**headers), app=app))


def test_the_body_is_not_decoded_again(app: Celery) -> None:
    """The pool gets what was read, and no content type to decode it by."""
    request = TaskRequest(message(), app=app)

    assert (request.body, request.content_type, request.content_encoding) == (_BODY, None, None)


def test_arguments_without_a_repr_of_the_client_are_shown(app: Celery) -> None:
    """A client need not send them twice."""
    shown = TaskRequest(message(), app=app)
    given = TaskRequest(message(argsrepr="()", kwargsrepr="{…}"), app=app)

    assert (shown.argsrepr, shown.kwargsrepr) == ("('a',)", "{'request_id': 'r', 'status': True}")
    assert (given.argsrepr, given.kwargsrepr) == ("()", "{…}")


@pytest.fixture
def revoked(app: Celery, monkeypatch: pytest.MonkeyPatch) -> TaskRequest:
    """A request whose message is revoked."""
    revocations = SimpleNamespace(hit=lambda task_id, _, identity: (task_id, identity) == ("i", "first"))
    monkeypatch.setattr(app, "feedback", SimpleNamespace(revocations=revocations), raising=False)
    received = message(feedback={"message_id": "first"})
    received.channel = Mock(no_ack_consumers=None)
    return TaskRequest(received, app=app, eventer=Mock(enabled=True), on_ack=Mock())


def test_a_revoked_message_ends_once_and_is_counted_as_such(revoked: TaskRequest) -> None:
    """By the identity that it had when it was first handed out; monitors are told."""
    assert revoked.revoked()
    assert revoked.revoked()

    revoked._message.channel.qos.ack.assert_called_once_with("d", "revoked")
    revoked._on_ack.assert_not_called()
    (event,) = [call.args[0] for call in revoked._eventer.send.call_args_list]
    assert event == "task-revoked"


@pytest.mark.parametrize("accepts", ["the request", "another function"])
def test_what_was_revoked_while_it_waited_for_a_slot_does_not_begin(revoked: TaskRequest, accepts: str) -> None:
    """What Celery calls back when a task begins is a method of its request."""
    begun = Mock()

    without_revoked(begun, revoked.on_accepted if accepts == "the request" else print)

    assert begun.called is (accepts == "another function")


def test_what_runs_is_not_terminated(revoked: TaskRequest) -> None:
    """AquilaX may have it: it is not said to be revoked, and the pool is not asked."""
    revoked.time_start = 1
    pool = Mock()

    revoked.terminate(pool, signal="KILL")

    assert not pool.mock_calls
    assert not revoked._eventer.send.called


@pytest.mark.parametrize("body", ["[1, 2]", "{}", "null"])
def test_a_body_that_is_none_is_refused_as_before(app: Celery, body: str) -> None:
    """With an error that the consumer takes for what it is."""
    with pytest.raises((TypeError, ValueError)):
        TaskRequest(message(body=body), app=app)


class Failing:
    """A request of Celery's whose end can't be told."""

    def __init__(self, app: Celery) -> None:
        self.acknowledged: list[bool] = []
        pool: Any = SimpleNamespace(apply_async=None)
        made = create_request_cls(TaskRequest, app.tasks["t"], pool, "here", None, app=app)
        self.request = made(message(), app=app, task=app.tasks["t"], on_ack=lambda *_: self.acknowledged.append(True))

    def fail(self, *_: Any, **__: Any) -> None:
        """Fail, as anything may."""
        raise RuntimeError("a fault")


@pytest.mark.parametrize("how", ["on_success", "on_failure", "on_timeout"])
def test_a_message_ends_also_where_its_end_cant_be_told(app: Celery, how: str) -> None:
    """Else it would be in flight for ever; what the transport does with it is another matter."""
    failing = Failing(app)
    state.task_reserved(failing.request)

    getattr(failing.request, how)("of no kind that Celery knows")

    assert failing.acknowledged == [True]
    assert failing.request not in state.reserved_requests


def test_a_task_runs_also_where_its_beginning_cant_be_told(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Monitors miss an event, and no feedback waits."""
    failing = Failing(app)
    monkeypatch.setattr(type(failing.request), "send_event", failing.fail)

    failing.request.on_accepted(1, 2.0)

    assert failing.request.worker_pid == 1
