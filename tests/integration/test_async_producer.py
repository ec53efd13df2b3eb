"""What is particular to event loops: thousands of tasks, cancelled calls, and loops that come and go."""

from __future__ import annotations

import asyncio
import gc
from threading import Event
from typing import TYPE_CHECKING

import pytest

from producer import AsyncFeedbackProducer, BrokerUnavailable, EnqueueUncertain, FeedbackEvent
from tests.support.impostor import impostor
from tests.support.producers import EVENT

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    import redis

    from tests.support.processes import RedisServer


def _connections_made(client: redis.Redis) -> int:
    return int(client.info("stats")["total_connections_received"])


async def test_thousands_of_tasks_share_one_connection(broker: RedisServer, broker_client: redis.Redis) -> None:
    """A burst after a push notification must not open thousands of sockets."""
    made = _connections_made(broker_client)
    async with AsyncFeedbackProducer(broker.url, timeout=5) as producer:
        events = await asyncio.gather(*(producer.enqueue(EVENT) for _ in range(5_000)))

    assert events == [EVENT] * 5_000
    assert broker_client.llen("feedback") == 5_000
    assert _connections_made(broker_client) - made == 1


async def test_events_may_come_from_an_asynchronous_source(broker: RedisServer, broker_client: redis.Redis) -> None:
    """Rows of a database driver, say."""

    async def rows() -> AsyncIterator[FeedbackEvent]:
        for _ in range(700):
            await asyncio.sleep(0)
            yield EVENT

    async with AsyncFeedbackProducer(broker.url, timeout=5) as producer:
        taken = await producer.enqueue_many(rows())

    assert taken == broker_client.llen("feedback") == 700


def test_a_producer_serves_one_loop_after_another(broker: RedisServer, broker_client: redis.Redis) -> None:
    """A script calls asyncio.run more than once; nothing warns of what the first loop left behind."""
    producer = AsyncFeedbackProducer(broker.url, timeout=5)

    for _ in range(3):
        asyncio.run(_enqueue(producer))

    assert broker_client.llen("feedback") == 3
    del producer
    gc.collect()


async def _enqueue(producer: AsyncFeedbackProducer) -> None:
    await producer.enqueue(EVENT)


async def test_a_cancelled_call_takes_its_answer_with_it() -> None:
    """The answer that comes late belongs to no call, and to the next one least of all."""
    asked, go_on = Event(), Event()
    answers = iter([b"-OOM for the first\r\n", b":1\r\n", b"-OOM for the third\r\n"])

    def answer(peer: socket.socket) -> None:
        asked.set()
        go_on.wait(60)
        peer.sendall(next(answers))

    with impostor(answer) as url:
        async with AsyncFeedbackProducer(url, timeout=5) as producer:
            first = asyncio.create_task(producer.enqueue(EVENT))
            await asyncio.to_thread(asked.wait, 60)
            first.cancel()
            second = asyncio.create_task(producer.enqueue(EVENT))
            third = asyncio.create_task(producer.enqueue(EVENT))
            await asyncio.sleep(0)
            go_on.set()

            outcomes = await asyncio.gather(first, second, third, return_exceptions=True)

    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1] == EVENT
    assert isinstance(outcomes[2], BrokerUnavailable)
    assert "for the third" in str(outcomes[2])


async def test_a_call_cancelled_before_it_is_sent_is_not_sent(broker: RedisServer, broker_client: redis.Redis) -> None:
    """The connection is still being opened: what is given up by then need not leave at all."""
    async with AsyncFeedbackProducer(broker.url, timeout=5) as producer:
        given_up = asyncio.create_task(producer.enqueue(EVENT))
        await asyncio.sleep(0)
        given_up.cancel()
        await producer.enqueue(EVENT)

    assert given_up.cancelled()
    assert broker_client.llen("feedback") == 1


async def test_a_call_cut_off_leaves_its_neighbours_alone() -> None:
    """One caller's short budget is no reason to give up the others, whose answer still comes."""
    go_on = Event()

    def answer(peer: socket.socket) -> None:
        go_on.wait(60)
        peer.sendall(b":1\r\n")

    with impostor(answer) as url:
        async with AsyncFeedbackProducer(url, timeout=5) as producer:
            patient = asyncio.create_task(producer.enqueue(EVENT))
            with pytest.raises(EnqueueUncertain):
                await producer.enqueue(EVENT, timeout=0.2)
            go_on.set()

            assert await patient == EVENT
            assert await producer.enqueue(EVENT) == EVENT


async def test_connections_that_do_not_answer_are_bounded() -> None:
    """Each call that is left without an answer costs a connection; a dead server must not cost all sockets."""
    over = Event()

    with impostor(lambda _: over.wait(60)) as url:
        async with AsyncFeedbackProducer(url, timeout=5, max_connections=2) as producer:
            waiting = []
            for _ in range(2):
                waiting.append(asyncio.create_task(producer.enqueue(EVENT)))
                with pytest.raises(EnqueueUncertain):
                    await producer.enqueue(EVENT, timeout=0.2)

            with pytest.raises(BrokerUnavailable, match="all 2 connections wait"):
                await producer.enqueue(EVENT)

            over.set()
    assert {type(outcome) for outcome in await asyncio.gather(*waiting, return_exceptions=True)} == {EnqueueUncertain}


async def test_closing_ends_the_calls_under_way() -> None:
    """Closing does not wait; a waiting call learns that it is uncertain."""
    asked, over = Event(), Event()

    def hold(_: socket.socket) -> None:
        asked.set()
        over.wait(60)

    with impostor(hold) as url:
        producer = AsyncFeedbackProducer(url, timeout=60)
        under_way = asyncio.create_task(producer.enqueue(EVENT))
        await asyncio.to_thread(asked.wait, 60)

        await producer.aclose()

        over.set()
        with pytest.raises(EnqueueUncertain):
            await under_way


async def test_a_blocked_loop_does_not_lose_answers_that_have_come(
    broker: RedisServer, broker_client: redis.Redis
) -> None:
    """The application hogged the loop past the deadline, but Redis had answered in time: it is taken."""
    async with AsyncFeedbackProducer(broker.url, timeout=5) as producer:
        await producer.enqueue(EVENT)
        task = asyncio.create_task(producer.enqueue(EVENT, timeout=0.05))
        await asyncio.sleep(0)
        before = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < before + 0.2:
            pass

        assert await task == EVENT
    assert broker_client.llen("feedback") == 2
