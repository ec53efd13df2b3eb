"""Asking the nodes of a Redis or Valkey Cluster which of them has a partition, each time that a connection is made.

All keys of a partition lie in one slot, because they begin with the same hash tag. The primary that has it is asked
for with a command on a key of it: every other node names it in a redirection, whatever it believes of the rest of the
cluster. https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.locator import Locator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from producer._connection import Conversation
    from producer.broker_url import Place

__all__ = ["MOST_KNOWN", "ClusterNodes", "SlotRange", "nodes_of", "owner_of", "place_of", "slot_ranges"]

MOST_KNOWN: Final = 32
"""Nodes that are remembered, beside those that the URL names."""


@dataclass(eq=False, repr=False, kw_only=True)
class ClusterNodes(Locator):
    """The nodes of a cluster that are known: those that the URL names, and what these have told of others.

    Attributes:
        key: A key in the slot that is looked for.
        named: Those that the URL names; they are asked too when all others have gone.
        heard: Is told which node has which slots, if the login has the right to ask.
    """

    key: str

    named: tuple[Place, ...]
    heard: Callable[[Sequence[SlotRange]], None] = lambda _: None

    asked_kind = "node"
    found_kind = "primary"

    @property
    def failure(self) -> str:
        """What is said if no node leads to the primary."""
        return "no node leads to the primary that has the slot"

    def _answer_of(self, place: Place) -> Place:
        connection = self.redis_at(place)
        try:
            connection.connect()
            return self._owner(connection, place)
        finally:
            connection.disconnect()

    def _require(self, connection: Conversation, place: Place) -> None:
        owner = self._owner(connection, place)
        if owner != place:
            raise ConnectionError(f"it names {owner[0]}:{owner[1]}")
        with suppress(Exception):  # a login without the right to ask knows the nodes that the URL names
            connection.send_command("CLUSTER", "SLOTS")
            ranges = slot_ranges(connection.read_response() or [], place)
            self.heard(ranges)
            told = nodes_of(ranges)
            self.order = tuple(dict.fromkeys([place, *told[:MOST_KNOWN], *self.named]))

    def _owner(self, connection: Conversation, asked: Place) -> Place:
        """Return where the slot is: the node itself answers, or names another."""
        # Importing redis-py is slow; see producer.address.
        from redis.exceptions import AskError, MovedError  # noqa: PLC0415 - see above

        connection.send_command("EXISTS", self.key)
        try:
            connection.read_response()
        except MovedError as error:
            return place_of(error.host, error.port, asked)
        except AskError:
            return asked  # the slot is on its way to another node: until it has arrived this one has it
        return asked


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots that lie side by side on one primary.

    Attributes:
        first: The first of them.
        last: The last of them.
        primary: Where the primary is.
        replicas: Where its replicas are, as far as the node that was asked knows them.
    """

    first: int
    last: int
    primary: Place
    replicas: tuple[Place, ...] = ()


def slot_ranges(reply: list[Any], asked: Place) -> list[SlotRange]:
    """Read a reply to CLUSTER SLOTS: of each range its ends, then its primary, then its replicas."""
    ranges: list[SlotRange] = []
    for first, last, *nodes in reply:
        places = [place_of(host, port, asked) for host, port, *_ in nodes]
        if places:  # a range whose nodes have all gone has none
            ranges.append(SlotRange(int(first), int(last), places[0], tuple(places[1:])))
    return ranges


def nodes_of(ranges: Iterable[SlotRange]) -> list[Place]:
    """Return all nodes that have slots, or replicas of them."""
    return [node for one in ranges for node in (one.primary, *one.replicas)]


def owner_of(ranges: Iterable[SlotRange], slot: int) -> Place | None:
    """Return the primary that has a slot; None if none is known."""
    return next((one.primary for one in ranges if one.first <= slot <= one.last), None)


def place_of(host: bytes | str | None, port: int, asked: Place) -> Place:
    """Return a node's place. One that does not know its own host says none, or ``?``: it is that of the node asked."""
    name = host.decode() if isinstance(host, bytes) else host
    return (asked[0] if name in {None, "", "?"} else str(name)), int(port)
