"""What the demo takes for the number of presses, so that its books can balance."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from rich.console import Console

from worker.clients.redis.keys import CountField
from worker.sandbox.backends import Backends
from worker.sandbox.demo import Demo

if TYPE_CHECKING:
    from pathlib import Path

    from worker.delivery.idempotency import IdempotencyStore
    from worker.sandbox.stack import LocalStack


class _Counted:
    """A dedup store that has counted so many accepted messages."""

    def __init__(self, accepted: int) -> None:
        self._accepted = accepted

    def counts(self) -> dict[CountField, int]:
        return dict.fromkeys(CountField, 0) | {CountField.ACCEPTED: self._accepted}


@pytest.mark.parametrize(("counted", "expected"), [(3, 4), (4, 4), (5, 5)], ids=["in the spool", "all", "one twice"])
def test_a_press_that_redis_took_without_saying_so_is_counted_twice(
    counted: int, expected: int, tmp_path: Path
) -> None:
    """It went to the spool too: both of its messages end, and the demo would wait for a balance that never comes."""
    demo = Demo(stack=cast("LocalStack", None), console=Console())
    demo.backends = Backends(url="redis://127.0.0.1:1/0", spool=tmp_path / "spool", events=[])
    demo.backends._accepted.append(4)

    assert demo._accepted(cast("IdempotencyStore", _Counted(counted))) == expected
    assert demo.backends.spooled == 0  # though no backend has made it yet
