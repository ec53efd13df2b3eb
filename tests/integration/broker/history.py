"""What comes into queues in a random history, and the books of it: what must be somewhere, and what has ended."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from producer.partitions import tags
from tests.integration.broker.consumers import connect, spread
from tests.integration.broker.messages import FOREIGN, NO_MESSAGES, OURS, as_text, content, spell
from tests.integration.broker.places import (
    STEPS,
    Entry,
    Places,
    lists_of,
    look,
    name_of,
    parsed,
    same_content,
    text_of,
    together,
    unwrapped,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.processes import RedisServer

__all__ = ["COUNTED", "LEASE", "QUEUES", "History"]

COUNTED: Final = "counted"
QUEUES: Final = ("a", 'b "/\\" ü', COUNTED)
LEASE: Final = 3600.0
"""Seconds: no lease ends and none is renewed but when the machine says so."""
ENDS: Final = ("delivered", "duplicate", "dead", "revoked", "purged")


class History(RuleBasedStateMachine):
    """What came into the queues, and what became of it."""

    server: RedisServer
    partitions = 1

    def __init__(self) -> None:
        super().__init__()
        self.client = redis.Redis(port=self.server.port)
        self.client.flushall()
        self.alive: Counter[str] = Counter()
        """How many messages of a name must be somewhere."""
        self.content: dict[str, bytes] = {}
        """What the messages of a name were when they were put."""
        self.ended: Counter[str] = Counter()
        """What became of the messages of the counted queue."""
        self.put: Counter[str] = Counter()
        """How many messages came into a queue."""
        self.place_of: dict[str, str] = {}
        """What stands before the keys of the partition into which the messages of a name were put."""
        self.prefix = ""
        self._producer: Any = None

    @initialize(prefix=st.sampled_from(["", "app:"]))
    def connect(self, prefix: str) -> None:
        """All keys may have a prefix."""
        self.prefix = prefix

    @property
    def producer(self) -> Any:
        """A connection to publish over."""
        if self._producer is None:
            self._producer = connect(self.server, **self.options)
        return self._producer

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What stands before the keys of each partition."""
        return tags(self.partitions) if self.partitions > 1 else (self.prefix,)

    def prefixes_of(self, queue: str) -> tuple[str, ...]:
        """Those of the partitions that a queue lies in."""
        return self.prefixes if queue == COUNTED else self.prefixes[:1]

    @property
    def options(self) -> dict[str, Any]:
        """The transport's options."""
        where = spread(self.server, self.partitions) if self.partitions > 1 else {"global_keyprefix": self.prefix}
        return where | {
            "lease": LEASE,
            "counts": {COUNTED: f"{COUNTED}:counts"},
            "holds": {"a": "a:hold", COUNTED: f"{COUNTED}:hold"},
        }

    def teardown(self) -> None:
        """Close everything."""
        if self._producer is not None:
            self._producer.release()
        self.client.close()

    def key(self, name: str) -> str:
        """A key's whole name, of what there is once."""
        return self.prefixes[0] + name

    def lists(self, queue: str) -> list[str]:
        """A queue's lists, in all partitions."""
        return [name for prefix in self.prefixes_of(queue) for name in lists_of(queue, prefix=prefix)]

    def prefix_for(self, name: str, queue: str) -> str:
        """That of the partition in which a client lays a message: any, as clients may be wrong."""
        prefixes = self.prefixes_of(queue)
        return prefixes[int(name[1:]) % len(prefixes)]

    def lay(self, name: str, queue: str, step: int, text: bytes) -> str:
        """Push a message to a list of a queue, by the number of its priority step; return the partition's prefix."""
        prefix = self.prefix_for(name, queue)
        self.client.lpush(lists_of(queue, prefix=prefix)[step], text)
        self._note(name, queue, text, prefix)
        return prefix

    def look(self) -> Places:
        """Read this moment."""
        return together([look(self.client, QUEUES, prefix=prefix) for prefix in self.prefixes])

    def leases_in(self, prefix: str) -> set[str]:
        """The holders that have a lease in a partition."""
        return {text_of(holder) for holder in self.client.zrange(f"{prefix}unacked_leases", 0, -1)}

    @property
    def leases(self) -> set[str]:
        """The holders that have a lease."""
        return {holder for prefix in self.prefixes for holder in self.leases_in(prefix)}

    @property
    def counts(self) -> Counter[str]:
        """The counts of the counted queue, in all partitions."""
        counts: Counter[str] = Counter()
        for prefix in self.prefixes:
            for name, number in self.client.hgetall(f"{prefix}{COUNTED}:counts").items():
                counts[text_of(name)] += int(number)
        return counts

    # Messages come

    def new_name(self) -> str:
        """A name for the next message."""
        return f"m{len(self.content)}"

    def _note(self, name: str, queue: str, text: bytes, prefix: str) -> None:
        self.content[name] = text
        self.place_of[name] = prefix
        self.alive[name] += 1
        self.put[queue] += 1

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.integers(0, 9),
        eta=st.sampled_from([None, -60, 3600]),
        headers=st.sampled_from([FOREIGN, OURS]),
    )
    def publish(self, queue: str, priority: int, eta: int | None, headers: Mapping[str, Any]) -> None:
        """Celery publishes, for now or for later."""
        self.put_by_celery(self.new_name(), queue, priority, eta, headers)
        if queue == COUNTED and headers == OURS:
            self._count(self.prefixes[0])  # it is no event

    def _count(self, prefix: str) -> None:
        """As a client that says in the header that the message is counted."""
        self.client.hincrby(f"{prefix}{COUNTED}:counts", "accepted", 1)

    def put_by_celery(
        self, name: str, queue: str, priority: int, eta: int | None, headers: Mapping[str, Any], *, prefix: str = ""
    ) -> bool:
        """Publish as Celery does; return whether a message came into the queue. ``prefix`` is where it must lie."""
        before = Counter(entry.text for entry in self.look().entries)
        channel = self.producer.default_channel
        moment = None if eta is None else (datetime.now(UTC) + timedelta(seconds=eta)).isoformat()
        message = channel.prepare_message(
            f"<<{name}>>", priority=priority, headers={"id": f"<<{name}>>", "eta": moment, **headers}
        )
        channel.basic_publish(message, "", queue)
        new = [text for text in Counter(entry.text for entry in self.look().entries) - before if name_of(text) == name]
        if not new:
            return False
        self._note(name, queue, new[0], prefix or self.prefixes[0])
        return True

    @rule(
        queue=st.sampled_from(QUEUES),
        step=st.sampled_from(STEPS),
        tag=st.sampled_from(["", "", "the same", 'odd "/\\ tag', "großes 🎉"]),
        eta=st.sampled_from([None, None, "2000-01-01T00:00:00", "2999-01-01T00:00:00Z", "someday"]),
        twice=st.booleans(),
        data=st.data(),
    )
    def enqueue(self, data: st.DataObject, *, queue: str, step: int, tag: str, eta: str | None, twice: bool) -> None:
        """A foreign client pushes, in its own JSON; perhaps twice the same, or with the tag of another."""
        name = self.new_name()
        headers = FOREIGN if eta is None else {"eta": eta}
        text = data.draw(spell(name, tag=tag, queue=queue, priority=step, headers=headers))
        for _ in range(1 + twice):
            self.lay(name, queue, STEPS.index(step), text)

    @rule(queue=st.sampled_from(QUEUES), priority=st.integers(0, 3), tag=st.sampled_from(["", "the same"]))
    def enqueue_ours(self, queue: str, priority: int, tag: str) -> None:
        """Our producer enqueues, and counts."""
        name = self.new_name()
        text = as_text(content(name, tag=tag, queue=queue, headers=OURS))
        prefix = self.lay(name, queue, priority, text)
        if queue == COUNTED:
            self._count(prefix)

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.integers(0, 3),
        before=st.sampled_from(NO_MESSAGES) | st.binary(max_size=8),
        in_front=st.booleans(),
    )
    def enqueue_poison(self, queue: str, priority: int, before: bytes, in_front: bool) -> None:
        """Push what is no message; it is given a name, so that it can be told from others."""
        name = self.new_name()
        mark = f"<<{name}>>".encode()
        text = before + mark if in_front else mark + before
        if before.startswith(b'{"') and before.endswith(b"}"):
            text = b'{"body": "' + mark + b'", ' + before[1:] if in_front else before[:-1] + b', "a": "' + mark + b'"}'
        self.lay(name, queue, priority, text)

    # What is always so

    @invariant()
    def everything_is_in_order(self) -> None:
        """After each step."""
        places = self.look()
        self._is_in_one_place_or_has_ended(places)
        self._is_what_it_was(places)
        self._is_in_one_hand(places)
        self._is_where_it_was_put(places)
        self._balances(places.of(COUNTED))

    def _is_in_one_place_or_has_ended(self, places: Places) -> None:
        """None is lost, none invented."""
        assert Counter(entry.name for entry in places.entries) == +self.alive

    def _is_what_it_was(self, places: Places) -> None:
        """Byte for byte, but for the marks of a redelivery."""
        for entry in places.entries:
            assert same_content(entry.text, self.content[entry.name]), (entry.text, self.content[entry.name])

    def _is_in_one_hand(self, places: Places) -> None:
        """What is in flight is in one; and in the index, from which plain Celery workers would return it."""
        hands = Counter(tag for tags in places.held.values() for tag in tags if tag in places.in_flight)
        assert hands == Counter(places.in_flight.keys())
        assert places.index >= places.in_flight.keys()
        assert self.leases >= {holder for holder, tags in places.held.items() if tags}

    def _is_where_it_was_put(self, places: Places) -> None:
        """No message ever goes to another partition."""
        for entry in places.entries:
            assert entry.prefix == self.place_of[entry.name], entry

    def _balances(self, places: list[Entry]) -> None:
        """What was accepted has ended or is in its place, exactly."""
        counts = self.counts
        fresh = [one for one in places if one.place != "in flight" and not one.is_marked and not _is_ours(one)]
        accepted = counts.pop("accepted", 0) + len(fresh)
        assert accepted == self.put[COUNTED]
        assert accepted == sum(counts.get(end, 0) for end in ENDS) + len(places)
        assert counts == +self.ended
        for prefix in self.prefixes if self.partitions > 1 else ():
            self._balances_in(prefix, [entry for entry in places if entry.prefix == prefix])

    def _balances_in(self, prefix: str, places: list[Entry]) -> None:
        """And so it is in each partition by itself."""
        found = self.client.hgetall(f"{prefix}{COUNTED}:counts")
        counts = {text_of(name): int(number) for name, number in found.items()}
        fresh = [one for one in places if one.place != "in flight" and not one.is_marked and not _is_ours(one)]
        ended = sum(counts.get(end, 0) for end in ENDS)
        assert counts.get("accepted", 0) + len(fresh) == ended + len(places)


def _is_ours(entry: Entry) -> bool:
    message = parsed(unwrapped(entry.text))
    return isinstance(message, dict) and "feedback" in (message.get("headers") or {})
