"""Several observers are told as one, and none of them can stop a delivery."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from producer import FeedbackEvent
from worker.delivery.hooks import NO_HOOKS, HookChain
from worker.policy.classification import Classification, Response
from worker.policy.envelope import Envelope
from worker.policy.message import Message
from worker.policy.result import Completed

if TYPE_CHECKING:
    import pytest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
)
MESSAGE = Message(event=EVENT, envelope=Envelope(enqueued_at=NOON, message_id="m1"))


class Listener:
    """Writes down what it hears; an observer, and its own attempt."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self._name = name
        self._heard = heard

    def __getattr__(self, called: str) -> Any:
        def hear(*_: object) -> Listener:
            self._heard.append(f"{self._name} {called}")
            return self

        return hear


class Broken:
    """Fails whatever it hears: at the beginning of an attempt, or only later."""

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once

    def began(self, _message: object) -> Any:
        """See `Hooks`."""
        if self._at_once:
            raise RuntimeError("broken")
        return self

    def responded(self, *_: object) -> None:
        """See `AttemptHooks`."""
        raise RuntimeError("broken")

    ended = hold_begun = responded


def one_turn(hooks: Any) -> None:
    """Let an observer see a delivery from its beginning to its end."""
    attempt = hooks.began(MESSAGE)
    attempt.responded(Response(status=200), Classification.DELIVERED)
    attempt.ended(Completed(summary="delivered"))


def test_all_are_told_and_the_first_to_hear_of_a_beginning_hears_last_of_its_end() -> None:
    """As the inner one of two `with` blocks ends first."""
    heard: list[str] = []
    observers = HookChain(Listener("a", heard), Listener("b", heard))

    one_turn(observers)
    observers.hold_begun("breaker")

    assert heard == [
        *("a began", "b began", "a responded", "b responded", "b ended", "a ended"),
        *("a hold_begun", "b hold_begun"),
    ]


def test_one_that_fails_stops_neither_the_delivery_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """And fills no log."""
    heard: list[str] = []
    observers = HookChain(Broken(at_once=True), Broken(at_once=False), Listener("a", heard))

    for _ in range(3):
        one_turn(observers)
        observers.hold_begun("breaker")

    assert heard == ["a began", "a responded", "a ended", "a hold_begun"] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "said once" in caplog.text


def test_nobody_may_listen() -> None:
    """A delivery always has a hook to call."""
    one_turn(NO_HOOKS)
    NO_HOOKS.hold_begun("breaker")
