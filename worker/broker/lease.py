"""The lease on messages in flight, in Redis; a thread of its own renews it.

A lease belongs to one consuming channel. Its thread renews it, writes down what has ended, and returns the messages of
leases that ended. It outlives its channel while one of its messages is being worked on: the connection may be lost and
opened again meanwhile, and what ends then is still acknowledged, once.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Final

import redis

from worker.broker.gatherer import GATHER
from worker.broker.lease_scripts import LeaseScripts, process_id
from worker.broker.lease_state import SharedLeaseState
from worker.broker.noted import Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from worker.broker.gatherer import Gatherer
    from worker.broker.keys import Keys

__all__ = ["RENEWALS", "Lease"]

log = logging.getLogger(__name__)

RENEWALS: Final = 4
"""A lease is renewed this many times before it would end: three renewals may fail."""
_LONGEST_UNRENEWED: Final = 10.0
"""Seconds after which a lease is renewed, however long it is: it shows that Redis is there while nothing is fetched."""
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Seconds between tries while Redis is unavailable."""

_NUMBERS: Final = count(1)


class Lease:
    """Holds messages for one channel; safe for many threads.

    Args:
        pool: Connections of its own. They are closed when nothing is held any more.
        keys: The keys.
        lease: Seconds without a renewal after which it ends.
        node: The node name of its worker (`-n`), by which remote control addresses it; '' if it is no worker's.
        shared: What this process's leases share; None if nothing else settles messages.
    """

    def __init__(
        self,
        pool: redis.ConnectionPool,
        keys: Keys,
        *,
        lease: float,
        node: str = "",
        shared: SharedLeaseState | None = None,
    ) -> None:
        self.id = f"{process_id()}.{next(_NUMBERS)}{f':{node}' if node else ''}"
        self.lease_ms = max(1, round(lease * 1000))
        self.grouped = False
        """Whether what ends is written down together with what ends meanwhile; else at once, before `ack` returns."""
        self.partition = 0
        """The number of the partition that its messages lie in."""
        self.on_flushed: Callable[[], None] = lambda: None
        """Called, by the thread, after something was written down: there is room for more."""
        self.on_renewed: Callable[[], None] = lambda: None
        """Called, by the thread, after the lease was renewed."""
        self.gatherer: Gatherer | None = None
        """What ends the settled messages of several leases together, if there are several."""
        self._shared = shared or SharedLeaseState()
        self._mark = secrets.token_hex(6)
        self._fetches = count()
        self._pool = pool
        self._scripts = LeaseScripts(pool, keys, name=self.id, lease_ms=self.lease_ms)
        self._renew_every = min(lease / RENEWALS, _LONGEST_UNRENEWED)
        self._noted_at = 0.0
        self._credit_freed = False
        self._keep: frozenset[str] | None = None
        self._renewed = False
        self._renew_at = 0.0
        self._renewed_at = 0.0
        self._done = False
        self._changed = threading.Condition()
        self._noted = Noted(self._changed)
        self._one_at_a_time = threading.RLock()
        self._thread: threading.Thread | None = None

    @property
    def held_key(self) -> str:
        """The key of the set of what it holds."""
        return self._scripts.held_key

    @property
    def done(self) -> bool:
        """Whether it holds nothing any more, and never will."""
        return self._done

    def is_overdue(self, now: float) -> bool:
        """Whether it holds something, and its lease must have ended by ``now`` (of `time.monotonic`)."""
        return not self._done and bool(self._noted.held) and now - self._renewed_at > self.lease_ms / 1000

    @property
    def held(self) -> int:
        """How many messages it holds."""
        return len(self._noted.held)

    def without_end(self, now: float) -> float:
        """For how many seconds up to ``now`` (of `time.monotonic`) it has held something and ended nothing."""
        with self._changed:
            oldest = next(iter(self._noted.held.values()), now)
        return max(now - max(oldest, self._noted_at), 0.0)

    def __contains__(self, tag: object) -> bool:
        """Whether it holds this message."""
        return tag in self._noted.held

    def start(self) -> None:
        """Begin to renew it."""
        with self._changed:
            if self._thread is None and not self._done:
                self._renew_at = time.monotonic()
                self._renewed_at = self._renew_at
                self._shared.add_lease(self)
                self._thread = threading.Thread(target=self._run, name=f"lease {self.id}", daemon=True)
                self._thread.start()

    def next_fetch(self) -> str:
        """Name the next fetch, as no other of any lease is: delivery tags are made of it (`lua/fetch.lua`)."""
        return f"{self._mark}.{next(self._fetches)}"

    def hold(self, tags: Iterable[str]) -> None:
        """Note what was handed over to it."""
        self.start()
        with self._changed:
            self._noted.held.update(dict.fromkeys(tags, time.monotonic()))

    def ack(self, tag: str, label: str = "") -> None:
        """End a message.

        Args:
            tag: Its delivery tag.
            label: What to count, as `field` or `field,field`, if it was not settled before.

        Raises:
            redis.RedisError: Redis is unavailable, and it is not `grouped`. The message is ended once Redis is back.
        """
        self._note(self._noted.ended, tag, label)

    def requeue(self, tag: str) -> None:
        """Return a message to the end of its queue; raises as `ack`."""
        self._note(self._noted.returned, tag)

    def defer(self, tag: str, *, due: int | None = None, wait: float = 0) -> None:
        """Let a message wait in Redis; raises as `ack`.

        Args:
            tag: Its delivery tag.
            due: When it is due, in ms of Redis' clock.
            wait: Or in how many seconds.
        """
        self._note(self._noted.deferred, tag, f"+{round(wait * 1000)}" if due is None else str(due))

    def free_credit(self) -> None:
        """Call `on_flushed` soon, together with what ends meanwhile: there is prefetch credit again."""
        with self._changed:
            is_first = not self._must_flush
            self._credit_freed = True
            if is_first:
                self._tell()

    def _tell(self) -> None:
        if self.gatherer is None or not self.gatherer.add(self):
            self._changed.notify()

    @property
    def more_will_end(self) -> bool:
        """Whether it holds what has not ended yet."""
        return self._noted.pending < len(self._noted.held)

    def end_settled(self) -> None:
        """End the messages for which nothing is left to write; its thread writes the rest."""
        self._credit_freed = False
        self._noted.drop_ended(self._shared.take_settled)
        with self._changed:
            if self._noted.pending:
                self._changed.notify()

    def requeue_at_head(self, tags: Collection[str]) -> None:
        """Return messages to the heads of their queues, in their order, at once; raises `redis.RedisError`."""
        if tags:
            with self._one_at_a_time:
                self._scripts.requeue(list(tags), end="head")
            self._drop(tags)

    def release(self, keep: Collection[str] = ()) -> int:
        """Return all but ``keep``, which is still being worked on, to the heads of the queues, first what came first.

        While Redis is unavailable the thread goes on trying. The lease ends once it holds nothing. Returned is how many
        messages went back, as far as that is known at once.
        """
        with self._changed:
            self._keep = frozenset(keep)
            if self._thread is None:
                self._done = True  # it never held anything
                return 0
        try:
            self._write_down()
            return self._let_go()
        except redis.RedisError as error:
            log.warning("what is held goes back once Redis is there again, or when the lease ends: %s", error)
            return 0
        finally:
            with self._changed:
                self._changed.notify()

    def retire(self) -> None:
        """Take nothing more: what is in flight is seen to its end, and what Redis hands over to it yet goes back.

        That is so after the reply to a fetch was lost: its messages never arrived here.
        """
        with self._changed:
            self._keep = frozenset(self._noted.held)
            self._done = self._done or self._thread is None  # it never held anything
            self._changed.notify()

    def forget(self) -> None:
        """Leave everything to the process that this one was forked from."""
        self._done = True
        self._noted.held.clear()

    def _note(self, notes: dict[str, str], tag: str, what: str = "") -> None:
        if notes is not self._noted.ended:
            self._shared.take_settled(tag)  # what comes again is settled again
        with self._changed:
            is_first = not self._must_flush
            notes[tag] = what
            self._noted_at = time.monotonic()
            if self.grouped and is_first:
                self._tell()
        if not self.grouped:
            self._write_down()

    def _drop(self, tags: Iterable[str]) -> None:
        with self._changed:
            for tag in tags:
                self._noted.held.pop(tag, None)

    @property
    def _must_flush(self) -> bool:
        return self._credit_freed or self._noted.pending > 0

    @property
    def _may_gather(self) -> bool:
        """Whether more will end soon. Where nothing else is in flight, a fetch waits for room."""
        return self._must_flush and self.more_will_end and self._keep is None

    def _write_down(self) -> None:
        """Write down what has ended and what goes back. What fails stays noted, and is tried again."""
        with self._one_at_a_time:
            while self._must_flush:
                self._credit_freed = False
                with self._noted.taken(self._noted.ended) as ended:
                    self._scripts.end({tag: what for tag, what in ended.items() if not self._shared.take_settled(tag)})
                with self._noted.taken(self._noted.returned) as returned:
                    self._scripts.requeue(list(returned), end="back")
                with self._noted.taken(self._noted.deferred) as deferred:
                    self._scripts.schedule(deferred)
                self.on_flushed()

    def _let_go(self) -> int:
        with self._one_at_a_time:
            keep = self._keep
            if keep is None or self._done:
                return 0
            with self._changed:
                tags = [tag for tag in self._noted.held if tag not in keep]
            returned = self._scripts.requeue(tags, end="head", keep=keep)
            self._drop(tags)
            if not self._noted.held:
                self._done = True
                self._pool.disconnect()
            return returned

    def _renew(self) -> None:
        with self._one_at_a_time:
            if self._done:
                return
            self._renew_at = time.monotonic() + self._renew_every
            lived, ended = self._scripts.heartbeat()
            if self._renewed and not lived:
                self._shared.lost += 1
                log.warning("the lease of %s ended before it was renewed: others may have what it holds", self.id)
            self._renewed = True
            self._renewed_at = time.monotonic()
            self.on_renewed()
            returned, dead = self._scripts.reclaim(ended)
        if returned:
            log.warning("%d messages went back to their queues: their holders are dead: %s", returned, ", ".join(dead))

    def _wait(self, pause: float) -> None:
        with self._changed:
            if pause:
                self._changed.wait(pause)
            elif not self._must_flush:
                self._changed.wait(max(self._renew_at - time.monotonic(), 0))
        if self._may_gather:
            time.sleep(GATHER)

    def _run(self) -> None:
        pause = 0.0
        while not self._done:
            self._wait(pause)
            try:
                if time.monotonic() >= self._renew_at:
                    self._renew()
                self._write_down()
                self._let_go()
                pause = 0.0
            except redis.RedisError as error:
                refused = isinstance(error, redis.ResponseError) and not isinstance(error, redis.ConnectionError)
                level = logging.WARNING if refused and not pause else logging.DEBUG
                pause = min(max(pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
                log.log(level, "the lease of %s waits for Redis: %s", self.id, error)
            except Exception:
                pause = _LONGEST_PAUSE
                log.exception("a fault of ours in the lease of %s", self.id)
