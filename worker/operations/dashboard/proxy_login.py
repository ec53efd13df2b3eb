"""The login that a proxy before Flower sees to: it names the user in a header, and is believed by its own address.

The address is that of the connection's other end. What a header says of it (``X-Forwarded-For``, which Flower's
``--xheaders`` takes for it) is said by those who are to be told apart by it.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.database.models import MAX_ACTOR_LENGTH
from worker.policy.request_origin import shown
from worker.setting_types import UNIX_SOCKET, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from worker.settings import Settings

__all__ = ["LoginRefused", "ProxiedUser", "ProxyLogin"]

_RESERVED: Final = ("token ", "without login")
"""How the audit log begins the names of programs, and of users without a login."""


class LoginRefused(Exception):
    """What names the user can't be believed or read; the message says why."""


@dataclass(frozen=True, slots=True)
class ProxiedUser:
    """Who asks, as the proxy says: the user, and the groups that they are in."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLogin:
    """The proxy's header, and from where it is believed.

    Attributes:
        header: The header that names the user.
        groups_header: The header that names their groups, if there is one.
        networks: Where the proxy is.
        unix_socket: Whether it may also be at the other end of a Unix socket.
    """

    header: str
    groups_header: str | None
    networks: tuple[IPv4Network | IPv6Network, ...]
    unix_socket: bool

    @classmethod
    def of(cls, settings: Settings) -> ProxyLogin | None:
        """Return the login of the settings; None if they have none."""
        if settings.feedback_dashboard_proxy_header is None:
            return None
        addresses = parts_of(settings.feedback_dashboard_proxy_addresses or "")
        return cls(
            header=settings.feedback_dashboard_proxy_header,
            groups_header=settings.feedback_dashboard_proxy_groups_header,
            networks=tuple(ipaddress.ip_network(address) for address in addresses if address != UNIX_SOCKET),
            unix_socket=UNIX_SOCKET in addresses,
        )

    def is_at(self, peer: str) -> bool:
        """Whether the proxy is at the other end of a connection: at an address, or a Unix socket's (`UNIX_SOCKET`)."""
        if peer == UNIX_SOCKET:
            return self.unix_socket
        with suppress(ValueError):
            address = ipaddress.ip_address(peer)
            address = getattr(address, "ipv4_mapped", None) or address
            return any(address in network for network in self.networks)
        return False

    def user(self, peer: str, headers: Callable[[str], Sequence[str]]) -> ProxiedUser | None:
        """Return who asks; None if no header says so.

        Args:
            peer: The other end of the connection.
            headers: Returns every header of a name, one by one.

        Raises:
            LoginRefused: The header comes from elsewhere, or several times, or names no user that can be told apart.
        """
        values = headers(self.header)
        if not values:
            return None
        if not self.is_at(peer):
            raise LoginRefused(
                f"{self.header} comes from {peer}, and FEEDBACK_DASHBOARD_PROXY_ADDRESSES does not name that address"
            )
        name = self._only(self.header, values)
        if not name or len(name) > MAX_ACTOR_LENGTH or "," in name or name.startswith(_RESERVED):
            raise LoginRefused(
                f"{self.header} is {shown(name)}: expected one user, in 1 to {MAX_ACTOR_LENGTH} characters"
            )
        return ProxiedUser(name, self._groups(headers))

    def _groups(self, headers: Callable[[str], Sequence[str]]) -> tuple[str, ...]:
        values = headers(self.groups_header) if self.groups_header else ()
        if not self.groups_header or not values:
            return ()
        names = self._only(self.groups_header, values).replace("|", ",")
        return tuple(parts_of(names))

    @staticmethod
    def _only(header: str, values: Sequence[str]) -> str:
        """Return the header's text. Where it came twice, one may be the client's own, which the proxy let pass."""
        if len(values) > 1:
            raise LoginRefused(f"{header} is there {len(values)} times: let the proxy remove the one that clients send")
        try:
            text = values[0].encode("latin-1").decode()  # Tornado reads headers as Latin-1, and proxies write UTF-8
        except UnicodeError:
            raise LoginRefused(f"{header} is not written in UTF-8") from None
        if not text.isprintable():
            raise LoginRefused(f"{header} has control characters")
        return text.strip()
