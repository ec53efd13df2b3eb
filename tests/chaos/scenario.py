"""What a scenario is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.chaos.run import Run

__all__ = ["Scenario"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way to hurt the system.

    Attributes:
        name: What happens, in a few words.
        play: Does it: starts workers and loads, hurts, fixes. What is queued then is drained by the suite.
        events: How many events; 0 where there are as many as the workers deliver while it lasts.
        short: Whether it is part of the short form.
        short_events: How many events in that form.
        makes: The servers that it is run on, one after the other.
        plain: Whether plain Celery is hurt in the same way, for comparison.
        sandbox_flags: How AquilaX misbehaves from the start.
        server_options: Of Redis.
        environment: More settings.
        patience: Seconds until it must be drained.
        recovers: Seconds from the end of the last fault in which something must be delivered again.
    """

    name: str
    play: Callable[[Run], None]
    events: int = 0
    short: bool = False
    short_events: int = 0
    makes: Sequence[str] = ("valkey",)
    plain: bool = False
    sandbox_flags: Sequence[str] = ("--latency=0.02",)
    server_options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = 120
    recovers: float = math.inf
