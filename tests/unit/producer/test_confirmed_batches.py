"""Calls of one event loop that are confirmed together: which of them, when, and what becomes of the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

import pytest

from producer import AsyncFeedbackProducer, BrokerUnavailable, EnqueueUncertain
from tests.support.impostor import CONFIRMED, impostor
from tests.support.producers import EVENT

if TYPE_CHECKING:
    import socket

TAKEN = b":1\r\n"


@dataclass
class _Script:
    """A server that answers enqueues at once, and confirms when it is let.

    Attributes:
        confirmation: What it answers for the replicas.
        go_on: Lets it answer so.
        asked: Set once it is asked for the replicas.
        commands: What it was sent, in order.
        replies: For enqueues, in turn; the rest is taken.
    """

    confirmation: bytes = CONFIRMED
    go_on: Event = field(default_factory=Event)
    asked: Event = field(default_factory=Event)
    commands: list[str] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)

    def enqueue(self, peer: socket.socket) -> None:
        """Answer an enqueue."""
        self.commands.append("EVAL")
        peer.sendall(self.replies.pop(0) if self.replies else TAKEN)

    def wait(self, peer: socket.socket) -> None:
        """Answer for the replicas."""
        self.commands.append("WAIT")
        self.asked.set()
        self.go_on.wait(60)
        peer.sendall(self.confirmation)


async def test_calls_that_come_together_are_confirmed_together() -> None:
    """A thousand tasks cost no thousand waits; those that come meanwhile are the next batch."""
    script = _Script()
    script.go_on.set()
    with impostor(script.enqueue, on_wait=script.wait) as url:
        async with AsyncFeedbackProducer(url, replicas=1, timeout=10) as producer:
            await producer.enqueue(EVENT)
            script.commands.clear()
            await asyncio.gather(*(_several(producer, 5) for _ in range(200)))

    assert script.commands.count("EVAL") == 1_000
    assert script.commands.count("WAIT") <= 12  # of five turns, the first of which may begin with one call alone
    assert script.commands[-1] == "WAIT"


async def _several(producer: AsyncFeedbackProducer, times: int) -> None:
    for _ in range(times):
        await producer.enqueue(EVENT)


async def test_nothing_is_sent_while_a_batch_is_not_confirmed() -> None:
    """So what comes meanwhile, and runs out of time, is known to be unsent."""
    script = _Script()
    with impostor(script.enqueue, on_wait=script.wait) as url:
        async with AsyncFeedbackProducer(url, replicas=1, timeout=10) as producer:
            first = asyncio.create_task(producer.enqueue(EVENT))
            await asyncio.to_thread(script.asked.wait, 60)
            patient = asyncio.create_task(producer.enqueue(EVENT))
            with pytest.raises(BrokerUnavailable, match="not sent to Redis: the time is up"):
                await producer.enqueue(EVENT, timeout=0.2)
            assert script.commands == ["EVAL", "WAIT"]

            script.go_on.set()

            assert await first == EVENT
            assert await patient == EVENT
    assert script.commands == ["EVAL", "WAIT", "EVAL", "WAIT"]


async def test_a_batch_that_is_not_confirmed_is_uncertain_and_the_next_one_unsent() -> None:
    """Each call says so by an error of its own."""
    script = _Script(confirmation=b":0\r\n")
    with impostor(script.enqueue, on_wait=script.wait) as url:
        async with AsyncFeedbackProducer(url, replicas=1, timeout=10) as producer:
            first = asyncio.create_task(producer.enqueue(EVENT))
            await asyncio.to_thread(script.asked.wait, 60)
            later = [asyncio.create_task(producer.enqueue(EVENT)) for _ in range(3)]
            await asyncio.sleep(0)
            script.go_on.set()
            outcomes = await asyncio.gather(first, *later, return_exceptions=True)

    assert type(outcomes[0]) is EnqueueUncertain
    assert {type(outcome) for outcome in outcomes[1:]} == {BrokerUnavailable}
    assert len(set(map(id, outcomes))) == 4
    assert all("0 of 1 replicas confirmed" in str(outcome) for outcome in outcomes)
    assert script.commands == ["EVAL", "WAIT"]


async def test_a_refusal_in_a_batch_is_its_own_calls_matter() -> None:
    """It ends at once, and the others when they are confirmed, each with what is its own."""
    script = _Script(replies=[TAKEN, TAKEN, b"-OOM for the third\r\n", TAKEN])
    script.go_on.set()
    with impostor(script.enqueue, on_wait=script.wait) as url:
        async with AsyncFeedbackProducer(url, replicas=1, timeout=10) as producer:
            await producer.enqueue(EVENT)
            script.go_on.clear()
            script.asked.clear()
            under_way = asyncio.create_task(producer.enqueue(EVENT))  # so that the next three are one batch
            await asyncio.to_thread(script.asked.wait, 60)
            batch = [asyncio.create_task(producer.enqueue(EVENT)) for _ in range(3)]
            await asyncio.sleep(0)
            script.go_on.set()
            outcomes = await asyncio.gather(under_way, *batch, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(EVENT), BrokerUnavailable, type(EVENT), type(EVENT)]
    assert script.commands == ["EVAL", "WAIT"] * 2 + ["EVAL"] * 3 + ["WAIT"]


async def test_a_call_that_runs_out_of_time_or_is_cancelled_leaves_its_batch_alone() -> None:
    """The others' budgets are their own. It was taken, and is uncertain."""
    script = _Script()
    with impostor(script.enqueue, on_wait=script.wait) as url:
        async with AsyncFeedbackProducer(url, replicas=1, timeout=10) as producer:
            patient, cancelled = (asyncio.create_task(producer.enqueue(EVENT)) for _ in range(2))
            with pytest.raises(EnqueueUncertain, match="0 of 1 replicas are known to have it"):
                await producer.enqueue(EVENT, timeout=0.5)
            cancelled.cancel()
            script.go_on.set()

            assert await patient == EVENT
            assert await producer.enqueue(EVENT) == EVENT
    assert script.commands == ["EVAL", "EVAL", "EVAL", "WAIT", "EVAL", "WAIT"]


async def test_closing_tells_what_was_taken_and_what_was_not_sent() -> None:
    """Closing does not wait for replicas."""
    script = _Script()
    with impostor(script.enqueue, on_wait=script.wait) as url:
        producer = AsyncFeedbackProducer(url, replicas=1, timeout=60)
        taken = asyncio.create_task(producer.enqueue(EVENT))
        await asyncio.to_thread(script.asked.wait, 60)
        unsent = asyncio.create_task(producer.enqueue(EVENT))
        await asyncio.sleep(0)
        await producer.aclose()
        script.go_on.set()
        outcomes = await asyncio.gather(taken, unsent, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [EnqueueUncertain, BrokerUnavailable]
