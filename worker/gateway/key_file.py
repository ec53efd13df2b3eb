"""The file of the clients' keys: names and hashes, written whole and under a lock.

A key is 256 random bits, so one SHA-256 is enough: no number of guesses comes near it. scrypt and its like make it slow
to guess passwords, which people choose; here they would make each request slow.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ClientKey", "KeyFileError", "add_key", "digest_of", "read_keys", "revoke_key"]

_VERSION: Final = 1
_PREFIX: Final = "axf_"
"""What a key begins with, so that scanners for secrets in repositories can know it."""

_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FORBIDDEN: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""Who may write the file may let in any client; a group may read it, as a mounted secret of Kubernetes is read."""


class KeyFileError(ValueError):
    """The file can't be used; the message names it and the fix."""


class ClientKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client that may ask.

    Attributes:
        name: Of the client, for logs and metrics: small letters, digits, ``.``, ``_`` and ``-``.
        sha256: The hash of its key, in hexadecimal digits.
        created_at: When it was added.
    """

    name: str
    sha256: str
    created_at: datetime

    @property
    def digest(self) -> bytes:
        """The hash."""
        return bytes.fromhex(self.sha256)


class _Document(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: int = _VERSION
    keys: list[ClientKey] = []


def digest_of(key: bytes) -> bytes:
    """Return the hash of a key as a client sends it."""
    return sha256(key).digest()


def read_keys(path: Path) -> tuple[ClientKey, ...]:
    """Return the keys in a file.

    Raises:
        KeyFileError: It can't be read, is no such file, or others may change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from None
    if mode & _FORBIDDEN:
        raise KeyFileError(f"{path} is open to others (its mode is {mode & 0o777:04o}): chmod 600 {path}")
    return tuple(_decoded(path, content).keys)


def add_key(path: Path, name: str) -> str:
    """Add a client, and return its key, which is written nowhere.

    Raises:
        KeyFileError: The name is taken or none, or the file can't be read or written.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(
            f"{name!r} is no name: expected 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        )
    key = _PREFIX + secrets.token_urlsafe(_BYTES)
    with _locked(path):
        keys = read_keys(path) if path.exists() else ()
        if any(each.name == name for each in keys):
            raise KeyFileError(
                f"{name} has a key already: revoke it first, or add one of another name, such as {name}-2"
            )
        added = ClientKey(name=name, sha256=digest_of(key.encode()).hex(), created_at=_now())
        _write(path, [*keys, added])
    return key


def revoke_key(path: Path, name: str) -> None:
    """Remove a client.

    Raises:
        KeyFileError: There is none of this name, or the file can't be read or written.
    """
    with _locked(path):
        keys = read_keys(path)
        if all(each.name != name for each in keys):
            raise KeyFileError(f"there is no key of the name {name!r}")
        _write(path, [each for each in keys if each.name != name])


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _decoded(path: Path, content: bytes) -> _Document:
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} is no file of keys: {error}") from None
    names = [key.name for key in document.keys]
    if document.version != _VERSION:
        raise KeyFileError(f"{path} has the version {document.version}: expected {_VERSION}")
    if len(set(names)) < len(names):
        raise KeyFileError(f"{path} has several keys of one name: give each a name of its own")
    for key in document.keys:
        if not _NAME.fullmatch(key.name) or not re.fullmatch("[0-9a-f]{64}", key.sha256):
            raise KeyFileError(f"{path} has a key whose name or sha256 is malformed: add it again")
    return document


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time change the file; the lock is beside it, as the file itself is replaced."""
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise KeyFileError(f"{path} can't be written: make its folder first, mkdir -p {path.parent}") from None
    except OSError as error:
        raise KeyFileError(f"{path} can't be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, keys: list[ClientKey]) -> None:
    """Replace the file at once, with the mode that it has: a gateway that reads it sees the old one or the new one."""
    path = path.resolve()  # a link stays, and what it leads to is replaced
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    text = msgspec.json.format(msgspec.json.encode(_Document(keys=keys))) + b"\n"
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileError(f"{path} can't be written: {error.strerror}") from None
