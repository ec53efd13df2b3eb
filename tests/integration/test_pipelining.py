"""Scripts of one scheduler's tasks: each task gets its own reply, whatever happens to the connection meanwhile."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.processes import eventually
from worker.clients.redis.batching import ScriptBatcher
from worker.clients.redis.connections import redis_client
from worker.concurrency.gevent_scheduler import GeventScheduler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

ECHO = "return ARGV[1]"
TASKS = 20


@pytest.fixture
def scheduler() -> Iterator[GeventScheduler]:
    """The thread of the tasks."""
    made = GeventScheduler(TASKS)
    yield made
    made.stop()


@pytest.fixture
def batcher(broker: RedisServer) -> Iterator[ScriptBatcher]:
    """Sends their scripts."""
    client = redis_client(broker.url, connections=TASKS, patience=0.3, retries=1)
    made = ScriptBatcher(client)
    yield made
    made.close()
    client.close()


def ask(scheduler: GeventScheduler, batcher: ScriptBatcher, script: str, *arguments: str) -> list[Any]:
    """What so many tasks are answered, or the errors."""
    found: dict[str, Any] = {}

    def one(argument: str) -> None:
        try:
            found[argument] = batcher.eval(script, 0, argument)
        except Exception as error:  # noqa: BLE001 - it is looked at
            found[argument] = error

    for argument in arguments:
        scheduler.submit(partial(one, argument), tag=argument)
    eventually(lambda: len(found) == len(arguments), what="all are answered")
    return [found[argument] for argument in arguments]


def connected(scheduler: GeventScheduler, batcher: ScriptBatcher) -> Any:
    """The connection of their own, once there is one."""

    def look() -> Any:
        ask(scheduler, batcher, ECHO, "x")
        return next((pipeline._sock for pipeline in batcher._pipelines.values()), None)

    return eventually(look, what="a connection")


def test_each_is_answered(scheduler: GeventScheduler, batcher: ScriptBatcher) -> None:
    """Before there is a connection of their own, and over it; a script that fails is its own task's matter."""
    arguments = [str(number) for number in range(TASKS)]
    echoed = [argument.encode() for argument in arguments]
    assert ask(scheduler, batcher, ECHO, *arguments) == echoed

    connected(scheduler, batcher)

    script = (
        "if ARGV[1] == '3' then return redis.error_reply('ERR no') end return {ARGV[1], redis.error_reply('in it')}"
    )
    answers = ask(scheduler, batcher, script, *arguments)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, redis.ResponseError)] == [3]
    assert [answer[0] for number, answer in enumerate(answers) if number != 3] == echoed[:3] + echoed[4:]
    with pytest.raises(redis.exceptions.NoScriptError):
        raise ask_for_unknown(scheduler, batcher)


def ask_for_unknown(scheduler: GeventScheduler, batcher: ScriptBatcher) -> Exception:
    """The error for a script that Redis does not know."""
    found: list[Exception] = []

    def one() -> None:
        try:
            batcher.evalsha("0" * 40, 0)
        except redis.RedisError as error:
            found.append(error)

    scheduler.submit(one, tag="")
    eventually(lambda: found, what="an error")
    return found[0]


def test_many_are_asked_for_in_one_round_trip(
    scheduler: GeventScheduler, batcher: ScriptBatcher, broker: RedisServer
) -> None:
    """It costs Redis one read, and no thread is woken for it."""
    threads = set(threading.enumerate())
    connected(scheduler, batcher)
    with broker.client() as client:
        before = client.info("stats")["total_reads_processed"]
        ask(scheduler, batcher, ECHO, *map(str, range(TASKS)))
        after = client.info("stats")["total_reads_processed"]

    assert after - before < TASKS / 2  # the tasks begin in a few batches, and the look itself is a read
    assert "scripts" not in {thread.name for thread in set(threading.enumerate()) - threads}


def test_a_large_answer_and_a_large_question(scheduler: GeventScheduler, batcher: ScriptBatcher) -> None:
    """They come in many pieces."""
    connected(scheduler, batcher)
    large = "x" * 5_000_000

    assert ask(scheduler, batcher, ECHO, large, "small") == [large.encode(), b"small"]


def test_a_connection_that_is_cut_is_made_anew(
    scheduler: GeventScheduler, batcher: ScriptBatcher, broker: RedisServer
) -> None:
    """No call hears of it."""
    first = connected(scheduler, batcher)
    with broker.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)

    assert ask(scheduler, batcher, ECHO, "a", "b") == [b"a", b"b"]
    assert eventually(lambda: connected(scheduler, batcher) is not first, what="another connection")


def test_a_redis_that_hangs_is_given_up_in_time(
    scheduler: GeventScheduler, batcher: ScriptBatcher, broker: RedisServer
) -> None:
    """Who asked hears of it, and who asks later is answered."""
    connected(scheduler, batcher)
    with broker.client() as client:
        client.client_pause(5000)
        answers = ask(scheduler, batcher, "redis.call('SET', 'k', ARGV[1]) return ARGV[1]", "a", "b")

    assert all(isinstance(answer, redis.TimeoutError) for answer in answers)
    assert eventually(lambda: ask(scheduler, batcher, ECHO, "c") == [b"c"], what="an answer")


def test_what_can_not_be_asked_is_its_askers_matter(scheduler: GeventScheduler, batcher: ScriptBatcher) -> None:
    """Before there is a connection, over it, and after that: the next call is answered."""
    for _ in range(3):
        found: list[Exception] = []

        def one(found: list[Exception] = found) -> None:
            try:
                batcher.eval(ECHO, 0, object())
            except Exception as error:  # noqa: BLE001 - it is looked at
                found.append(error)

        scheduler.submit(one, tag="")
        eventually(lambda found=found: found, what="an error")  # type: ignore[misc]
        assert isinstance(found[0], TypeError | redis.DataError)
        connected(scheduler, batcher)


def test_the_connection_ends_with_the_thread(batcher: ScriptBatcher) -> None:
    """Nothing is left open."""
    scheduler = GeventScheduler(TASKS)
    connection = connected(scheduler, batcher)
    scheduler.stop()

    assert connection.fileno() == -1


def test_no_task_waits_for_a_connection(
    scheduler: GeventScheduler, batcher: ScriptBatcher, broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it can't be made, redis-py's own way answers, and it is not tried again and again."""
    connected(scheduler, batcher)
    tries: list[float] = []

    def slow(connection: Any) -> None:
        if connection._sock is not None:
            return
        tries.append(time.monotonic())
        time.sleep(1)
        raise redis.ConnectionError("no way")

    with redis_client(broker.url, connections=TASKS) as client:
        another = ScriptBatcher(client)
        assert ask(scheduler, another, ECHO, "first") == [b"first"]  # by a connection that is there, from now on
        monkeypatch.setattr(redis.Connection, "connect", slow)
        (pipeline,) = another._pipelines.values()
        pipeline.disconnect()
        began = time.monotonic()
        for number in range(20):
            assert ask(scheduler, another, ECHO, str(number)) == [str(number).encode()]
        assert time.monotonic() - began < 1
        assert len(tries) <= 1
        monkeypatch.undo()
        another.close()


@pytest.mark.parametrize("newer", [True, False], ids=["as Redis 7 says it", "as Redis 6 says it"])
def test_a_master_that_is_one_no_more_is_left(scheduler: GeventScheduler, batcher: ScriptBatcher, newer: bool) -> None:
    """The connection is given up, and redis-py's own way has another try, wherever the master is now."""
    first = connected(scheduler, batcher)
    said = "READONLY no" if newer else "ERR Error running script: @user_script: 1: -READONLY no"
    (answer,) = ask(scheduler, batcher, f"return redis.error_reply('{said}')", "x")

    assert isinstance(answer, redis.ResponseError)
    assert eventually(lambda: connected(scheduler, batcher) is not first, what="another connection")
