"""A program that consumes and publishes, forks, and goes on in both processes.

Prints what the parent and the child received, as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

from kombu import Connection, pools

from tests.contract.kombu.receiver import Receiver


def _child(connection: Connection, results: Any) -> None:
    """Publish over the parent's pool, and consume on a new connection from the parent's settings."""
    with pools.producers[connection].acquire(block=True) as producer:
        producer.publish("from the child", routing_key="to-parent")
    with connection.clone() as mine:
        results.put(Receiver(mine, "to-child").receive(ack=True))


def main(url: str, transport: str) -> None:
    """Fork with messages in flight, and with a connection in the pool."""
    context = multiprocessing.get_context("fork")
    with Connection(url, transport=transport) as connection:
        receiver = Receiver(connection, "to-parent", prefetch=2)
        with pools.producers[connection].acquire(block=True) as producer:
            producer.publish("before", routing_key="to-parent")
            receiver.receive()
            results = context.Queue()
            child = context.Process(target=_child, args=(connection, results))
            child.start()
            producer.publish("for the child", routing_key="to-child")
        of_child = results.get(timeout=20)
        child.join(20)
        receiver.receive()
        for message in receiver.messages:
            message.ack()
        answer = {"parent": receiver.bodies, "child": of_child, "status": child.exitcode}
        print(json.dumps(answer))  # noqa: T201 - its result
    pools.reset()


if __name__ == "__main__":
    main(*sys.argv[1:])
