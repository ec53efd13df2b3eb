"""AquilaX' keys by org: the file AQUILAX_KEYS_FILE, and AQUILAX_API_KEY for every org that it does not name.

    {"version": 1, "keys": [{"name": "acme", "key": "…", "orgs": ["acme", "acme-labs"]}]}

A key has a name, which logs, pages and Redis show in its place. An org for which there is no key is like one whose key
is refused: its events wait until there is one.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

import msgspec
from pydantic import SecretStr

from worker.setting_types import api_key
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from worker.settings import Settings

__all__ = ["DEFAULT_KEY", "ApiKey", "KeyRing", "KeysFileError", "decode_keys", "read_keys_file", "ring_of"]

DEFAULT_KEY: Final = "default"
"""The name of AQUILAX_API_KEY."""

_VERSION: Final = 1
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LONGEST_ORG: Final = 128
_MOST_BYTES: Final = 1024 * 1024
_FORBIDDEN: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""The file has keys in the clear. A group may read it, as a mounted secret of Kubernetes is read."""


class KeysFileError(SettingsError):
    """The file can't be used; the message names it, the entry and the fix, and shows no key."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of AquilaX, and the orgs whose feedback is sent with it.

    Attributes:
        name: What it is called; it is no secret.
        secret: The Personal Access Token; None where AQUILAX_API_KEY is not set.
        orgs: The orgs that the file names for it; none for the default, which is for every other org.
    """

    name: str
    secret: SecretStr | None
    orgs: tuple[str, ...] = ()


class KeyRing:
    """Every key, by org: a value.

    Args:
        named: The keys of the file; no two of them have one name or one org.
        default: The key for every other org; None if there is none.
        from_file: Whether there is a file: a key that is refused then stops its own orgs, and no others.
    """

    def __init__(
        self, named: Iterable[ApiKey] = (), *, default: SecretStr | None = None, from_file: bool = False
    ) -> None:
        self.named = tuple(named)
        self.default = ApiKey(name=DEFAULT_KEY, secret=default)
        self.from_file = from_file
        self._by_org = {org: key for key in self.named for org in key.orgs}

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(key.name for key in self.all)})"

    @property
    def all(self) -> tuple[ApiKey, ...]:
        """Every key that there is: the named ones, and the default if it is set."""
        return (*self.named, self.default) if self.default.secret is not None else self.named

    def of(self, org: str) -> ApiKey:
        """Return the key with which an org's feedback is sent."""
        return self._by_org.get(org, self.default)

    @property
    def secrets(self) -> frozenset[str]:
        """Every key itself."""
        return frozenset(key.secret.get_secret_value() for key in self.all if key.secret is not None)

    def changed_since(self, before: KeyRing) -> frozenset[str]:
        """Return the names of the keys that are new, or other ones than before."""
        known = {key.name: key.secret for key in before.all}
        return frozenset(key.name for key in self.all if known.get(key.name) != key.secret)


class _Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    key: str
    orgs: list[str]


class _Document(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: int
    keys: list[_Entry]


def read_keys_file(path: Path) -> bytes:
    """Return the content of the file.

    Raises:
        KeysFileError: It can't be read, is too large, or others may read or change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KeysFileError(f"AQUILAX_KEYS_FILE: {path} can't be read: {error.strerror}") from None
    if mode & _FORBIDDEN:
        raise KeysFileError(
            f"AQUILAX_KEYS_FILE: {path} is open to others (its mode is {mode & 0o777:04o}): chmod 600 {path}"
        )
    if len(content) > _MOST_BYTES:
        raise KeysFileError(f"AQUILAX_KEYS_FILE: {path} has more than 1 MiB: expected a file of keys")
    return content


def decode_keys(path: Path, content: bytes) -> tuple[ApiKey, ...]:
    """Return the keys that stand in the content of the file.

    Raises:
        KeysFileError: It is no file of keys; the message names the entry, and shows no key.
    """
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        example = '{"version": 1, "keys": [{"name": "acme", "key": "…", "orgs": ["acme"]}]}'
        raise KeysFileError(f"AQUILAX_KEYS_FILE: {path} is no file of keys: {error}; expected {example}") from None
    if problem := _problem(document):
        raise KeysFileError(f"AQUILAX_KEYS_FILE: {path}: {problem}")
    return tuple(
        ApiKey(name=entry.name, secret=api_key(SecretStr(entry.key)), orgs=tuple(entry.orgs)) for entry in document.keys
    )


def _problem(document: _Document) -> str:
    """Say what is wrong with the first entry that is; '' if none is."""
    if document.version != _VERSION:
        return f"its version is {document.version}: expected {_VERSION}"
    names: set[str] = set()
    key_of: dict[str, str] = {}
    for number, entry in enumerate(document.keys):
        if problem := _wrong_name(entry.name, names) or _wrong_key(entry.key) or _wrong_orgs(entry, key_of):
            return f"keys[{number}].{problem}"
    return ""


def _wrong_name(name: str, names: set[str]) -> str:
    if not _NAME.fullmatch(name) or name == DEFAULT_KEY:
        rule = "1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        return f"name: expected {rule}, and not {DEFAULT_KEY!r}, which is AQUILAX_API_KEY"
    if name in names:
        return f"name: there is another key {name!r}: give each a name of its own"
    names.add(name)
    return ""


def _wrong_key(key: str) -> str:
    try:
        secret = api_key(SecretStr(key))
    except ValueError as error:
        return f"key: {error}"
    return "" if secret.get_secret_value() else "key: it is empty: expected a Personal Access Token"


def _wrong_orgs(entry: _Entry, key_of: dict[str, str]) -> str:
    if not entry.orgs:
        return "orgs: there is none: name those that this key is for"
    for org in entry.orgs:
        if not 1 <= len(org) <= _LONGEST_ORG or not org.isprintable():
            return f"orgs: expected ids of 1 to {_LONGEST_ORG} printable characters"
        if key_of.setdefault(org, entry.name) != entry.name:
            return f"orgs: {org!r} is an org of the key {key_of[org]!r} too: an org has one key"
    return ""


def ring_of(settings: Settings) -> KeyRing:
    """Return the keys that the settings name.

    Raises:
        KeysFileError: The file can't be used.
    """
    path, default = settings.aquilax_keys_file, settings.aquilax_api_key
    if default is not None and not default.get_secret_value():
        default = None
    if path is None:
        return KeyRing(default=default)
    return KeyRing(decode_keys(path, read_keys_file(path)), default=default, from_file=True)
