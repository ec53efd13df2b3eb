"""Who may come in, and which request may change anything. Decisions on plain values, in every mode of Flower's login.

Flower lets everybody in where no login is configured, and checks no request for its origin then. Here feedback can be
replayed and discarded, so both are stricter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.policy.request_origin import hostname, is_loopback

__all__ = ["Binding", "Caller", "is_simple", "rejection"]

_TO_DO: Final = "give Flower a login (--basic-auth or --auth), or bind it to loopback (--address=127.0.0.1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """How Flower was started.

    Attributes:
        has_login: Whether it asks for one.
        address: The address that it listens on; '' for every one.
        unix_socket: The socket that it listens on instead, if it does.
    """

    has_login: bool
    address: str
    unix_socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Where a request comes from.

    Attributes:
        peer: The address of the other end of the connection.
        host: What the request calls this server: the header ``Host``.
        forwarded: Whether a proxy says that it passes the request on.
    """

    peer: str
    host: str
    forwarded: bool


def rejection(binding: Binding, caller: Caller) -> str | None:
    """Return why a request is rejected before its login is checked; None if it is not.

    Without a login there is nothing but the network that keeps strangers out. So Flower must listen on loopback alone,
    and the request must come from there, not through a proxy, and under a loopback name: a stranger's page in a browser
    on this machine can let its own name mean 127.0.0.1 (DNS rebinding).
    """
    if binding.has_login:
        return None
    if binding.unix_socket:
        return f"Flower listens on a socket for others, and asks for no login: {_TO_DO}"
    if not is_loopback(binding.address):
        where = binding.address or "every address of this machine"
        return f"Flower listens on {where}, and asks for no login: {_TO_DO}"
    if not is_loopback(caller.peer) or caller.forwarded:
        return f"this request comes from elsewhere, and Flower asks for no login: {_TO_DO}"
    if not is_loopback(hostname(caller.host)):
        return "this request is not for this machine's own name, and Flower asks for no login: open it as 127.0.0.1"
    return None


def is_simple(*, content_type: str, requested_with: str | None) -> bool:
    """Whether a page of another site could send such a request without asking first (CORS).

    A program that calls the API sends JSON and the header ``X-Requested-With``. A browser asks before it lets a foreign
    page send either, and is told no.
    """
    kind = content_type.partition(";")[0].strip().lower()
    return kind != "application/json" or not requested_with
