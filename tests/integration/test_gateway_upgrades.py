"""A client that offers an upgrade, as Java's does with its first request: its feedback is taken, in HTTP/1.1."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.support.gateway import PRESS, RunningGateway, running_gateway
from tests.support.places import request_id_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.fixture(scope="module")
def shared(_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway for all tests of this file."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), _valkey.url) as gateway:
        yield gateway


def _body(request_ids: list[str]) -> bytes:
    fields = {"status": "true", "org": "my-org", "group": "my-group"}
    return b"".join(json.dumps({"request_id": each} | fields).encode() + b"\n" for each in request_ids)


def _post(gateway: RunningGateway, request_ids: list[str], *, chunked: bool, offer: str = OFFER) -> bytes:
    body = _body(request_ids)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = (
        f"POST /v1/feedback HTTP/1.1\r\nHost: h\r\nX-AX-KEY: {gateway.key}\r\n{offer}"
        f"Content-Type: application/x-ndjson\r\n{length}\r\n\r\n"
    )
    return head.encode() + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)


def _answers(gateway: RunningGateway, pieces: list[bytes]) -> list[bytes]:
    """Return the status lines of what is answered until the connection ends; the last request asks for that."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for piece in pieces:
            connection.sendall(piece)
        answered = b"".join(iter(lambda: connection.recv(65536), b""))
    return re.findall(rb"HTTP/1\.1 (\d+)", answered)


@pytest.mark.parametrize("piece", [1_000_000, 7], ids=["at once", "in pieces"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_the_body_of_a_request_that_offers_an_upgrade_is_read(
    chunked: bool, piece: int, shared: RunningGateway, valkey: RedisServer
) -> None:
    """Also of the next one on the connection, and of one that ends it: none is answered 200 with nothing taken."""
    request_ids = [str(uuid4()) for _ in range(6)]
    press = f"GET {PRESS} HTTP/1.1\r\nHost: h\r\nX-AX-KEY: {shared.key}\r\n{OFFER}\r\n".encode()
    last = OFFER.replace("HTTP2-Settings\r\n", "HTTP2-Settings, close\r\n", 1)
    sent = b"".join(
        [
            _post(shared, request_ids[:2], chunked=chunked),
            press,
            _post(shared, request_ids[2:4], chunked=chunked, offer=""),
            _post(shared, request_ids[4:], chunked=chunked, offer=last),
        ]
    )

    answers = _answers(shared, [sent[at : at + piece] for at in range(0, len(sent), piece)])

    assert answers == [b"200"] * 4
    with valkey.client() as client:
        taken = [request_id_of(message) for message in client.lrange("feedback", 0, -1)]
    assert set(request_ids) < set(taken)
    assert len(taken) == 7


def test_a_tunnel_is_refused(shared: RunningGateway) -> None:
    """CONNECT has no body, and what follows it would be no HTTP."""
    connect = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"

    assert _answers(shared, [connect]) == [b"400"]
