"""Revocations: each hits the messages that waited when it was made, and none that comes later.

Celery remembers a revoked task id in each worker's memory, for hours, and drops every message with that id. A client
may use the request_id as task id, so a revocation would swallow each later press on that answer. Here it is a moment:
what waits in the queue ends in Redis at once (`lua/revoke.lua`), and what a worker had in flight by then is hit when it
would begin, or comes again. A message's identity tells when it was first handed out, by Redis' clock (`fetch.lua`).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis

from producer.message import QUEUE
from worker.broker.keys import DELAYED
from worker.broker.payload import handed_out_at
from worker.broker.scripts import MESSAGE
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import COUNT, TIME, Script, lua
from worker.concurrency.at_once import ask_at_once
from worker.concurrency.scheduler import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from worker.broker.keys import Keys

__all__ = ["Revocations", "Searched", "criteria_of_ids", "criteria_of_stamps"]

log = logging.getLogger(__name__)

_REVOKE: Final = Script(TIME + COUNT + MESSAGE + lua("worker.delivery", "revoke"))
_AT_ONCE: Final = 5000
"""Entries that one step looks at: Redis serves no other client meanwhile, some 20 ms."""
_REMEMBERED: Final = 8 * 24 * 3600 * 1000
"""In ms, as Redis keeps them (`lua/revoke.lua`): longer than any message is retried by default."""
_MOST: Final = 50_000
"""As many as Celery remembers of its own."""
_ANSWER_WITHIN: Final = 0.5
"""Seconds in which each of several partitions has to answer: who revokes waits a second for the worker's reply."""
_PAUSE: Final = 1.0
"""Seconds before a step that failed is tried again."""


class _Step(NamedTuple):
    """What a step of the script answered."""

    state: str
    ended: list[str]
    rest: list[int]


def criteria_of_ids(task_ids: Iterable[object]) -> list[str]:
    """Return what messages with these task ids are named by."""
    return [f"id:{task_id}" for task_id in task_ids]


def criteria_of_stamps(stamps: Mapping[str, Any]) -> list[str]:
    """Return what messages with any of these stamps are named by: header -> value, or list of values."""
    return [f"stamp:{header}={value}" for header, values in stamps.items() for value in _each(values)]


@dataclass(frozen=True, slots=True)
class Searched:
    """A partition in which messages may be revoked.

    Attributes:
        client: Returns a client that puts no prefix before keys.
        keys: The names of the partition's keys.

    Every method raises `redis.RedisError` when its Redis is unavailable, or refuses.
    """

    client: Callable[[], redis.Redis]
    keys: Keys

    def revoked(self) -> tuple[int, list[tuple[Any, float]]]:
        """Return the time, and what is revoked: criterion, and until when; in ms."""
        with self.client() as client:
            now = _milliseconds(client.time())
            return now, client.zrange(feedback_keys(client).revoked, 0, -1, withscores=True)

    def until_of(self, criterion: str) -> tuple[int, int]:
        """Return until when a message is hit, 0 if none is; and the time; in ms."""
        with self.client() as client:
            until = int(client.zscore(feedback_keys(client).revoked, criterion) or 0)
            return until, _milliseconds(client.time())

    def step(self, criteria: list[str], *, begins: bool, place: int, entry: int) -> _Step:
        """Take one step; see `lua/revoke.lua`."""
        lists = self.keys.lists(QUEUE)
        # What is due goes from the delayed messages to the lists, so those come first.
        places = [*(name + DELAYED for name in lists), *lists]
        with self.client() as client:
            arguments = [int(begins), _AT_ONCE, place, entry, *criteria]
            answer = _REVOKE(client, [feedback_keys(client).revoked, self.keys.counts_of(QUEUE), *places], arguments)
        state, *rest = answer
        ended = [_text(task_id) for task_id in rest[0]] if rest else []
        return _Step(_text(state), ended, rest[1:])


class Revocations:
    """The revocations as one worker process knows them; safe for many threads."""

    def __init__(self) -> None:
        self._until: dict[str, int | None] = {}
        """By criterion; None where Redis has to be asked, because a worker is still at it."""
        self._partitions: tuple[Searched, ...] = ()

    def connect(self, partitions: Iterable[Searched]) -> None:
        """Take over what was revoked before this worker came.

        What one of several partitions says is learned later, if its server is away; most revocations are in all.

        Args:
            partitions: The partitions of the queue.

        Raises:
            redis.RedisError: Every partition is unavailable, or refuses.
        """
        self._partitions = tuple(partitions)
        if away := self._learn_from(self._partitions):
            failed, error = zip(*away, strict=True)
            if len(failed) == len(self._partitions):
                raise error[0]
            log.warning("what was revoked in %d partitions is learned later: %s", len(failed), error[0])
            arguments = (self._partitions, failed)
            threading.Thread(target=self._learn_later, args=arguments, name="revoked before", daemon=True).start()

    def _learn_later(self, all_of_them: tuple[Searched, ...], partitions: Sequence[Searched]) -> None:
        """Learn what the partitions say whose servers were away, until this worker connects again."""
        while partitions and self._partitions is all_of_them:
            time.sleep(_PAUSE)
            partitions = [partition for partition, _ in self._learn_from(partitions)]

    def _learn_from(self, partitions: Sequence[Searched]) -> list[tuple[Searched, redis.RedisError]]:
        """Learn what partitions say; return those that can't be asked, and why."""
        away = []
        answers = ask_at_once([partition.revoked for partition in partitions])
        for partition, answer in zip(partitions, answers, strict=True):
            if isinstance(answer, redis.RedisError):
                away.append((partition, answer))
                continue
            if isinstance(answer, Exception):
                raise answer
            now, revoked = answer
            for criterion, until in revoked:
                if isfinite(until):
                    self._learn(_text(criterion), int(until) if until <= now else None)
            self._forget(now)
        return away

    def _learn(self, criterion: str, until: int | None) -> None:
        """Note what one more partition says: a revocation ends with that of its last partition."""
        known = self._until.get(criterion, 0)
        self._until[criterion] = None if until is None or known is None else max(until, known)

    def revoke(self, criteria: list[str], *, on_ended: Callable[[Collection[str]], None]) -> None:
        """Revoke what waits. A long backlog is looked through by a thread; until that is done it is open.

        Args:
            criteria: What is revoked, from `criteria_of_ids` and `criteria_of_stamps`.
            on_ended: Called with the task ids of messages that have ended with it, by this thread or another.

        Raises:
            redis.RedisError: A partition is unavailable, or refuses: nothing was revoked there; in the others it was.
        """
        if not criteria:
            return
        if not self._partitions:
            raise redis.ConnectionError("this worker is not connected to Redis yet")
        self._until.update(dict.fromkeys(criteria))
        steps = self._begin(criteria, on_ended)
        if failed := [step for step in steps if isinstance(step, Exception)]:
            raise _told_of(failed, len(self._partitions)) from failed[0]
        untils = [step.rest[0] for step in steps if isinstance(step, _Step) and step.state == "done"]
        if len(untils) == len(self._partitions):  # else Redis is asked: some worker is still at it
            self._until.update(dict.fromkeys(criteria, max(untils)))
            self._forget(max(untils))

    def _begin(self, criteria: list[str], on_ended: Callable[[Collection[str]], None]) -> list[_Step | Exception]:
        """Take the first step in each partition, and return how it went; of several no server is waited for for long.

        It is the event loop that waits. One that answers later has revoked all the same, as it has if it is told again.
        """

        def begin(partition: Searched) -> _Step:
            step = partition.step(criteria, begins=True, place=0, entry=0)
            _tell(step, on_ended)
            if step.state == "more":
                arguments = {"partition": partition, "criteria": criteria, "step": step, "on_ended": on_ended}
                threading.Thread(target=self._go_on, kwargs=arguments, name="revoking", daemon=True).start()
            return step

        within = _ANSWER_WITHIN if len(self._partitions) > 1 else None
        steps = ask_at_once([partial(begin, partition) for partition in self._partitions], within=within)
        for step in steps:
            if isinstance(step, Exception) and not isinstance(step, (redis.RedisError, TimeoutError)):
                raise step
        return steps

    def hit(self, task_id: str, stamps: Mapping[str, Any], identity: str) -> bool:
        """Return whether a message is revoked.

        Args:
            task_id: Its task id.
            stamps: Its stamps: header -> value, or list of values.
            identity: The delivery tag that it had when it was first handed out.
        """
        if not self._until:
            return False
        named = [name for name in [*criteria_of_ids([task_id]), *criteria_of_stamps(stamps)] if name in self._until]
        first = handed_out_at(identity) if named else None
        return first is not None and any(first <= self._until_of(name) for name in named)

    def _until_of(self, criterion: str) -> int:
        until = self._until.get(criterion, 0)
        if until is None:
            try:
                until = run_in_thread(self._ask, criterion)  # a delivery that waits for it holds no other up
            except redis.RedisError as error:
                log.warning("whether a message is revoked is not known, so it is delivered: %s", error)
        return until or 0

    def _ask(self, criterion: str) -> int:
        """Return until when a message is hit, as Redis has it, and remember that once no worker is at it any more.

        One partition that knows is enough; raises `redis.RedisError` if none can be asked.
        """
        answers = ask_at_once([partial(partition.until_of, criterion) for partition in self._partitions])
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        known = [answer for answer in answers if not isinstance(answer, Exception)]
        if failed and not known:
            raise failed[0]
        until = max(there for there, _ in known)
        if not failed and all(there <= now for there, now in known):
            self._until[criterion] = until
        return until

    def _forget(self, now: int) -> None:
        """Forget what no message is old enough for, and the first ones of too many."""
        for criterion, until in list(self._until.items()):
            if until is not None and until < now - _REMEMBERED:
                self._until.pop(criterion, None)
        for criterion in list(self._until)[: max(len(self._until) - _MOST, 0)]:
            self._until.pop(criterion, None)

    def _go_on(
        self, partition: Searched, criteria: list[str], step: _Step, on_ended: Callable[[Collection[str]], None]
    ) -> None:
        while step.state == "more":
            asked = time.monotonic()
            try:
                step = partition.step(criteria, begins=False, place=step.rest[0], entry=step.rest[1])
                _tell(step, on_ended)
                if step.state == "done" and len(self._partitions) == 1:
                    self._until.update(dict.fromkeys(criteria, step.rest[0]))
                    self._forget(step.rest[0])
                time.sleep(time.monotonic() - asked)  # half of Redis' time is for others
            except redis.RedisError as error:
                log.warning("a revocation waits for Redis: %s", error)
                time.sleep(_PAUSE)


def _tell(step: _Step, on_ended: Callable[[Collection[str]], None]) -> None:
    if step.ended:
        log.info("revoked while they waited: %s", ", ".join(step.ended))
        on_ended(step.ended)


def _told_of(failed: Sequence[Exception], partitions: int) -> Exception:
    """Return one error for those of several partitions; the only one as it is."""
    if partitions == 1:
        return failed[0]
    return redis.ConnectionError(f"{len(failed)} of {partitions} partitions can't be asked; revoke again: {failed[0]}")


def _each(values: object) -> list[object]:
    return list(values) if isinstance(values, list | tuple | set | frozenset) else [values]


def _milliseconds(time_of_redis: tuple[int, int]) -> int:
    seconds, microseconds = time_of_redis
    return seconds * 1000 + microseconds // 1000


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
