"""Which client asks: the keys of the file, read again when it changes."""

from __future__ import annotations

import hmac
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from worker.gateway.key_file import ClientKey, KeyFileError, digest_of, read_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.gateway.exchange import Exchange

__all__ = ["ClientKeys", "presented_key"]

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the file: a key that was revoked is good for so long at most."""

_BEARER: Final = b"bearer "
_LONGEST: Final = 512
"""Bytes of a key that are hashed: ours have 47."""


def presented_key(exchange: Exchange) -> bytes:
    """Return the key that a request brings, in AquilaX's header or in HTTP's own; b'' if there is none, or several."""
    headers = exchange.headers
    if key := headers.get(b"x-ax-key"):
        return key
    if exchange.repeated and b"x-ax-key" in exchange.repeated:
        return b""
    authorization = headers.get(b"authorization", b"")
    return authorization[len(_BEARER) :].strip() if authorization[: len(_BEARER)].lower() == _BEARER else b""


class ClientKeys:
    """The clients that may ask.

    Args:
        path: The file of their keys.
        clock: Seconds, for when to look at the file.

    Raises:
        KeyFileError: The file can't be used. Once it could be, a broken one leaves the keys as they were.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._clock = clock
        self._seen = self._stamp()
        self._keys = _with_digests(read_keys(path))
        self._look_at = clock() + _LOOK_EVERY

    def __len__(self) -> int:
        return len(self._keys)

    def name_of(self, key: bytes) -> str | None:
        """Return the name of the client with this key; None if no client has it."""
        if self._clock() >= self._look_at:
            self._refresh()
        if not key or len(key) > _LONGEST:
            return None
        digest, found = digest_of(key), None
        for known, name in self._keys:  # all of them, so that the time tells nothing of who has which place
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _refresh(self) -> None:
        self._look_at = self._clock() + _LOOK_EVERY
        seen = self._stamp()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = _with_digests(read_keys(self._path))
        except KeyFileError as error:
            log.error("the keys stay as they were: %s", error)  # noqa: TRY400 - the message is all there is to know
        else:
            log.info("the keys were read again: %d", len(self._keys))

    def _stamp(self) -> tuple[int, int, int, int] | None:
        """What changes when the file does; None if it can't be looked at."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def _with_digests(keys: tuple[ClientKey, ...]) -> tuple[tuple[bytes, str], ...]:
    return tuple((key.digest, key.name) for key in keys)
