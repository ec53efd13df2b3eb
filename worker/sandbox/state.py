"""The sandbox itself: its behaviour, its scripts and what it received, in one place that can be reset."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from worker.sandbox.contract import Ask, decide
from worker.sandbox.received import ReceivedLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.sandbox.faults import Faults
    from worker.sandbox.responses import Answer, ResponseScript

__all__ = ["Sandbox"]


class Sandbox:
    """A local AquilaX, without its HTTP. It belongs to one thread.

    Args:
        key: The key that is accepted.
        behaviour: How it misbehaves from the start, and again after a reset.
        seed: Where chance begins; somewhere else each time if None.
        clock: Seconds that only ever grow; an outage counts by it.
    """

    def __init__(
        self, *, key: str, behaviour: Faults, seed: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._key = key
        self._at_start = behaviour
        self._seed = seed
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Be as at the start: forget what came, drop the scripts, behave as asked for then, draw the same chances."""
        self.received = ReceivedLog()
        self._chance = random.Random(self._seed)  # noqa: S311 - chance decides which requests fail; no secret
        self._scripts: dict[str, tuple[ResponseScript, int]] = {}
        self._asked_for_outage = self._clock()
        self.behaviour = self._at_start

    def behave(self, behaviour: Faults, *, restart_outage: bool) -> None:
        """Misbehave differently from now on.

        Args:
            behaviour: How.
            restart_outage: Whether an outage in it begins to count now; it goes on otherwise.
        """
        self.behaviour = behaviour
        if restart_outage:
            self._asked_for_outage = self._clock()

    def script(self, request_id: str, script: ResponseScript) -> None:
        """Give these answers for one request_id, whatever the behaviour, the key and an outage say."""
        self._scripts[request_id] = (script, 0)

    def drop_scripts(self) -> None:
        """Treat every request_id like any other."""
        self._scripts.clear()

    def answer(self, ask: Ask) -> Answer:
        """Return what a request gets."""
        scripted = self._next_of_script(ask.request_id)
        if scripted is not None:
            return scripted
        elapsed = self._clock() - self._asked_for_outage
        return decide(ask, self.behaviour, key=self._key, elapsed=elapsed, chance=self._chance.random())

    def latency(self) -> float:
        """Draw how many seconds pass before an answer."""
        return self.behaviour.latency + self.behaviour.jitter * self._chance.random()

    def trickles(self) -> bool:
        """Draw whether an answer comes byte by byte."""
        return self._chance.random() < self.behaviour.trickle_rate

    def _next_of_script(self, request_id: str) -> Answer | None:
        if request_id not in self._scripts:
            return None
        script, at = self._scripts.pop(request_id)
        if at + 1 < len(script.answers):
            self._scripts[request_id] = (script, at + 1)
        elif script.repeat_last:
            self._scripts[request_id] = (script, at)
        return script.answers[at]
