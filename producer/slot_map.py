"""Which primary of a cluster has each partition, as far as is known.

The map is asked of any node (``CLUSTER SLOTS``), in a thread of its own and by one at a time, so that a node that
answers nothing holds up no call but those that need the map. It may be out of date at any moment: only what a node
answers to a command counts, and a redirection corrects the map at once.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#moved-redirection
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from contextlib import nullcontext
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from producer._connection import Connection, said
from producer._forks import OPENSSL, in_each_child, notice_fork
from producer.cluster import MOST_KNOWN, SlotRange, nodes_of, owner_of, slot_ranges
from producer.errors import ProducerError
from producer.locator import ask_each, shown
from producer.partitions import RECORD, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer._partition_check import PartitionCheck
    from producer.address import Address
    from producer.broker_url import Place

__all__ = ["SlotMap"]

_GAP: Final = 0.1
"""Seconds between two questions for the map: a failover takes seconds, and there may be many producers."""

_PATIENCE: Final = 1.0
"""Seconds for each step of asking a node at most: another one is asked meanwhile."""


class SlotMap:
    """The primaries of the partitions.

    Args:
        address: The cluster's URL.
        record: What the recorded number of partitions must be: nothing is sent before that is known.

    Attributes:
        version: A number that grows whenever something was learnt, or could not be.
        problem: Why a primary is not known.
        is_refused: Whether the queue has another number of partitions, as ``problem`` says.
    """

    _changing: Lock
    _asking: Future[None]
    _asked_at: float

    def __init__(self, address: Address, record: PartitionCheck) -> None:
        self._address = address
        self._record = record
        self._slots = [slot_of(prefix) for prefix in address.prefixes]
        self._owners: tuple[Place | None, ...] = (None,) * len(self._slots)
        self._order = address.nodes
        self._compared: tuple[Place | None, ...] | None = None
        self.version = 0
        self.problem = "no node of the cluster was asked yet"
        self.is_refused = False
        self._start_afresh()
        _MAPS.add(self)

    def owner(self, partition: int) -> Place | None:
        """Return the primary that has a partition; None if that is not known."""
        return self._owners[partition]

    def owners(self) -> frozenset[Place]:
        """Return all primaries that have partitions."""
        return frozenset(owner for owner in self._owners if owner is not None)

    def moved(self, partition: int, place: Place) -> None:
        """Note where a node says that a partition is, and ask for the rest of the map."""
        with self._changing:
            self._owners = (*self._owners[:partition], place, *self._owners[partition + 1 :])
            self.version += 1
        self.refresh()

    def refresh(self) -> Future[None]:
        """Begin to ask for the map, unless that is under way, and return what ends when it has been asked for.

        It never fails: `owner`, or ``problem``, tell what was learnt.
        """
        notice_fork()
        with self._changing:
            if self._asking.done():
                self._asking = Future()
                try:
                    Thread(target=self._ask, args=(self._asking,), name="feedback-slots", daemon=True).start()
                except RuntimeError as error:  # no more threads, or the interpreter is on its way out
                    self.problem = said(error)
                    self._asking.set_result(None)
            return self._asking

    def _ask(self, asking: Future[None]) -> None:
        time.sleep(max(0.0, self._asked_at + _GAP - time.monotonic()))
        self._asked_at = time.monotonic()
        try:
            self._learn()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the calls that wait are told
            self.problem = said(error)
        finally:
            with self._changing:
                self.version += 1
            asking.set_result(None)

    def _learn(self) -> None:
        owners, record_at = self._told()
        if self._compared is not None and not self.is_refused:
            self._owners = owners  # and no call waits for what comes now
        if owners != self._compared:
            try:
                mismatch = self._mismatch(record_at)
            except OSError as error:
                if self._compared is None:
                    raise
                self.problem = said(error)
                return
            self._compared = None if mismatch else owners
            self.is_refused = mismatch is not None
            self.problem = mismatch or ""
            self._owners = (None,) * len(owners) if mismatch else owners

    def _told(self) -> tuple[tuple[Place | None, ...], Place]:
        """Ask the nodes, and return what the first one that answers says of the partitions, and of the record."""
        problems = []
        answers = ask_each(self._order, self._ranges_of, kind="node", tls=self._address.tls, patience=_PATIENCE)
        for place, answer in answers:
            if isinstance(answer, BaseException):
                problems.append(f"node {shown(place)}: {said(answer)}")
                continue
            self._reorder(place, nodes_of(answer))
            record_at = owner_of(answer, slot_of(RECORD))
            if record_at is None:
                raise ConnectionError(f"node {shown(place)} knows no node that has the slot of {RECORD}")
            return tuple(owner_of(answer, slot) for slot in self._slots), record_at
        raise ConnectionError(f"no node of {self._address} tells where the slots are; {'; '.join(problems)}")

    def _ranges_of(self, place: Place) -> list[SlotRange]:
        connection = self._address.node(place, patience=_PATIENCE)
        try:
            connection.connect()
            connection.send_command("CLUSTER", "SLOTS")
            ranges = slot_ranges(connection.read_response() or [], place)
        finally:
            connection.disconnect()
        if not ranges:
            raise LookupError("it knows no slots")
        return ranges

    def _reorder(self, answered: Place, known: Sequence[Place]) -> None:
        """Ask another node next, as this one may be cut off from the rest, and those that were silent last."""
        at = self._order.index(answered)
        silent = self._order[:at]
        others = [place for place in (*self._order[at + 1 :], *known) if place not in {answered, *silent}]
        living = {*known[:MOST_KNOWN], *self._address.nodes}
        order = dict.fromkeys(place for place in (*others, answered, *silent) if place in living or place == answered)
        self._order = tuple(order)

    def _mismatch(self, place: Place) -> str | None:
        """Return in what the recorded number of partitions differs, by the node that has it; None if it does not."""
        owner = self._address.node(place, patience=_PATIENCE)
        with OPENSSL.handshake() if self._address.tls else nullcontext():
            try:
                owner.connect()
                reply = Connection(owner).ask(self._record.command, time.monotonic() + _PATIENCE)
            except ProducerError as error:
                raise ConnectionError(str(error)) from error
            finally:
                owner.disconnect()
        return self._record.mismatch(reply)

    def _start_afresh(self) -> None:
        self._changing = Lock()
        self._asking = Future()
        self._asking.set_result(None)
        self._asked_at = -math.inf


_MAPS: Final[WeakSet[SlotMap]] = WeakSet()


def _after_fork_in_child() -> None:
    """A child has no thread that asks, nor one that holds the lock."""
    for each in list(_MAPS):
        each._start_afresh()  # noqa: SLF001 - a private method of this module


in_each_child(_after_fork_in_child)
