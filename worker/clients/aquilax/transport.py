"""A timeout for the whole answer.

`requests` and urllib3 time each read of the socket, so an answer that trickles a byte at a time never ends. Here the
read timeout that urllib3 sets on the socket is taken as the deadline for the answer's last byte.
"""

from __future__ import annotations

import http.client
import io
from collections import deque
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import is_connection_dropped

from worker.clients.aquilax.response import Deadline, read_response
from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer
    from urllib3 import BaseHTTPResponse

__all__ = ["DeadlineAdapter", "DeadlineResponse"]

_FOR_EVER: Final = 365 * 24 * 3600.0
"""Seconds, where no timeout is set."""


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until its deadline: each read may take only what is left."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = Deadline(timeout)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        self._sock.settimeout(self._deadline.left())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class DeadlineResponse(http.client.HTTPResponse):
    """A response with a total deadline, the socket's timeout; read by `worker.clients.aquilax.response`."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        if (timeout := sock.gettimeout()) is not None:
            self.fp.close()
            self.fp = io.BufferedReader(_DeadlineReader(sock, timeout))  # http.client reads a proxy's response from it

    def begin(self) -> None:
        """Read the whole of a final response, and leave what is kept of it to urllib3.

        Raises:
            OSError, http.client.HTTPException: No final response came, or none that can be read.
        """
        reply, reusable = read_response(self._sock, Deadline(self._sock.gettimeout() or _FOR_EVER))
        self.fp.close()
        self.fp = io.BufferedReader(io.BytesIO(reply.body))
        self.version, self.status, self.reason = 11, reply.status, ""
        self.headers = self.msg = http.client.HTTPMessage()
        if reply.retry_after is not None:
            self.headers["Retry-After"] = reply.retry_after
        self.chunked, self.length, self.will_close = False, len(reply.body), not reusable


class _Connection(HTTPConnection):
    response_class = DeadlineResponse

    def _new_conn(self) -> socket.socket:
        """Connect; under a scheduler in another thread, and with a socket that yields from then on."""
        scheduler = current_scheduler()
        if scheduler is None:
            return super()._new_conn()
        return scheduler.adopt_socket(scheduler.run_in_thread(super()._new_conn))


class _SecureConnection(HTTPSConnection, _Connection):
    def _new_conn(self) -> socket.socket:
        if self.ssl_context is None and (scheduler := current_scheduler()) is not None:
            self.ssl_context = scheduler.tls_context
        return super()._new_conn()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class DeadlineAdapter(HTTPAdapter):
    """An adapter of `requests` for one server, whose timeout ends at the answer's last byte.

    What requests looks up for each request is looked up once: the server's pool of connections, its proxy, and whether
    the CA certificates are there. No cookie is kept.
    """

    _found: Any = None
    _checked = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept: deque[HTTPConnection] = deque()
        """Connections that were used, past the locks of urllib3's pool."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        """Return the server's pool: the first request's."""
        if self._found is None:
            self._found = super().get_connection_with_tls_context(*args, **kwargs)
        found: HTTPConnectionPool = self._found
        return found

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Give the pool the CA certificates, once.

        Raises:
            OSError: The certificates are not there.
        """
        if not self._checked:
            super().cert_verify(*args, **kwargs)  # type: ignore[no-untyped-call]  # requests leaves it untyped
            self._checked = True

    def kept(self) -> HTTPConnection | None:
        """Take a connection that is open, and on which nothing is under way; None if there is none."""
        while self._kept:
            with suppress(IndexError):  # another thread was sooner
                connection = self._kept.pop()
                # Closed; or more came than was asked for, which would be taken for the next answer.
                if not is_connection_dropped(connection):
                    return connection
                connection.close()
        return self._kept_by_pool()

    def _kept_by_pool(self) -> HTTPConnection | None:
        if (pool := self._found) is None or (idle := pool.pool) is None:
            return None
        with suppress(Empty):
            connection: HTTPConnection | None = idle.get_nowait()
            if connection is not None and connection.sock is not None and not is_connection_dropped(connection):
                return connection
            idle.put_nowait(connection)
        return None

    def put_back(self, connection: HTTPConnection, *, reusable: bool) -> None:
        """Let others have a connection that was `kept`; if it is not ``reusable`` it is closed."""
        if reusable and self._found is not None:
            self._kept.append(connection)
        else:
            connection.close()

    def build_response(self, req: PreparedRequest, resp: BaseHTTPResponse) -> Response:
        """Return what came, without the cookies that it may have set."""
        response = Response()
        response.request, response.url = req, req.url or ""
        response.raw, response.status_code, response.reason = resp, resp.status, resp.reason or ""
        response.headers = CaseInsensitiveDict(resp.headers)
        return response

    def close(self) -> None:
        """Close the pools; a request after that opens another."""
        self._found, self._checked = None, False
        while self._kept:
            self._kept.pop().close()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections that keep the deadline."""
        super().init_poolmanager(*args, **kwargs)
        _keep_deadline(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> PoolManager:
        """Make them for a proxy too."""
        manager: PoolManager = super().proxy_manager_for(proxy, **proxy_kwargs)
        _keep_deadline(manager)
        return manager


def _keep_deadline(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
