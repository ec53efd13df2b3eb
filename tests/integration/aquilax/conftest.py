"""Every test runs in a thread of its own, and under a scheduler; without this machine's proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.aquilax.sending import (
    PROXIES,
    ScheduledAquilaX,
)
from worker.concurrency.gevent_scheduler import GeventScheduler

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates of this machine's environment."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@pytest.fixture(autouse=True, params=["thread", "scheduler"])
def _asked_from(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of this holds in a thread of its own, and under a scheduler."""
    if request.param == "thread":
        yield
        return
    ScheduledAquilaX.scheduler = GeventScheduler(100)
    try:
        yield
    finally:
        ScheduledAquilaX.scheduler.stop()
        ScheduledAquilaX.scheduler = None
