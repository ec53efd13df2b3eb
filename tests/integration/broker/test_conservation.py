"""Whatever happens: every message is in exactly one place, or has ended; none is lost, none invented.

To look longer than the suite does: ``FEEDBACK_TEST_EXAMPLES=2000 FEEDBACK_TEST_STEPS=80 pytest --timeout=0
--hypothesis-seed=random tests/integration/broker/test_conservation.py``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.integration.broker.consumers import Drainer, Looper, Worker
from tests.integration.broker.history import COUNTED, LEASE, QUEUES, History
from tests.integration.broker.messages import OURS
from tests.integration.broker.places import Entry, Places, parsed, same_content
from worker.broker.payload import due_at, to_payload
from worker.broker.redelivery import Republished

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

EXAMPLES: Final = int(os.environ.get("FEEDBACK_TEST_EXAMPLES", "40"))
STEPS_EACH: Final = int(os.environ.get("FEEDBACK_TEST_STEPS", "50"))

MOST_WORKERS: Final = 4
LABELS: Final = ("", "delivered", "duplicate", "dead,dead:invalid,dead_letters_inserted")

numbers = st.integers(0, 1000)


class Conservation(History):
    """Workers that come, take, end, give back, and die."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[Worker] = []
        self.dead_holders: set[str] = set()
        """Holders whose lease has ended, whether their process lives or not."""

    def teardown(self) -> None:
        """Close everything."""
        for worker in self.workers:
            worker.close()
        super().teardown()

    def worker(self, number: int) -> Worker:
        """One of the workers."""
        return self.workers[number % len(self.workers)]

    # Workers come and go

    @precondition(lambda self: len(self.workers) < MOST_WORKERS)
    @rule(kind=st.sampled_from([Worker, Drainer, Looper]), prefetch=st.sampled_from([0, 1, 3]), first=st.integers(0, 2))
    def start(self, kind: type[Worker], prefetch: int, first: int) -> None:
        """A worker starts, and its first renewal sweeps what the dead left."""
        before = self.look()
        worker = kind(self.server, *QUEUES[first:], *QUEUES[:first], prefetch=prefetch, **self.options)
        self.workers.append(worker)
        self._await_leases(worker)
        self._swept(before)

    @staticmethod
    def _await_leases(worker: Worker) -> None:
        """Let a worker have a lease in each partition, and return what the dead held."""
        deadline = time.monotonic() + 10
        for channel in worker.channel.everywhere:
            holder = channel.holder
            holder._renew_every = LEASE  # not every ten seconds, which a slow history lasts
            holder.start()
            while not holder._renewed:
                assert time.monotonic() < deadline, "no lease"
                time.sleep(0.001)
            with holder._one_at_a_time:  # until what the dead held has been returned
                pass

    @precondition(lambda self: self.workers)
    @rule(number=numbers)
    def stop(self, number: int) -> None:
        """A worker closes its channel: what it had is to be handed out next."""
        worker = self.worker(number)
        held = self._held_by(worker, self.look()) & self.look().in_flight.keys()
        names = Counter(self.look().in_flight[tag].name for tag in held)
        self.workers.remove(worker)
        before = Counter(entry.name for entry in self.look().entries if entry.place != "in flight")
        holders = {holder.id for holder in worker.channel.holders}
        worker.close()
        self.dead_holders -= holders
        after = Counter(entry.name for entry in self.look().entries if entry.place != "in flight")
        assert after == before + names
        assert not holders & self.look().held.keys()

    @precondition(lambda self: self.workers)
    @rule(number=numbers)
    def crash(self, number: int) -> None:
        """A worker dies; what it held stays in its hand."""
        worker = self.worker(number)
        before = self.look()
        self.workers.remove(worker)
        worker.crash()
        after = self.look()
        assert (after.entries, after.held) == (before.entries, before.held)

    @rule(number=numbers)
    def expire(self, number: int) -> None:
        """A lease ends, of a dead worker or of one that hangs; Redis itself was not away."""
        holders = sorted(self.leases)
        if holders:
            holder = holders[number % len(holders)]
            prefix = next(prefix for prefix in self.prefixes if holder in self.leases_in(prefix))
            self.client.zadd(f"{prefix}unacked_leases", {holder: 1})
            self.client.hset(f"{prefix}unacked_pulse", "grace", 0)
            self.dead_holders.add(holder)

    @precondition(lambda self: self.workers)
    @rule(number=numbers)
    def renew(self, number: int) -> None:
        """A worker renews its lease, and returns what the dead held."""
        worker, before = self.worker(number), self.look()
        for holder in worker.channel.holders:
            holder._renew()
        for holder in worker.channel.holders:  # in each partition one has returned what the others held by now
            self.dead_holders.discard(holder.id)
        self._swept(before)

    def _swept(self, before: Places) -> None:
        """What ended leases held is in its queues again, and in flight no more."""
        after = self.look()
        gone: set[str] = set()
        for holder in self.dead_holders:
            assert holder not in after.held
            for tag in before.held.get(holder, frozenset()) & before.in_flight.keys():
                assert tag not in after.in_flight
                gone.add(tag)
        for worker in self.workers:
            worker.received[:] = [message for message in worker.received if message.delivery_tag not in gone]
        self.dead_holders.clear()

    @staticmethod
    def _held_by(worker: Worker, places: Places) -> frozenset[str]:
        """The delivery tags of what a worker holds."""
        holders = [places.held.get(holder.id, frozenset[str]()) for holder in worker.channel.holders]
        return frozenset[str]().union(*holders)

    # Messages are received

    @precondition(lambda self: self.workers)
    @rule(number=numbers)
    def receive(self, number: int) -> None:
        """A worker takes what it has room for; what can be handed out is."""
        worker, before = self.worker(number), self.look()
        ready = [entry for entry in before.entries if self._is_ready(entry, before)]
        room = worker.room
        new = worker.take()
        worker.settle()  # what came before it was due waits in Redis again
        after = self.look()
        if isinstance(worker, Looper):
            assert len(new) == min(len(ready), room)
        elif type(worker) is Worker or room > 0:
            assert len(new) == min(len(ready), 1)
        else:
            assert not new
        for message in new:
            entry = after.in_flight[message.delivery_tag]
            assert message.delivery_tag in self._held_by(worker, after)
            self._is_whole(message, entry)
        for holder in worker.channel.holders:
            if after.held.get(holder.id) != before.held.get(holder.id):
                self.dead_holders -= {holder.id}

    def _is_ready(self, entry: Entry, places: Places) -> bool:
        if entry.place == "in flight" or entry.due > places.now:
            return False
        if entry.queue != QUEUES[1] and self.client.exists(f"{entry.prefix}{entry.queue}:hold"):
            return False
        due = due_at(to_payload(entry.text, tag="", queue=entry.queue)["headers"])
        return due is None or due <= places.now

    def _is_whole(self, message: Any, entry: Entry) -> None:
        """Compare what was received with what was put."""
        original = self.content[entry.name]
        if message.headers.get("poison") is not None:
            assert same_content(message.body, original)
            return
        wanted = parsed(original)
        assert wanted is not None
        assert message.body in (wanted.get("body"), f"<<{entry.name}>>".encode(), f"<<{entry.name}>>")
        assert message.delivery_tag == entry.tag

    # What is in flight ends, or goes back

    def _in_flight(self, number: int) -> tuple[Worker, Any, Entry] | None:
        held = [(worker, message) for worker in self.workers for message in worker.received]
        if not held:
            return None
        worker, message = held[number % len(held)]
        worker.received.remove(message)
        return worker, message, self.look().in_flight[message.delivery_tag]

    def _end(self, entry: Entry, label: str) -> None:
        if entry.queue == COUNTED:
            if not label:
                assert entry.name in {other.name for other in self.look().of(COUNTED)}
                return
            self.ended.update(label.split(","))
        self.alive[entry.name] -= 1

    @rule(number=numbers, label=st.sampled_from(LABELS))
    def ack(self, number: int, label: str) -> None:
        """A message ends; without a label, and if its queue is counted, it goes to the back of it."""
        if found := self._in_flight(number):
            worker, message, entry = found
            if label:
                worker.channel.qos.ack(message.delivery_tag, label)
            else:
                message.ack()
            worker.settle()
            assert message.delivery_tag not in self.look().in_flight
            self._end(entry, label)

    @rule(number=numbers)
    def reject(self, number: int) -> None:
        """A message is refused for good, where its end is not counted."""
        if found := self._in_flight(number):
            worker, message, entry = found
            message.reject()
            worker.settle()
            assert message.delivery_tag not in self.look().in_flight
            self._end(entry, "")

    @rule(number=numbers)
    def requeue(self, number: int) -> None:
        """A message goes to the back of its queue, marked."""
        if found := self._in_flight(number):
            worker, message, entry = found
            message.requeue()
            worker.settle()
            queued = [other for other in self.look().of(entry.queue) if other.place in self.lists(entry.queue)]
            backs = {other.place: other for other in reversed(queued)}
            assert entry.name in {other.name for other in backs.values()}

    @rule(number=numbers, wait=st.sampled_from([0, 3600]))
    def defer(self, number: int, wait: float) -> None:
        """A message waits in Redis."""
        if found := self._in_flight(number):
            worker, message, entry = found
            worker.channel.qos.defer(message.delivery_tag, wait=wait)
            worker.settle()
            scheduled = [other.name for other in self.look().of(entry.queue) if other.place.endswith(":delayed")]
            assert entry.name in scheduled

    @rule(number=numbers, eta=st.sampled_from([None, 3600]), tells=st.booleans())
    def retry(self, number: int, eta: int | None, tells: bool) -> None:
        """A task publishes itself again in place of its message, which Celery acknowledges afterwards."""
        if found := self._in_flight(number):
            worker, message, entry = found
            tells = tells or (entry.queue == COUNTED and self.partitions > 1)  # such a message always does
            held_in = worker.channel.holder_of(message.delivery_tag).held_key if tells else ""
            taken = Republished(message.delivery_tag, held_in)
            with (
                patch("worker.broker.safe_channel.republished", return_value=taken),
                patch("worker.broker.partitioned.republished", return_value=taken),
            ):
                assert self.put_by_celery(self.new_name(), entry.queue, 0, eta, OURS, prefix=entry.prefix)
            self.put[entry.queue] -= 1  # the same message still
            self.alive[entry.name] -= 1
            message.ack()
            worker.settle()

    @precondition(lambda self: self.workers)
    @rule(number=numbers, which=numbers, end=st.sampled_from(["ack", "requeue"]))
    def speak_late(self, number: int, which: int, end: str) -> None:
        """A worker ends or returns what it does not hold: that changes nothing."""
        worker, before = self.worker(number), self.look()
        others = sorted((before.in_flight.keys() | {"the same", "never seen"}) - self._held_by(worker, before))
        tag = others[which % len(others)]
        worker.channel.basic_ack(tag) if end == "ack" else worker.channel.basic_reject(tag, requeue=True)
        worker.settle()
        after = self.look()
        assert (after.entries, after.held, after.index) == (before.entries, before.held, before.index)

    @precondition(lambda self: self.workers)
    @rule(number=numbers)
    def recover(self, number: int) -> None:
        """A worker returns everything and goes on."""
        worker = self.worker(number)
        worker.channel.basic_recover(requeue=True)
        worker.received.clear()

    # Redis, and its operator

    @rule(number=numbers)
    def time_passes(self, number: int) -> None:
        """A scheduled message comes due."""
        scheduled = [entry for entry in self.look().entries if entry.due]
        if scheduled:
            entry = scheduled[number % len(scheduled)]
            self.client.zadd(entry.place, {entry.text: 1})

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        """The operator empties a queue; what is in flight stays."""
        gone = Counter(entry.name for entry in self.look().of(queue) if entry.place != "in flight")
        assert self.producer.default_channel.queue_purge(queue) == gone.total()
        self.alive -= gone
        if queue == COUNTED:
            self.ended["purged"] += gone.total()

    @rule(queue=st.sampled_from(["a", COUNTED]))
    def hold(self, queue: str) -> None:
        """The operator holds a queue."""
        for prefix in self.prefixes_of(queue):
            self.client.hset(f"{prefix}{queue}:hold", mapping={"kind": "operator"})

    @rule(queue=st.sampled_from(["a", COUNTED]))
    def resume(self, queue: str) -> None:
        """The operator lets it go."""
        for prefix in self.prefixes_of(queue):
            self.client.delete(f"{prefix}{queue}:hold")

    @rule()
    def forget_scripts(self) -> None:
        """Redis loses its scripts, as when it restarts."""
        self.client.script_flush()


def run(machine: type[Conservation], *, examples: int) -> None:
    """Run so many random histories."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS_EACH,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            report_multiple_bugs=False,
        ),
    )


def test_every_message_is_in_one_place_or_has_ended(valkey: RedisServer) -> None:
    """Over many random histories."""
    Conservation.server = valkey
    run(Conservation, examples=EXAMPLES)
