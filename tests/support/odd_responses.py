"""Odd HTTP responses, made by chance from a seed: what well-made servers, worn proxies and hostile ones may say."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

__all__ = ["Odd", "odd_response"]

STATUSES: Final = (200, 200, 200, 201, 204, 400, 404, 403, 409, 429, 500, 503, 504)
_ENDS: Final = (b"\r\n", b"\r\n", b"\r\n", b"\n")
_REASONS: Final = (b"", b" ", b" OK", b" \xff\xfe odd", b" " + b"long " * 500, b"\tOK")
_VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0")
_HEADERS: Final = (
    b"Retry-After: 1",
    b"Retry-After: " + b"9" * 400,
    b"Retry-After: Sat, 31 Jan 999999999999999999999999 12:05:00 GMT",
    b"Retry-After: Sat, 31 Jan 2026 12:05:00 +9999999999999999",
    b"retry-after:-1",
    b"Retry-After: 1\r\nRetry-After: 2",
    b"Connection: keep-alive",
    b"Connection: close",
    b"CONNECTION : Close , x",
    b"Set-Cookie: a=b; Domain=elsewhere",
    b"X-Folded: a\r\n b\r\n\tc",
    b"no colon at all",
    b": no name",
    b"X-Latin: \xe9\xff\x80",
    b"X-Long: " + b"x" * 9000,
    b"Content-Encoding: br",
    b"Content-Type: application/json",
    b"Location: http://127.0.0.1:1/",
    b"Upgrade: h2c",
    b"Trailer: X",
)
_BODIES: Final = (
    b"",
    b"ok",
    b'{"code": 404, "message": "Request ID not found"}',
    b'{"message": "\\ud800 \\u0000"}',
    b'{"message": ' + b"[" * 3000,
    b"\x00\xff\x1b[31m",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"x" * 5000,
    b"y" * 70_000,
    b'{"message": ' + b"9" * 5000 + b"}",
)
_INTERIM: Final = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 103\nRetry-After: 5\n\n",
    b"HTTP/1.1 199 Odd\r\nContent-Length: 5\r\n\r\n",
)
_BEHIND: Final = (
    b"\r\n",
    b"junk",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 400 Not yours\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"\x00",
)


@dataclass(frozen=True)
class Odd:
    """A response, and what is right to make of it.

    Attributes:
        parts: The bytes, as they are sent one after another.
        status: The final status; None if there is none.
    """

    parts: tuple[bytes, ...]
    status: int | None


def odd_response(chance: Random) -> Odd:
    """Return a response."""
    if chance.random() < 0.05:
        return _no_response(chance)
    status = chance.choice(STATUSES)
    end = chance.choice(_ENDS)
    head = b"%s%s%d%s" % (chance.choice(_VERSIONS), chance.choice([b" ", b" ", b"  "]), status, chance.choice(_REASONS))
    framing, body = _body(chance, status)
    headers = [*chance.choices(_HEADERS, k=chance.randint(0, 4)), *framing]
    chance.shuffle(headers)
    said = b"".join(
        [
            b"\r\n" * chance.choice([0, 0, 0, 1, 2]),
            *chance.choices(_INTERIM, k=chance.choice([0, 0, 0, 1, 2, 50])),
            end.join([head, *headers, b"", b""]),
            body,
        ]
    )
    behind = chance.choice(_BEHIND) if chance.random() < 0.2 else b""
    *parts, last = _cut(chance, said)
    # With the last of the response: what came later would stand before the next one, and nothing could tell it apart.
    return Odd(parts=(*parts, last + behind), status=status)


def _no_response(chance: Random) -> Odd:
    said = chance.choice(
        [
            b"",
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/9 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"\x16\x03\x01\x00",
            chance.choice(_INTERIM) * 3,
        ]
    )
    return Odd(parts=_cut(chance, said), status=None)


def _body(chance: Random, status: int) -> tuple[list[bytes], bytes]:
    """Headers that frame a body, and the body so framed; both are now and then wrong."""
    body = chance.choice(_BODIES)
    if status == 204:
        return chance.choice([[], [], [b"Content-Length: 0"], [b"Content-Length: 2"]]), b""
    coding: list[bytes] = []
    if chance.random() < 0.15:
        body, coding = (gzip.compress(body), [b"Content-Encoding: gzip"])
    elif chance.random() < 0.05:
        body, coding = (zlib.compress(body), [b"Content-Encoding: gzip"])
    size = len(body)
    if chance.random() < 0.25:
        return [*coding, b"Transfer-Encoding: chunked"], _chunked(chance, body)
    right = b"Content-Length: %d" % size
    framings = [
        *[[right]] * 3,
        [b"Content-Length: %d, %d" % (size, size)],
        [right, b"content-length : %d" % size],
        [b"Content-Length:" + chance.choice([b" x", b" -1", b" 1, 2", b""])],
        [chance.choice([b"X: no length", b"Transfer-Encoding: chunked, gzip"])],
    ]
    return [*coding, *chance.choice(framings)], body


def _chunked(chance: Random, body: bytes) -> bytes:
    if chance.random() < 0.1:
        return b"zz\r\n" + body
    parts = []
    while body:
        size = chance.choice([1, 7, 100, 5000, 100_000])
        some, body = body[:size], body[size:]
        extension = chance.choice([b"", b"", b";a=b", b' ; q="x;y"'])
        parts.append(b"%x%s\r\n%s\r\n" % (len(some), extension, some))
    trailers = chance.choice([b"", b"", b"X: y\r\n", b"Content-Length: 5\r\nA: b\r\n"])
    return b"".join([*parts, b"0\r\n", trailers, b"\r\n"])


def _cut(chance: Random, said: bytes) -> tuple[bytes, ...]:
    """As a network cuts: nowhere, somewhere, or (of what is short) everywhere."""
    kind = chance.randrange(4)
    if kind == 0 and 0 < len(said) < 400:
        return tuple(said[at : at + 1] for at in range(len(said)))
    if kind == 1 and said:
        at = chance.randrange(len(said))
        return said[:at], said[at:]
    return (said,)
