"""The clients of a queue's partitions: one each, which says what stands before the partition's keys."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis

from producer.cluster import owner_of
from producer.partitions import partition_of, slot_of
from worker.clients.redis.cluster import ask_slot_ranges
from worker.clients.redis.keys import prefix_of
from worker.concurrency.at_once import ask_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from producer.broker_url import Place
    from producer.cluster import SlotRange

__all__ = ["Answers", "Partitions", "shown_partition"]

T = TypeVar("T")


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
        patience: Seconds for which a client waits for an answer.

    Attributes:
        patience: As it was given.
    """

    def __init__(
        self,
        clients: Sequence[redis.Redis],
        *,
        node: Callable[[Place], redis.Redis] | None = None,
        patience: float | None = None,
    ) -> None:
        self._clients = tuple(clients)
        self._node = node
        self.patience = patience
        self._late: dict[int, threading.Event] = {}
        """Of each partition that has not answered in time: set once it has."""

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

    def ask(
        self,
        question: Callable[[redis.Redis], T],
        *,
        only: Collection[int] | None = None,
        within: float | None = None,
    ) -> Answers[T]:
        """Ask the partitions, those of a cluster at the same time.

        Of one Redis the first failure to reach it is that of all: it is waited for once.

        Args:
            question: Asks one by its client.
            only: The numbers of those that are asked; all of them if None.
            within: Seconds after which a partition of a cluster counts as unavailable, and is not asked again until it
                has answered; as long as its client is patient if None.
        """
        numbers = range(len(self._clients)) if only is None else sorted(only)
        if self._node is not None and len(self._clients) > 1:
            return self._ask_at_once(question, numbers, within)
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

    def _ask_at_once(
        self, question: Callable[[redis.Redis], T], numbers: Sequence[int], within: float | None
    ) -> Answers[T]:
        """Ask in threads that no program waits for as it ends: the name of a node may be looked up for long."""
        asked = {n: threading.Event() for n in numbers if n not in self._late or self._late[n].is_set()}
        questions = [partial(_answered, question, self._clients[number], asked[number]) for number in asked]
        outcomes = dict(zip(asked, ask_at_once(questions, within=within), strict=True))
        found: dict[int, T] = {}
        errors: dict[int, redis.RedisError] = {}
        for number in numbers:
            match outcomes.get(number, TimeoutError()):
                case TimeoutError():
                    errors[number] = redis.TimeoutError("no answer in time")
                    self._late[number] = asked.get(number) or self._late[number]
                case redis.RedisError() as error:
                    errors[number] = error
                case Exception() as fault:
                    raise fault
                case answer:
                    found[number] = answer
        return Answers(of=found, errors=errors)

    def ping(self) -> None:
        """Return if every one answers; one Redis is asked once.

        Raises:
            redis.RedisError: One is unavailable; the message says which.
        """
        self.ask(_ping, only=None if self.is_cluster else (0,), within=self.patience).all(count=len(self._clients))

    def slots(self) -> list[SlotRange]:
        """Return which node has which slots; [] if all are in one Redis.

        Raises:
            redis.exceptions.NoPermissionError: The login may not ask.
            redis.RedisError: No partition can be asked.
        """
        if self._node is None:
            return []
        answers = self.ask(ask_slot_ranges, only=(0,), within=self.patience)
        if not answers.of and len(self._clients) > 1:  # any node knows
            answers = self.ask(ask_slot_ranges, only=range(1, len(self._clients)), within=self.patience)
        return next(iter(answers.of.values()), None) or answers.all(count=len(self._clients))[0]

    def places(self, slots: Sequence[SlotRange]) -> list[Place | None]:
        """Return the primary of each partition by its number, of what `slots` has told; None if it is not known."""
        return [owner_of(slots, slot_of(prefix_of(client))) for client in self._clients]

    @contextmanager
    def primaries(self) -> Iterator[Sequence[redis.Redis]]:
        """Open a client of every primary, also of those that have no partition; of one Redis it is that of `home`.

        Where the login may not ask which they are, those of the partitions are what there is.

        Raises:
            redis.RedisError: No partition can be asked which they are.
        """
        if self._node is None:
            yield (self.home,)
            return
        try:
            places = sorted({one.primary for one in self.slots()})
        except redis.exceptions.NoPermissionError:
            yield self._clients
            return
        clients = [self._node(place) for place in places]
        try:
            yield clients
        finally:
            for client in clients:
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
        slot = slot_of(key)
        place = owner_of(self.slots(), slot)
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


def _ping(client: redis.Redis) -> None:
    client.ping()


def _answered(question: Callable[[redis.Redis], T], client: redis.Redis, answered: threading.Event) -> T:
    try:
        return question(client)
    finally:
        answered.set()


def shown_partition(number: int) -> str:
    """Return a partition's number as it is shown, and stands in metrics."""
    return f"{number:02d}"


def _named(error: redis.RedisError, number: int) -> redis.RedisError:
    """The same error, with the partition in its message."""
    named: Any = copy(error)
    named.args = (f"partition {shown_partition(number)}: {error}",)
    named.__cause__ = error
    return named  # type: ignore[no-any-return]  # of the error's own class
