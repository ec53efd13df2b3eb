"""The clients of a queue's partitions: one each, which says what stands before the partition's keys."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import redis

from producer.partitions import partition_of
from worker.clients.redis.cluster import slot_of_key, slot_ranges
from worker.clients.redis.keys import prefix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from producer.broker_url import Place
    from worker.clients.redis.cluster import SlotRange

__all__ = ["Answers", "Partitions", "partition_of_digest", "shown_partition"]

T = TypeVar("T")

_THREADS: Final = 64
"""Partitions of a cluster that are asked at once: a frozen primary holds up each of its own for as long as a client is
patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers(Generic[T]):
    """What the partitions that were asked have answered.

    Attributes:
        of: By the partition's number.
        errors: Why the others did not, by number.
    """

    of: Mapping[int, T] = field(default_factory=dict)
    errors: Mapping[int, redis.RedisError] = field(default_factory=dict)

    def all(self, *, count: int) -> list[T]:
        """Return all answers by number; raises the first error, which names its partition where there are ``count``."""
        if self.errors:
            number, error = min(self.errors.items())
            raise error if count == 1 or not self.of else _named(error, number)
        return [answer for _, answer in sorted(self.of.items())]


class Partitions:
    """The clients of all partitions of one queue.

    Args:
        clients: One for each, by the partition's number. They are closed with this.
        node: Returns a client of the node of a cluster at a place, if each may lie on another; None for one Redis.
    """

    def __init__(self, clients: Sequence[redis.Redis], *, node: Callable[[Place], redis.Redis] | None = None) -> None:
        self._clients = tuple(clients)
        self._node = node

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[redis.Redis]:
        return iter(self._clients)

    def __getitem__(self, number: int) -> redis.Redis:
        return self._clients[number]

    @property
    def home(self) -> redis.Redis:
        """The client of the first partition, in which everything is that there is once for all of them."""
        return self._clients[0]

    @property
    def is_cluster(self) -> bool:
        """Whether each may lie on another node."""
        return self._node is not None

    def of(self, request_id: str) -> redis.Redis:
        """Return the client of the partition that an event belongs to."""
        return self._clients[self.number_of(request_id)]

    def number_of(self, request_id: str) -> int:
        """Return the number of the partition that an event belongs to."""
        return partition_of(request_id, len(self._clients))

    def ask(self, question: Callable[[redis.Redis], T], *, only: Collection[int] | None = None) -> Answers[T]:
        """Ask the partitions, those of a cluster at the same time.

        Of one Redis the first failure to reach it is that of all: nobody waits for it again and again.

        Args:
            question: Asks one by its client.
            only: The numbers of those that are asked; all of them if None.
        """
        numbers = range(len(self._clients)) if only is None else sorted(only)
        if self._node is not None and len(numbers) > 1:
            return self._ask_at_once(question, numbers)
        found: dict[int, T] = {}
        errors: dict[int, redis.RedisError] = {}
        for number in numbers:
            try:
                found[number] = question(self._clients[number])
            except (redis.ConnectionError, redis.TimeoutError) as error:
                return Answers(of=found, errors=errors | dict.fromkeys(set(numbers) - set(found) - set(errors), error))
            except redis.RedisError as error:
                errors[number] = error
        return Answers(of=found, errors=errors)

    def ask_all(self, question: Callable[[redis.Redis], T], *, only: Collection[int] | None = None) -> list[T]:
        """Ask the partitions as `ask` does, and return what each has answered.

        Raises:
            redis.RedisError: One is unavailable, or refuses; the message says which.
        """
        return self.ask(question, only=only).all(count=len(self._clients))

    def _ask_at_once(self, question: Callable[[redis.Redis], T], numbers: Sequence[int]) -> Answers[T]:
        """Threads of its own, that no program waits for as it ends: the name of a node may be looked up for long."""
        waiting, found, errors = deque(numbers), dict[int, T](), dict[int, redis.RedisError]()
        faults: list[BaseException] = []

        def work() -> None:
            while not faults:
                try:
                    number = waiting.popleft()
                except IndexError:
                    return
                try:
                    found[number] = question(self._clients[number])
                except redis.RedisError as error:
                    errors[number] = error
                except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asks
                    faults.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(numbers), _THREADS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        return Answers(of=found, errors=errors)

    def ping(self) -> None:
        """Return if every one answers; one Redis is asked once.

        Raises:
            redis.RedisError: One is unavailable; the message says which.
        """
        self.ask_all(lambda client: client.ping(), only=None if self.is_cluster else (0,))

    def slots(self) -> list[SlotRange]:
        """Return which node has which slots; [] if all are in one Redis.

        Raises:
            redis.RedisError: No partition can be asked.
        """
        if self._node is None:
            return []
        failure: redis.RedisError | None = None
        for client in self._clients:  # any node knows
            try:
                return slot_ranges(client)
            except redis.RedisError as error:
                failure = failure or error
        raise failure or redis.ConnectionError("there is no partition")

    def places(self, slots: Sequence[SlotRange]) -> list[Place | None]:
        """Return the primary of each partition by its number, of what `slots` has told; None if it is not known."""
        by_slot = [slot_of_key(prefix_of(client).encode()) for client in self._clients]
        return [next((one.primary for one in slots if one.first <= slot <= one.last), None) for slot in by_slot]

    @contextmanager
    def primaries(self) -> Iterator[dict[Place | None, redis.Redis]]:
        """Open a client of every primary, also of those that have no partition; of one Redis it is that of `home`.

        Raises:
            redis.RedisError: No partition can be asked which they are.
        """
        if self._node is None:
            yield {None: self.home}
            return
        clients: dict[Place | None, redis.Redis] = {}
        try:
            for place in sorted({one.primary for one in self.slots()}):
                clients[place] = self._node(place)
            yield clients
        finally:
            for client in clients.values():
                client.close()

    @contextmanager
    def of_key(self, key: bytes) -> Iterator[redis.Redis]:
        """Open a client of the server that has a key, whatever stands before it.

        Raises:
            redis.RedisError: No partition can be asked, or no node has its slot.
        """
        if self._node is None:
            yield self.home
            return
        slot = slot_of_key(key)
        place = next((one.primary for one in self.slots() if one.first <= slot <= one.last), None)
        if place is None:
            raise redis.exceptions.ClusterDownError(f"no node has the slot {slot}")
        client = self._node(place)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()


def partition_of_digest(digest: bytes, count: int) -> int:
    """Return the number of the partition of a request_id by its digest; see `producer.partitions.partition_of`.

    Args:
        digest: 16 bytes of BLAKE2b, by which votes are remembered.
        count: How many partitions there are.
    """
    return int.from_bytes(digest[4:8], "big") % count


def shown_partition(number: int) -> str:
    """Return a partition's number as it is shown, and stands in metrics."""
    return f"{number:02d}"


def _named(error: redis.RedisError, number: int) -> redis.RedisError:
    """The same error, with the partition in its message."""
    named: Any = copy(error)
    named.args = (f"partition {shown_partition(number)}: {error}",)
    named.__cause__ = error
    return named  # type: ignore[no-any-return]  # of the error's own class
