"""Hooks: what a log, metrics and a trace are told of a delivery while it goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.policy.classification import Classification, Response
    from worker.policy.message import Message, PoisonMessage
    from worker.policy.result import DeliveryResult

__all__ = ["NO_HOOKS", "AttemptHooks", "HookChain", "Hooks"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class AttemptHooks(Protocol):
    """Hears of one attempt of one message, from one thread."""

    def responded(self, response: Response, classification: Classification) -> None:
        """AquilaX has responded, or has not in time; not called if nothing was sent."""

    def ended(self, ending: DeliveryResult) -> None:
        """The attempt is over; called once."""


class Hooks(Protocol):
    """Hears of what one worker process does; safe for many threads."""

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:
        """A message was taken in flight."""

    def hold_begun(self, kind: str) -> None:
        """This process has found out that nothing can be sent, and holds everything."""


class _Unobserved:
    """Hooks that do nothing, for the process and for each attempt."""

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:  # noqa: ARG002 - the signature is the protocol's
        return self

    def hold_begun(self, kind: str) -> None:
        pass

    def responded(self, response: Response, classification: Classification) -> None:
        pass

    def ended(self, ending: DeliveryResult) -> None:
        pass


NO_HOOKS: Final = _Unobserved()
"""No hooks."""


class HookChain:
    """Several observers as one. What goes wrong in one of them is no fault of the event, and stops nothing.

    Args:
        observers: Who is told, in this order; of an attempt's end in the opposite one.
    """

    def __init__(self, *observers: Hooks) -> None:
        self._observers = observers
        self._complained = False

    def and_also(self, hooks: Hooks) -> HookChain:
        """Return these and one more."""
        return HookChain(*self._observers, hooks)

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:
        """See `Hooks`."""
        attempts = [self.tell(hooks.began, message) for hooks in self._observers]
        return _Attempts(self, [one for one in attempts if one is not None and one is not NO_HOOKS])

    def hold_begun(self, kind: str) -> None:
        """See `Hooks`."""
        for hooks in self._observers:
            self.tell(hooks.hold_begun, kind)

    def tell(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call one of them; return None if that fails, which is logged once."""
        try:
            return call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - `failed` logs it
            self.failed(error)
            return None

    def failed(self, error: Exception) -> None:
        """Log a failure of one of them, once."""
        if not self._complained:
            self._complained = True
            text = "a fault of ours in what observes deliveries; they go on, and this is said once"
            log.error(text, exc_info=error)


class _Attempts:
    """One attempt, for several observers. It calls them itself: to hand on any arguments costs more than most."""

    __slots__ = ("_attempts", "_observers")

    def __init__(self, observers: HookChain, attempts: list[AttemptHooks]) -> None:
        self._observers = observers
        self._attempts = attempts

    def responded(self, response: Response, classification: Classification) -> None:
        for attempt in self._attempts:
            try:
                attempt.responded(response, classification)
            except Exception as error:  # noqa: BLE001 - `failed` logs it, and the others are told
                self._observers.failed(error)

    def ended(self, ending: DeliveryResult) -> None:
        for attempt in reversed(self._attempts):
            try:
                attempt.ended(ending)
            except Exception as error:  # noqa: BLE001 - `failed` logs it, and the others are told
                self._observers.failed(error)
