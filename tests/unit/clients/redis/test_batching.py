"""Scripts of many threads go together; each thread gets its own reply, or error, and none waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis

from tests.support.processes import eventually
from worker.clients.redis.batching import ScriptBatcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

ECHO = "return ARGV[1]"
THREADS = 8


class Gate:
    """A client whose first round trip waits until it is let through; it counts them, and fails as it is told."""

    def __init__(self) -> None:
        self.client = fakeredis.FakeRedis()
        self.trips: list[int] = []
        self.fails: BaseException | None = None
        self.begun, self.opened = Event(), Event()

    def pipeline(self, **options: Any) -> Any:
        """As redis-py's."""
        pipe: Any = self.client.pipeline(**options)
        execute = pipe.execute

        def through_the_gate(**more: Any) -> Any:
            self.trips.append(len(pipe.command_stack))
            self.begun.set()
            assert self.opened.wait(10)
            if self.fails is not None:
                fails, self.fails = self.fails, None
                raise fails
            return execute(**more)

        pipe.execute = through_the_gate
        return pipe


@pytest.fixture
def gate() -> Gate:
    """The client."""
    return Gate()


@pytest.fixture
def batcher(gate: Gate) -> Iterator[ScriptBatcher]:
    """A batcher over that client."""
    made = ScriptBatcher(gate)  # type: ignore[arg-type]  # of a client it uses `pipeline` alone
    yield made
    gate.opened.set()
    made.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that ask."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def one_asks_and_the_others_wait(
    gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor, script: str = ECHO
) -> list[Future[Any]]:
    """The first round trip is under way, and all others wait to ask."""
    asked = [threads.submit(batcher.eval, ECHO, 0, "0")]
    assert gate.begun.wait(10)
    asked += [threads.submit(batcher.eval, script, 0, str(number)) for number in range(1, THREADS)]
    eventually(lambda: batcher._thread.pending == THREADS - 1, what="the others wait")
    return asked


def test_alone_one_asks_at_once(gate: Gate, batcher: ScriptBatcher) -> None:
    """There is no other call to wait for."""
    gate.opened.set()

    assert batcher.eval(ECHO, 0, "a") == b"a"
    assert batcher.eval(ECHO, 0, "b") == b"b"
    assert gate.trips == [1, 1]


def test_what_comes_meanwhile_goes_together(gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor) -> None:
    """In one round trip; each gets its own answer."""
    asked = one_asks_and_the_others_wait(gate, batcher, threads)

    gate.opened.set()

    assert [future.result(10) for future in asked] == [str(number).encode() for number in range(THREADS)]
    assert gate.trips == [1, THREADS - 1]


def test_a_script_that_fails_is_its_own_callers_matter(
    gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor
) -> None:
    """The others of its round trip have their answers."""
    script = "if ARGV[1] == '3' then return redis.error_reply('no') end return ARGV[1]"
    asked = one_asks_and_the_others_wait(gate, batcher, threads, script)

    gate.opened.set()

    assert {number for number, future in enumerate(asked) if future.exception(10)} == {3}
    assert isinstance(asked[3].exception(), redis.ResponseError)
    assert asked[4].result() == b"4"


def test_a_script_that_redis_does_not_know_is_said(gate: Gate, batcher: ScriptBatcher) -> None:
    """So that the caller can send it whole."""
    gate.opened.set()

    with pytest.raises(redis.exceptions.NoScriptError):
        batcher.evalsha("0" * 40, 0)


def test_when_redis_is_away_all_who_asked_are_told(
    gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor
) -> None:
    """The next call asks again."""
    gate.fails = redis.ConnectionError("away")
    asked = one_asks_and_the_others_wait(gate, batcher, threads)

    gate.opened.set()

    assert isinstance(asked[0].exception(10), redis.ConnectionError)
    assert [future.result(10) for future in asked[1:]] == [str(number).encode() for number in range(1, THREADS)]

    gate.fails = redis.TimeoutError("frozen")
    with pytest.raises(redis.TimeoutError):
        batcher.eval(ECHO, 0, "a")
    assert batcher.eval(ECHO, 0, "b") == b"b"


def test_a_failure_is_everybodys_who_went_along(
    gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor
) -> None:
    """No call is left without an answer."""
    asked = one_asks_and_the_others_wait(gate, batcher, threads)
    execute = gate.pipeline

    def second_fails(**options: Any) -> Any:
        gate.fails = redis.ConnectionError("away")
        return execute(**options)

    gate.pipeline = second_fails  # type: ignore[method-assign]
    gate.opened.set()

    assert asked[0].result(10) == b"0"
    assert all(isinstance(future.exception(10), redis.ConnectionError) for future in asked[1:])


class _CutShort(BaseException):
    pass


def test_a_call_that_is_interrupted_takes_no_other_along(
    gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor
) -> None:
    """Who was asked for has an error, and the next are asked for."""
    gate.fails = _CutShort()
    asked = one_asks_and_the_others_wait(gate, batcher, threads)

    gate.opened.set()

    assert isinstance(asked[0].exception(10), redis.ConnectionError)
    assert [future.result(10) for future in asked[1:]] == [str(number).encode() for number in range(1, THREADS)]


def test_who_waits_is_asked_for_before_it_is_closed(
    gate: Gate, batcher: ScriptBatcher, threads: ThreadPoolExecutor
) -> None:
    """Then its thread ends; a call after that begins another."""
    asked = one_asks_and_the_others_wait(gate, batcher, threads)
    closed = Thread(target=batcher.close)
    closed.start()

    gate.opened.set()

    assert [future.result(10) for future in asked] == [str(number).encode() for number in range(THREADS)]
    closed.join(10)
    assert not closed.is_alive()
    assert batcher.eval(ECHO, 0, "again") == b"again"
    batcher.close()


def test_no_round_trip_grows_without_bound(gate: Gate, batcher: ScriptBatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis serves no other client meanwhile."""
    monkeypatch.setattr(batcher._thread, "_limit", 3)
    with ThreadPoolExecutor(THREADS) as threads:
        asked = one_asks_and_the_others_wait(gate, batcher, threads)
        gate.opened.set()
        assert [future.result(10) for future in asked] == [str(number).encode() for number in range(THREADS)]

    assert gate.trips == [1, 3, 3, 1]


def test_no_answer_goes_astray(batcher: ScriptBatcher, gate: Gate) -> None:
    """With many threads that ask all the time."""
    gate.opened.set()

    def ask(thread: int) -> bool:
        return all(batcher.eval(ECHO, 0, f"{thread}-{n}") == f"{thread}-{n}".encode() for n in range(100))

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(ask, range(32)))
    assert sum(gate.trips) == 3_200
