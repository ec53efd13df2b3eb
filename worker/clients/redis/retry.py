"""Trying again what failed quickly, and not what took all of the time there was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NO_RETRY", "BoundedRetry"]

_T = TypeVar("_T")

NO_RETRY: Final = Retry(NoBackoff(), 0)
"""One try. To be given to every client that shall not try again: what redis-py does by itself differs by its release
and by how a client is made, ten retries in four seconds at the worst."""


class BoundedRetry(Retry):
    """redis-py's retry, within a budget of time.

    redis-py retries to connect within each try of a command: with 3 retries and a timeout of 5 s a Redis that is frozen
    holds a caller for 80 s. Here the outer retry alone tries again, and it begins no try when the budget is used up.

    Args:
        retries: How often to try again.
        budget: Seconds after which no try begins.
    """

    def __init__(self, *, retries: int, budget: float) -> None:
        self._backoff_between = ExponentialBackoff(cap=1, base=0.05)
        super().__init__(self._backoff_between, retries)
        self._most = retries
        self._budget = budget
        self._ends_at: float | None = None
        """By the monotonic clock; None between calls. Each connection has a copy, and serves one caller at a time."""

    def call_with_retry(
        self,
        do: Callable[[], _T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _T:
        """Do something, again if need be; see redis-py."""
        if nested := self._ends_at is not None:
            ends_at = 0.0  # one try
        else:
            self._ends_at = ends_at = time.monotonic() + self._budget
        failures = 0
        try:
            while True:
                try:
                    return do()
                except self._supported_errors as error:
                    if is_retryable and not is_retryable(error):
                        raise
                    failures += 1
                    fail(error, failures) if with_failure_count else fail(error)
                    if failures > self._most or time.monotonic() >= ends_at:
                        raise
                    time.sleep(self._backoff_between.compute(failures))
        finally:
            if not nested:
                self._ends_at = None
