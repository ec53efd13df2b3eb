"""Redis asked by tasks that take turns: each has its own answer, whatever becomes of the connection meanwhile."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.processes import eventually
from worker.loop import Loop
from worker.redis_clients import redis_client
from worker.together import Together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

ECHO = "return ARGV[1]"
TASKS = 20


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The thread in which they take turns."""
    made = Loop(TASKS)
    yield made
    made.stop()


@pytest.fixture
def together(broker: RedisServer) -> Iterator[Together]:
    """What they ask."""
    client = redis_client(broker.url, connections=TASKS, patience=0.3, retries=1)
    made = Together(client)
    yield made
    made.close()
    client.close()


def ask(loop: Loop, together: Together, script: str, *arguments: str) -> list[Any]:
    """What so many tasks are answered, or the errors."""
    found: dict[str, Any] = {}

    def one(argument: str) -> None:
        try:
            found[argument] = together.eval(script, 0, argument)
        except Exception as error:  # noqa: BLE001 - it is looked at
            found[argument] = error

    for argument in arguments:
        loop.submit(partial(one, argument), tag=argument)
    eventually(lambda: len(found) == len(arguments), what="all are answered")
    return [found[argument] for argument in arguments]


def connected(loop: Loop, together: Together) -> Any:
    """The connection of their own, once there is one."""

    def look() -> Any:
        ask(loop, together, ECHO, "x")
        return next((asker._sock for asker in together._askers.values()), None)

    return eventually(look, what="a connection")


def test_each_is_answered(loop: Loop, together: Together) -> None:
    """Before there is a connection of their own, and over it; a script that fails is its own task's matter."""
    arguments = [str(number) for number in range(TASKS)]
    echoed = [argument.encode() for argument in arguments]
    assert ask(loop, together, ECHO, *arguments) == echoed

    connected(loop, together)

    script = (
        "if ARGV[1] == '3' then return redis.error_reply('ERR no') end return {ARGV[1], redis.error_reply('in it')}"
    )
    answers = ask(loop, together, script, *arguments)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, redis.ResponseError)] == [3]
    assert [answer[0] for number, answer in enumerate(answers) if number != 3] == echoed[:3] + echoed[4:]
    with pytest.raises(redis.exceptions.NoScriptError):
        raise ask_for_unknown(loop, together)


def ask_for_unknown(loop: Loop, together: Together) -> Exception:
    """The error for a script that Redis does not know."""
    found: list[Exception] = []

    def one() -> None:
        try:
            together.evalsha("0" * 40, 0)
        except redis.RedisError as error:
            found.append(error)

    loop.submit(one, tag="")
    eventually(lambda: found, what="an error")
    return found[0]


def test_many_are_asked_for_in_one_round_trip(loop: Loop, together: Together, broker: RedisServer) -> None:
    """It costs Redis one read, and no thread is woken for it."""
    connected(loop, together)
    with broker.client() as client:
        before = client.info("stats")["total_reads_processed"]
        ask(loop, together, ECHO, *map(str, range(TASKS)))
        after = client.info("stats")["total_reads_processed"]

    assert after - before < TASKS / 2  # the tasks begin in a few batches, and the look itself is a read
    assert "scripts" not in {thread.name for thread in threading.enumerate()}


def test_a_large_answer_and_a_large_question(loop: Loop, together: Together) -> None:
    """They come in many pieces."""
    connected(loop, together)
    large = "x" * 5_000_000

    assert ask(loop, together, ECHO, large, "small") == [large.encode(), b"small"]


def test_a_connection_that_is_cut_is_made_anew(loop: Loop, together: Together, broker: RedisServer) -> None:
    """Nobody hears of it."""
    first = connected(loop, together)
    with broker.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)

    assert ask(loop, together, ECHO, "a", "b") == [b"a", b"b"]
    assert eventually(lambda: connected(loop, together) is not first, what="another connection")


def test_a_redis_that_hangs_is_given_up_in_time(loop: Loop, together: Together, broker: RedisServer) -> None:
    """Who asked hears of it, and who asks later is answered."""
    connected(loop, together)
    with broker.client() as client:
        client.client_pause(5000)
        answers = ask(loop, together, "redis.call('SET', 'k', ARGV[1]) return ARGV[1]", "a", "b")

    assert all(isinstance(answer, redis.TimeoutError) for answer in answers)
    assert eventually(lambda: ask(loop, together, ECHO, "c") == [b"c"], what="an answer")


def test_what_can_not_be_asked_is_its_askers_matter(loop: Loop, together: Together) -> None:
    """Before there is a connection, over it, and after that: whoever asks next is answered."""
    for _ in range(3):
        found: list[Exception] = []

        def one(found: list[Exception] = found) -> None:
            try:
                together.eval(ECHO, 0, object())
            except Exception as error:  # noqa: BLE001 - it is looked at
                found.append(error)

        loop.submit(one, tag="")
        eventually(lambda found=found: found, what="an error")  # type: ignore[misc]
        assert isinstance(found[0], TypeError | redis.DataError)
        connected(loop, together)


def test_the_connection_ends_with_the_thread(together: Together) -> None:
    """Nothing is left open."""
    loop = Loop(TASKS)
    connection = connected(loop, together)
    loop.stop()

    assert connection.fileno() == -1


def test_nobody_waits_for_a_connection(
    loop: Loop, together: Together, broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it can't be made, redis-py's own way answers, and it is not tried again and again."""
    connected(loop, together)
    tries: list[float] = []

    def slow(connection: Any) -> None:
        if connection._sock is not None:
            return
        tries.append(time.monotonic())
        time.sleep(1)
        raise redis.ConnectionError("no way")

    with redis_client(broker.url, connections=TASKS) as client:
        another = Together(client)
        assert ask(loop, another, ECHO, "first") == [b"first"]  # by a connection that is there, from now on
        monkeypatch.setattr(redis.Connection, "connect", slow)
        (asker,) = another._askers.values()
        asker._disconnect()
        began = time.monotonic()
        for number in range(20):
            assert ask(loop, another, ECHO, str(number)) == [str(number).encode()]
        assert time.monotonic() - began < 1
        assert len(tries) <= 1
        monkeypatch.undo()
        another.close()


@pytest.mark.parametrize("newer", [True, False], ids=["as Redis 7 says it", "as Redis 6 says it"])
def test_a_master_that_is_one_no_more_is_left(loop: Loop, together: Together, newer: bool) -> None:
    """The connection is given up, and redis-py's own way has another try, wherever the master is now."""
    first = connected(loop, together)
    said = "READONLY no" if newer else "ERR Error running script: @user_script: 1: -READONLY no"
    (answer,) = ask(loop, together, f"return redis.error_reply('{said}')", "x")

    assert isinstance(answer, redis.ResponseError)
    assert eventually(lambda: connected(loop, together) is not first, what="another connection")
