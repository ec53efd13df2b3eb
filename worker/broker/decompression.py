"""How large a compressed body gets, found out without the memory for it.

Kombu unpacks a body as soon as it reads the message, however large that gets: 500 bytes may become 150 MB. So it is
unpacked here first, up to a limit, and what goes beyond it never comes to Kombu.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from base64 import b64decode
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from kombu import compression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

__all__ = ["unpacks_too_large"]

_LZMA_MEMORY: Final = 64 * 1024 * 1024
"""Bytes for the dictionary that a stream asks for: xz at its highest level takes as many, and one may ask for 4 GiB."""


class _Decompressor(Protocol):
    """What the standard library has for each format: it stops at a limit."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What follows it."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpack, up to a limit."""


def unpacks_too_large(payload: Mapping[str, Any], *, most: int) -> str:
    """Return why a compressed body may not be unpacked, to ``most`` bytes; '' if it may, or can't be, as Kombu says."""
    name = payload["headers"]["compression"]
    try:
        _, content_type = compression.get_encoder(name)
    except (KeyError, TypeError):
        return ""  # Kombu doesn't know it either, and says so
    make = _DECOMPRESSORS.get(content_type)
    if make is None:
        return f"its body is compressed with {name}, which can't be unpacked within limits: send it uncompressed"
    try:
        unpacked = _measure(make, _packed(payload), most)
    except (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        # Kombu's own would fail as well; but where only its memory would have run out it would not.
        return f"its body can't be unpacked: {error!r}"
    return f"its body unpacks to more than {most} bytes" if unpacked > most else ""


def _packed(payload: Mapping[str, Any]) -> bytes:
    body, encoding = payload.get("body") or "", payload["properties"].get("body_encoding")
    if not isinstance(body, str):
        raise ValueError("the body is no text")  # noqa: TRY004 - the caller reports a ValueError as an invalid body
    return b64decode(body) if encoding and encoding.lower() == "base64" else body.encode()


def _measure(make: Callable[[], _Decompressor], packed: bytes, most: int) -> int:
    """How many bytes there are in one stream after another; any number above ``most`` if there are more."""
    unpacked = 0
    while packed and unpacked <= most:
        stream = make()
        unpacked += len(stream.decompress(packed, most - unpacked + 1))
        if not stream.eof:
            break
        packed = stream.unused_data
    return unpacked


class _Deflated:
    """One stream: what follows it is passed over, as Kombu does."""

    unused_data = b""
    eof = True

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpack, up to a limit."""
        return zlib.decompressobj().decompress(data, max_length)


class _Brotli(_Deflated):
    """The same for Brotli, which has a limit since its release 1.2."""

    def __init__(self, module: ModuleType) -> None:
        self._stream = module.Decompressor()

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpack, up to a limit."""
        try:
            unpacked: bytes = self._stream.process(data, output_buffer_limit=max_length)
        except TypeError as error:
            raise ValueError("Brotli before its release 1.2 has no limit for what it unpacks") from error
        except Exception as error:  # its own class, which is that of its module
            raise ValueError(str(error)) from error
        return unpacked


def _optional() -> dict[str, Callable[[], _Decompressor]]:
    """What Kombu knows where it is installed, from the modules from which Kombu takes it."""
    found: dict[str, Callable[[], _Decompressor]] = {}
    for name, modules in _MODULES.items():
        for module in modules:
            with suppress(ImportError):
                imported = import_module(module)
                found[name] = imported.ZstdDecompressor if "zstd" in name else partial(_Brotli, imported)
                break
    return found


_MODULES: Final = {
    "application/zstd": ("compression.zstd", "backports.zstd"),
    "application/x-brotli": ("brotli", "brotlicffi"),
}

_DECOMPRESSORS: Final[Mapping[str, Callable[[], _Decompressor]]] = {
    "application/x-gzip": _Deflated,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": partial(lzma.LZMADecompressor, memlimit=_LZMA_MEMORY),
    **_optional(),
}
"""By Kombu's names."""
