"""Whatever happens in a queue of several partitions: every message is in its own, or has ended; each balances."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.integration.broker.consumers import Drainer, Looper, Worker
from tests.integration.broker.history import COUNTED, LEASE
from tests.integration.broker.test_conservation import EXAMPLES, Conservation, numbers, run

if TYPE_CHECKING:
    from tests.support.processes import RedisServer


class PartitionedConservation(Conservation):
    """The same where the counted queue lies in three partitions, whose connections are cut now and then."""

    partitions = 3

    @initialize(kind=st.sampled_from([Drainer, Looper]), prefetch=st.sampled_from([0, 1, 3]))
    def begin(self, kind: type[Worker], prefetch: int) -> None:
        """A worker has messages of every partition in flight, as far as it has room."""
        for number in range(2 * self.partitions):
            self.enqueue_ours(queue=COUNTED, priority=number % 2, tag="")
        self.start(kind=kind, prefetch=prefetch, first=2)
        self.receive(number=0)

    @precondition(lambda self: self.workers)
    @rule(number=numbers)
    def receive_more(self, number: int) -> None:
        """Oftener than by one rule of many: what is in flight is what this is about."""
        self.receive(number=number)

    @initialize(prefix=st.just(""))
    def connect(self, prefix: str) -> None:
        """The partitions' prefixes are all that there are."""
        self.prefix = prefix

    @precondition(lambda self: self.workers and not self.dead_holders)
    @rule(number=numbers, which=numbers)
    def disconnect(self, number: int, which: int) -> None:
        """A worker loses the connection to a partition, and finds it again."""
        worker = self.worker(number)
        if not isinstance(worker, Drainer):
            return
        fetching = worker.fetching
        channel = fetching[which % len(fetching)]
        connection = channel.client.connection
        socket = connection._sock if connection is not None else None
        if socket is None:
            return
        host, port = socket.getsockname()
        self.client.execute_command("CLIENT", "KILL", "ADDR", f"{host}:{port}")
        deadline = time.monotonic() + 10
        while channel.client.connection is not None and channel.client.connection._sock is socket:
            assert time.monotonic() < deadline, "the loss is not noticed"
            worker.turn()
        worker.take()
        self._await_leases(worker)
        worker.settle()


@pytest.fixture(autouse=True)
def _nothing_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease is renewed, and no credit is lent, because a history lasts long or this machine is slow."""
    monkeypatch.setattr("worker.broker.lease._LONGEST_UNRENEWED", LEASE)
    monkeypatch.setattr("worker.broker.partitioned._RESERVED", LEASE)


def test_every_message_is_in_its_partition_or_has_ended(valkey: RedisServer) -> None:
    """Likewise, and the books of each partition balance."""
    PartitionedConservation.server = valkey
    run(PartitionedConservation, examples=max(EXAMPLES // 2, 1))
