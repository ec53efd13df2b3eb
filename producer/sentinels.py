"""Asking sentinels where the master is, each time that a connection is made.

What a client has to do: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer.locator import Locator

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer._connection import Conversation
    from producer.broker_url import Place

__all__ = ["Sentinels"]


@dataclass(eq=False, repr=False, kw_only=True)
class Sentinels(Locator):
    """The sentinels that watch one master.

    Attributes:
        master: The name under which they watch it.
        sentinel_at: Makes a connection to a sentinel that has yet to connect, and answers in text.
    """

    master: str
    sentinel_at: Callable[[Place], Conversation]

    asked_kind = "sentinel"
    found_kind = "master"

    @property
    def failure(self) -> str:
        """What is said if no sentinel leads to the master."""
        return f"no sentinel leads to the master {self.master!r}"

    def _answer_of(self, place: Place) -> Place:
        connection = self.sentinel_at(place)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
            found = connection.read_response()
        finally:
            connection.disconnect()
        if found is None:
            raise LookupError("it watches no master of that name")
        host, port = found
        return host, int(port)

    def _require(self, connection: Conversation, place: Place) -> None:  # noqa: ARG002 - the signature is the locator's
        from redis.exceptions import NoPermissionError  # noqa: PLC0415 - importing redis-py is slow; see producer.address

        connection.send_command("ROLE")
        try:
            role, *_ = connection.read_response() or ("no role",)
        except NoPermissionError:  # its first refusal will tell
            return
        if role not in {b"master", "master"}:
            raise ConnectionError("it is a replica")
