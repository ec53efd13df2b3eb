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
    from collections.abc import Callable

    from producer._connection import Conversation
    from producer.broker_url import Place

__all__ = ["MOST_KNOWN", "ClusterNodes", "nodes_of", "place_of"]

MOST_KNOWN: Final = 32
"""Nodes that are remembered, beside those that the URL names."""


@dataclass(eq=False, repr=False, kw_only=True)
class ClusterNodes(Locator):
    """The nodes of a cluster that are known: those that the URL names, and what these have told of others.

    Attributes:
        key: A key in the slot that is looked for.
        named: Those that the URL names; they are asked too when all others have gone.
        heard: Is told the reply to CLUSTER SLOTS, and which node gave it, if the login has the right to ask.
    """

    key: str

    named: tuple[Place, ...]
    heard: Callable[[list[Any], Place], None] = lambda *_: None

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
            ranges = connection.read_response() or []
            self.heard(ranges, place)
            told = nodes_of(ranges, place)
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


def nodes_of(slots: list[Any], asked: Place) -> list[Place]:
    """Return the nodes in a reply to CLUSTER SLOTS: of each range its ends, then its primary and its replicas."""
    return [place_of(node[0], node[1], asked) for _, _, *nodes in slots for node in nodes]


def place_of(host: bytes | str | None, port: int, asked: Place) -> Place:
    """Return a node's place. One that does not know its own host says none, or ``?``: it is that of the node asked."""
    name = host.decode() if isinstance(host, bytes) else host
    return (asked[0] if name in {None, "", "?"} else str(name)), int(port)
