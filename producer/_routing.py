"""Where a partition's commands go, and whether they may go again: to the one Redis, or to a primary of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from producer._connection_target import ConnectionTarget
from producer._partition_check import PartitionCheck
from producer._resp import is_elsewhere, is_reply, leaves_clean, moved_to, serves_nobody
from producer.cluster import place_of
from producer.errors import BrokerUnavailable, ProducerError
from producer.slot_map import SlotMap

if TYPE_CHECKING:
    from concurrent.futures import Future

    from producer.address import Address
    from producer.broker_url import Place
    from producer.write_concern import WriteConcern

__all__ = ["ASK_AGAIN", "LAST_TRY", "ONLY", "ClusterRoutes", "Outcome", "Routes", "SingleRoute", "routes_of"]

Outcome: TypeAlias = bytes | ProducerError
"""Of a command: its reply of one line, or why there is none."""

ASK_AGAIN: Final = 0.02
"""Seconds after which a cluster is asked again that has the partition elsewhere, or moves it."""

LAST_TRY: Final = 0.02
"""Seconds that a call must have left to send a command again: an answer that comes too late makes it uncertain."""

_CONNECT_AGAIN: Final = 0.05
"""Seconds after which a primary is tried again that can't be reached."""

_FOLLOW: Final = 0.002
"""Seconds after which a redirection is followed: two nodes may each name the other for a moment."""

ONLY: Final = ("", 0)
"""The place of the one Redis."""


class Routes(Protocol):
    """Where the partitions are.

    Attributes:
        version: A number that grows whenever something was learnt of that.
        problem: Why it is not known where a partition is.
        is_refused: Whether that will not change within a call.
    """

    @property
    def version(self) -> int: ...
    @property
    def problem(self) -> str: ...
    @property
    def is_refused(self) -> bool: ...

    def place(self, partition: int) -> Place | None:
        """Return where a partition is, if that is known."""

    def places(self) -> frozenset[Place]:
        """Return where any partition is."""

    def endpoint(self, place: Place, partition: int) -> ConnectionTarget:
        """Return what a connection to a place that has this partition leads to."""

    def find(self) -> Future[None] | None:
        """Begin to find out where partitions are, and return what ends with it; None if they can't be elsewhere."""

    def again(self, place: Place, partition: int, outcome: Outcome) -> float | None:
        """Return after how many seconds a command is sent again that ended like this; None if it is not.

        It is only if it surely has not run. What the outcome says of the partition's place is noted.
        """

    def leaves_clean(self, reply: bytes) -> bool:
        """Tell whether the connection that brought this reply is good for another command."""


class SingleRoute:
    """To the one Redis of a URL, which has all partitions.

    Args:
        address: The URL.
        concern: What must confirm each command's write.
    """

    version = 0
    problem = ""
    is_refused = False

    def __init__(self, address: Address, concern: WriteConcern | None) -> None:
        record = PartitionCheck(address.prefixes, is_cluster=False)
        self._endpoint = ConnectionTarget(address=address, prefix=address.prefixes[0], concern=concern, record=record)

    def place(self, partition: int) -> Place:  # noqa: ARG002 - the signature is the protocol's
        """See `Routes`."""
        return ONLY

    def places(self) -> frozenset[Place]:
        """See `Routes`."""
        return frozenset({ONLY})

    def endpoint(self, place: Place = ONLY, partition: int = 0) -> ConnectionTarget:  # noqa: ARG002 - likewise
        """See `Routes`."""
        return self._endpoint

    def find(self) -> None:
        """See `Routes`."""

    def again(self, place: Place, partition: int, outcome: Outcome) -> float | None:  # noqa: ARG002 - likewise
        """See `Routes`: what it refuses is refused, except by a node of a cluster that was named as one Redis."""
        return ASK_AGAIN if isinstance(outcome, bytes) and is_elsewhere(outcome) else None

    def leaves_clean(self, reply: bytes) -> bool:
        """See `Routes`: a server that is no longer the master is left."""
        return leaves_clean(reply)


class ClusterRoutes:
    """To the primaries of a cluster.

    Args:
        address: The URL.
        concern: What must confirm each command's write.
    """

    def __init__(self, address: Address, concern: WriteConcern | None) -> None:
        self._address = address
        self._concern = concern
        self._map = SlotMap(address, PartitionCheck(address.prefixes, is_cluster=True))
        self.place = self._map.owner
        self.places = self._map.owners
        self.find = self._map.refresh

    @property
    def version(self) -> int:
        """See `Routes`."""
        return self._map.version

    @property
    def problem(self) -> str:
        """See `Routes`."""
        return self._map.problem or "no node of the cluster has the partition's slot"

    @property
    def is_refused(self) -> bool:
        """See `Routes`."""
        return self._map.is_refused

    def endpoint(self, place: Place, partition: int) -> ConnectionTarget:
        """See `Routes`."""
        prefix = self._address.prefixes[partition]
        return ConnectionTarget(
            address=self._address, prefix=prefix, concern=self._concern, place=place, on_silence=self.find
        )

    def again(self, place: Place, partition: int, outcome: Outcome) -> float | None:
        """See `Routes`: a command goes again that has not left whole, or was refused because of where the slot is."""
        if isinstance(outcome, ProducerError):
            self._map.refresh()
            return _CONNECT_AGAIN if isinstance(outcome, BrokerUnavailable) else None
        if outcome[:1] != b"-":
            return None
        if moved := moved_to(outcome):
            self._map.moved(partition, place_of(*moved, place))
            return _FOLLOW
        if not is_elsewhere(outcome) and not serves_nobody(outcome):
            return None
        self._map.refresh()
        return ASK_AGAIN

    def leaves_clean(self, reply: bytes) -> bool:
        """See `Routes`: what a node refuses because of a slot says nothing against the connection to it."""
        return is_reply(reply)


def routes_of(address: Address, concern: WriteConcern | None) -> Routes:
    """Return where the partitions of a URL are; ``concern`` is what must confirm each command's write."""
    return ClusterRoutes(address, concern) if address.nodes else SingleRoute(address, concern)
