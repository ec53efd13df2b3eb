"""Both producers before a cluster whose nodes say and do whatever nodes can: where events go, and what is told."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import TYPE_CHECKING

import pytest

from producer import (
    AsyncFeedbackProducer,
    BrokerUnavailable,
    EnqueueUncertain,
    FeedbackEvent,
    FeedbackProducer,
    ProducerError,
)
from producer.partitions import ON_A_CLUSTER, slot_of
from tests.support.cluster_load import an_event_of
from tests.support.made_up_cluster import PREFIXES, TAKEN, MadeUpCluster, MadeUpNode, made_up_cluster
from tests.support.processes import eventually
from tests.support.producers import InALoop, produce

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])

EVENTS = [an_event_of(number) for number in range(ON_A_CLUSTER)]


@pytest.fixture
def cluster() -> Iterator[MadeUpCluster]:
    """Three nodes; all is well."""
    with made_up_cluster() as made:
        yield made


def moved_to(node: MadeUpNode, host: str = "127.0.0.1") -> bytes:
    """A redirection."""
    return f"-MOVED 1 {host}:{node.port}\r\n".encode()


@both
def test_each_event_goes_to_the_node_that_has_its_partition(kind: str, cluster: MadeUpCluster) -> None:
    """One by one; each node has one connection."""
    with produce(kind, cluster.url, timeout=5) as producer:
        for event in EVENTS:
            producer.enqueue(event)

    for node in cluster.nodes:
        assert node.enqueued == cluster.partitions_of(node)
        assert node.commands.count("PING") == 1


@both
@pytest.mark.parametrize("replicas", [0, 1])
def test_a_chunk_is_one_command_for_each_partition_and_one_write_to_each_node(
    kind: str, replicas: int, cluster: MadeUpCluster
) -> None:
    """And one wait for replicas, behind all commands for a node."""
    with produce(kind, cluster.url, timeout=5, replicas=replicas) as producer:
        producer.ping()
        for node in cluster.nodes:
            node.commands.clear()
        assert producer.enqueue_many([*EVENTS, *EVENTS]) == 2 * ON_A_CLUSTER

    for node in cluster.nodes:
        partitions = cluster.partitions_of(node)
        assert node.commands == ["EVAL"] * len(partitions) + ["WAIT"] * replicas
        assert node.enqueued == partitions
        assert node.writes == 1


@both
def test_a_redirection_is_followed_and_remembered(kind: str, cluster: MadeUpCluster) -> None:
    """Within the call; the next one goes there at once, though the nodes still tell of the old owner."""
    old, new = cluster.owners[0], cluster.owners[1]
    old.on_enqueue = lambda partition: moved_to(new) if partition == 0 else TAKEN
    cluster.nodes[0].on_slots = cluster.nodes[1].on_slots = cluster.nodes[2].on_slots = lambda: None
    cluster.nodes[0].on_slots = None
    with produce(kind, cluster.url, timeout=5) as producer:
        producer.enqueue(EVENTS[3])
        cluster.nodes[0].on_slots = lambda: None
        producer.enqueue(EVENTS[0])
        producer.enqueue(EVENTS[0])
        producer.enqueue(EVENTS[3])

    assert old.enqueued == [3, 0, 3]
    assert new.enqueued == [0, 0]


@both
@pytest.mark.parametrize("host", ["", "?"])
def test_a_redirection_without_a_host_is_to_the_node_asked(kind: str, host: str, cluster: MadeUpCluster) -> None:
    """A node may not know how it is reached itself; nor, in the list of slots, how the others are."""
    new = cluster.owners[1]
    cluster.host = host.encode() or None
    cluster.owners[0].on_enqueue = lambda _: moved_to(new, host)
    with produce(kind, cluster.url, timeout=5) as producer:
        producer.enqueue(EVENTS[0])

    assert new.enqueued == [0]


@both
@pytest.mark.parametrize(
    "refusal",
    [
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-ASK 14252 127.0.0.1:1\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
    ],
    ids=lambda refusal: refusal[1:8].decode(),
)
def test_what_passes_is_waited_for(kind: str, refusal: bytes, cluster: MadeUpCluster) -> None:
    """Within the call's time: nothing was run. If it does not pass, the error says what it was."""
    node = cluster.owners[0]
    replies = iter([refusal, refusal, TAKEN])
    node.on_enqueue = lambda _: next(replies)
    with produce(kind, cluster.url, timeout=5) as producer:
        producer.enqueue(EVENTS[0])
        node.on_enqueue = lambda _: refusal
        with pytest.raises(BrokerUnavailable, match=refusal[1:8].decode()) as told:
            producer.enqueue(EVENTS[0], timeout=0.2)

    assert told.value.not_taken == (EVENTS[0],)
    assert len(node.enqueued) > 4
    assert node.commands.count("PING") == 1, "the connection to the node is as good as before"


@both
def test_a_refusal_for_good_is_told_at_once(kind: str, cluster: MadeUpCluster) -> None:
    """It is not sent again."""
    node = cluster.owners[0]
    node.on_enqueue = lambda _: b"-OOM command not allowed\r\n"
    with produce(kind, cluster.url, timeout=60) as producer, pytest.raises(BrokerUnavailable, match="OOM"):
        producer.enqueue(EVENTS[0])

    assert node.enqueued == [0]


@both
@pytest.mark.parametrize("end", [None, b""], ids=["silent", "closed"])
def test_what_may_have_been_taken_is_sent_nowhere_else(kind: str, end: bytes | None, cluster: MadeUpCluster) -> None:
    """Though the partition has another owner meanwhile; the next call goes there."""
    old, new = cluster.owners[0], cluster.owners[1]
    with produce(kind, cluster.url, timeout=5) as producer:
        producer.enqueue(EVENTS[0])
        old.on_enqueue = lambda _: end
        cluster.owners[0] = new
        with pytest.raises(EnqueueUncertain):
            producer.enqueue(EVENTS[0], timeout=0.3)
        assert new.enqueued == []

        outcomes: list[ProducerError | None] = []
        while None not in outcomes:  # it asks for the slots once in a while
            outcomes.append(attempt_at(producer, EVENTS[:1]))

    assert len(old.enqueued) == 2 + sum(type(error) is EnqueueUncertain for error in outcomes)
    assert new.enqueued == [0]


def attempt_at(
    producer: FeedbackProducer | InALoop, events: Sequence[FeedbackEvent], timeout: float = 0.3
) -> ProducerError | None:
    """Why events were not taken, if they were not."""
    try:
        producer.enqueue_many(events, timeout=timeout)
    except ProducerError as error:
        return error
    return None


@both
def test_what_was_not_sent_goes_to_the_new_owner(kind: str, cluster: MadeUpCluster) -> None:
    """The node is gone: its events wait until another one has the partition, within the call's time."""
    old, new = cluster.owners[1], cluster.owners[2]
    with produce(kind, cluster.url, timeout=10) as producer:
        producer.enqueue(EVENTS[1])
        old.stop()
        with pytest.raises((BrokerUnavailable, EnqueueUncertain)):
            producer.enqueue(EVENTS[1], timeout=0.2)
        cluster.owners = [new if owner is old else owner for owner in cluster.owners]

        producer.enqueue(EVENTS[1])

    assert new.enqueued == [1]


@both
def test_of_a_chunk_the_rest_is_taken_and_the_error_says_which(kind: str, cluster: MadeUpCluster) -> None:
    """One node is silent, another refuses a partition of its: what is uncertain gives the error its kind."""
    silent, refusing = cluster.nodes[0], cluster.nodes[1]
    events = [*EVENTS, *EVENTS]
    with produce(kind, cluster.url, timeout=5) as producer:
        producer.enqueue_many(EVENTS)
        refusing.on_enqueue = lambda partition: b"-OOM no memory\r\n" if partition == 1 else TAKEN
        with pytest.raises(BrokerUnavailable, match=r"OOM no memory \(2 of 32 events, of 1 of 16 partitions\)") as told:
            producer.enqueue_many(events)
        assert told.value.not_taken == (EVENTS[1], EVENTS[1])
        assert told.value.taken == 30

        silent.on_enqueue = lambda _: None
        with pytest.raises(EnqueueUncertain, match=r"\(14 of 32 events, of 7 of 16 partitions\)") as told_more:
            producer.enqueue_many(events, timeout=0.3)

    gone = {1, *cluster.partitions_of(silent)}
    assert told_more.value.not_taken == tuple(event for event in events if EVENTS.index(event) in gone)
    assert told_more.value.taken == 32 - 14


@both
def test_chunks_before_count_too(kind: str, cluster: MadeUpCluster) -> None:
    """Of many events those of the chunks before, and what was taken of the one at hand."""
    with produce(kind, cluster.url, timeout=5) as producer:
        node = cluster.owners[1]
        replies = iter([TAKEN] * len(cluster.partitions_of(node)))
        node.on_enqueue = lambda _: next(replies, b"-OOM no memory\r\n")
        with pytest.raises(BrokerUnavailable) as told:
            producer.enqueue_many([*(EVENTS * 32)[:500], *EVENTS])

    assert told.value.not_taken == tuple(EVENTS[number] for number in cluster.partitions_of(node))
    assert told.value.taken == 500 + ON_A_CLUSTER - len(told.value.not_taken)


@both
@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b":8\r\n", "made with 8 partitions, and this producer is told 16: set FEEDBACK_PARTITIONS=8"),
        (b"-NOPERM User default has no permissions to run the 'get' command\r\n", "+eval +get +set +exists"),
        (b"-MOVED 1 127.0.0.1:1\r\n", "can't be compared: MOVED"),
    ],
    ids=["other number", "no right", "elsewhere"],
)
def test_where_the_number_of_partitions_differs_or_is_not_told_nothing_is_sent(
    kind: str, record: bytes, words: str, cluster: MadeUpCluster
) -> None:
    """The error says what to do, and no secret; as soon as it is right events are taken."""
    cluster.nodes[0].on_record = record
    with produce(kind, cluster.url, timeout=1) as producer:
        with pytest.raises(BrokerUnavailable) as told:
            producer.enqueue(EVENTS[0])
        assert words in str(told.value)
        assert "s3cr3t" not in f"{told.value!r} {told.value.__cause__!r}"
        assert [node.enqueued for node in cluster.nodes] == [[], [], []]

        cluster.nodes[0].on_record = b":16\r\n"
        producer.enqueue(EVENTS[0])


@both
def test_a_ping_asks_every_primary(kind: str, cluster: MadeUpCluster) -> None:
    """One that is gone fails it."""
    with produce(kind, cluster.url, timeout=0.5) as producer:
        producer.ping()
        assert all("PING" in node.commands for node in cluster.nodes)

        cluster.nodes[2].stop()
        with pytest.raises(BrokerUnavailable):
            producer.ping()


@both
def test_a_closed_producer_sends_nothing(kind: str, cluster: MadeUpCluster) -> None:
    """At once, whatever time there is."""
    with produce(kind, cluster.url, timeout=60) as producer:
        producer.enqueue(EVENTS[0])
        producer.close()
        with pytest.raises(BrokerUnavailable, match="closed"):
            producer.enqueue(EVENTS[0])
        with pytest.raises(BrokerUnavailable, match="closed"):
            producer.enqueue_many(EVENTS)
    with produce(kind, cluster.url, timeout=60) as unused:
        unused.close()
        with pytest.raises(BrokerUnavailable, match="closed"):
            unused.enqueue(EVENTS[0])


@both
def test_a_slot_that_no_node_has_is_told(kind: str, cluster: MadeUpCluster) -> None:
    """The other partitions go on."""
    slot = b"*3\r\n:%d\r\n:%d\r\n" % (2 * (slot_of(PREFIXES[2].strip("{}")),))
    for node in cluster.nodes:
        node.on_slots = lambda: cluster.slots().replace(slot, slot.replace(b":2541", b":2540"))
    with produce(kind, cluster.url, timeout=5) as producer:
        with pytest.raises(BrokerUnavailable, match="no node of the cluster has the partition's slot"):
            producer.enqueue(EVENTS[2], timeout=0.3)
        for number in range(ON_A_CLUSTER):
            if number != 2:
                producer.enqueue(EVENTS[number])


async def test_a_call_that_is_cancelled_leaves_its_replies_to_no_other(cluster: MadeUpCluster) -> None:
    """They come late, on a connection that others use."""
    slow, go_on = cluster.nodes[0], Event()

    def late(_: int) -> bytes:
        go_on.wait(60)
        return b"-OOM of the call that was cancelled\r\n"

    async with AsyncFeedbackProducer(cluster.url, timeout=10) as producer:
        await producer.enqueue_many(EVENTS)
        slow.on_enqueue = late
        before = len(slow.enqueued)
        cancelled = asyncio.create_task(producer.enqueue_many(EVENTS))
        await asyncio.to_thread(eventually, lambda: len(slow.enqueued) > before, what="it is sent")
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        slow.on_enqueue = lambda _: TAKEN if len(slow.enqueued) > before + 6 else late(0)
        go_on.set()

        await asyncio.gather(*(producer.enqueue(event) for event in EVENTS))
    assert slow.commands.count("PING") == 1
