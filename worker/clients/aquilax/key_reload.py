"""The file of keys, read again while the worker runs: a good one is used at once, a bad one changes nothing."""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import TYPE_CHECKING

from worker.clients.aquilax.keys import KeyRing, KeysFileError, decode_keys, read_keys_file, ring_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.settings import Settings

__all__ = ["ReloadedKeys"]

log = logging.getLogger(__name__)


class ReloadedKeys:
    """The keys that a process uses.

    Args:
        settings: They name the file and the default.
        learned: Is told the secrets of each ring, before any of them is used.

    Raises:
        KeysFileError: The file can't be used.
    """

    def __init__(self, settings: Settings, *, learned: Callable[[frozenset[str]], None] = lambda _: None) -> None:
        self._path = settings.aquilax_keys_file
        self._learned = learned
        self._used = self._refused = b""
        self.ring = ring_of(settings)
        self.problem = ""
        """Why the file as it stands now is not used; '' if it is, or there is none."""
        self.reloads = 0
        self.refusals = 0
        if self._path is not None:
            self._used = _digest(read_keys_file(self._path))
        learned(self.ring.secrets)

    def problem_now(self) -> str:
        """Return why the file as it stands now can't be used; '' if it can. It changes nothing."""
        if self._path is None:
            return ""
        try:
            decode_keys(self._path, read_keys_file(self._path))
        except KeysFileError as error:
            return str(error)
        return ""

    def look(self) -> bool:
        """Read the file again; return whether there are other keys in use since."""
        if self._path is None:
            return False
        try:
            content = read_keys_file(self._path)
            digest = _digest(content)
            if digest == self._used:
                self._is_good()
                return False
            named = decode_keys(self._path, content)
        except KeysFileError as error:
            self._refuse(str(error))
            return False
        before = self.ring
        self.ring = KeyRing(named, default=before.default.secret, from_file=True)
        self._used = digest
        self.reloads += 1
        self._learned(self.ring.secrets)
        self._is_good()
        log.warning("AQUILAX_KEYS_FILE has changed, and is used: %s", _told(self.ring, self.ring.changed_since(before)))
        return True

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:  # once for each problem, and not at each look
            self.problem = problem
            self.refusals += 1
            log.error("the keys that were read before stay in use: %s", problem)

    def _is_good(self) -> None:
        if self.problem:
            self.problem = ""
            log.warning("AQUILAX_KEYS_FILE can be used again")


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _told(ring: KeyRing, changed: frozenset[str]) -> str:
    orgs = sum(len(key.orgs) for key in ring.named)
    return f"{len(ring.named)} keys for {orgs} orgs; new or other: {', '.join(sorted(changed)) or 'none'}"
