"""No client tries again for longer than its budget, and none has redis-py's own retries behind it."""

from __future__ import annotations

import ast
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from producer.address import Address
from producer.sentinels import Sentinels
from worker.clients.redis.connections import redis_client
from worker.clients.redis.retry import BoundedRetry

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_MAKES_POOLS = {"Redis", "StrictRedis", "ConnectionPool", "BlockingConnectionPool", "from_url", "Sentinel"}
_SAY_HOW = {"retry", "connection_pool"}
"""A pool that is given knows by itself."""


class _Flaky:
    """Fails a number of times, and takes a time on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, failures: int, takes: float) -> None:
        self.tries = 0
        self._now = 0.0
        self._failures = failures
        self._takes = takes
        monkeypatch.setattr("worker.clients.redis.retry.time.monotonic", lambda: self._now)
        monkeypatch.setattr("worker.clients.redis.retry.time.sleep", lambda _: None)

    def __call__(self) -> str:
        self.tries += 1
        self._now += self._takes
        if self.tries <= self._failures:
            raise redis.TimeoutError
        return "done"


def test_what_fails_quickly_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that restarts refuses for a moment."""
    flaky = _Flaky(monkeypatch, failures=3, takes=0.1)

    assert BoundedRetry(retries=3, budget=5).call_with_retry(flaky, lambda _: None) == "done"


@pytest.mark.parametrize(("failures", "takes", "tries"), [(9, 0.1, 4), (9, 5.0, 1), (9, 3.0, 2)])
def test_no_try_begins_after_the_last_one_or_after_the_budget(
    monkeypatch: pytest.MonkeyPatch, failures: int, takes: float, tries: int
) -> None:
    """A timeout is as long as the budget: there is nothing left to try again in."""
    flaky = _Flaky(monkeypatch, failures=failures, takes=takes)
    failed: list[Exception] = []

    with pytest.raises(redis.TimeoutError):
        BoundedRetry(retries=3, budget=5).call_with_retry(flaky, failed.append)

    assert flaky.tries == tries
    assert len(failed) == tries


def test_a_retry_within_a_retry_tries_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tries of a command, each with four tries to connect, would be sixteen; and it is as good as new after."""
    retry = BoundedRetry(retries=3, budget=5)
    flaky = _Flaky(monkeypatch, failures=99, takes=0.1)
    for _ in range(2):
        flaky.tries = 0
        with pytest.raises(redis.TimeoutError):
            retry.call_with_retry(lambda: retry.call_with_retry(flaky, lambda _: None), lambda _: None)

        assert flaky.tries == 4


@pytest.fixture
def frozen() -> Iterator[tuple[str, socket.socket]]:
    """A server that accepts connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0", server


def test_a_frozen_redis_is_asked_once(frozen: tuple[str, socket.socket]) -> None:
    """With redis-py's own retries it would be sixteen times, each for the whole patience."""
    url, server = frozen
    client = redis_client(url, connections=1, patience=0.2)

    with pytest.raises(redis.TimeoutError):
        client.ping()
    client.close()

    assert len(list(_connections(server))) == 1


def _connections(server: socket.socket) -> Iterator[None]:
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return
        yield


_URLS = (("redis://broker", None), ("sentinel://one;sentinel://two", "mymaster"), ("redis+cluster://one,two", None))


def test_a_producers_connection_tries_once() -> None:
    """Its own budget is a quarter of a second, and its callers try again."""
    for url, master in _URLS:
        address = Address(url, patience=1, sentinel_master=master)
        place, locator = ("broker", 6379), address.locator("key")
        made: list[Any]
        if isinstance(locator, Sentinels):
            made = [locator.sentinel_at(place), locator.redis_at(place)]
        else:
            made = [locator.redis_at(place) if locator else address.connection()]

        assert [connection.retry._retries for connection in made] == [0] * len(made)


def test_every_client_says_how_often_it_tries() -> None:
    """redis-py's default depends on its release and on how a client is made: ten retries in four seconds."""
    silent = [
        f"{path.relative_to(_ROOT)}:{call.lineno}"
        for package in ("producer", "worker")
        for path in sorted((_ROOT / package).rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and _name(call) in _MAKES_POOLS and not _says_how(call)
    ]

    assert silent == []


def _name(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _says_how(call: ast.Call) -> bool:
    """By a keyword, or by options that are merged in."""
    return any(keyword.arg is None or keyword.arg in _SAY_HOW for keyword in call.keywords)
