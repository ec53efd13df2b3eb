"""What is known of notifications, in the first partition; and which worker of the fleet notifies.

A worker notifies while it has the lease, and what it knows is written down only as long as it has: so two that both
think that they notify can't both find the same event new.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import Script, lua
from worker.notifications.state import NotifierState

if TYPE_CHECKING:
    import redis

__all__ = ["LEASE", "NotifierStore"]

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=90)
"""How long a round may take from one writing down to the next: sending takes a third of that at most."""

_SAVE: Final = Script(lua("worker.notifications", "save"))
_RELEASE: Final = Script(lua("worker.notifications", "release"))
_NO_EXPIRY: Final = -1


class NotifierStore:
    """The state and the lease. Every method raises `redis.RedisError` if Redis is unavailable or refuses.

    Args:
        client: The first partition's, which answers in bytes.
        token: What no other worker calls itself.
    """

    def __init__(self, client: redis.Redis, token: str) -> None:
        self._client = client
        self._token = token
        keys = feedback_keys(client)
        self._state, self._lease = keys.notifier, keys.notifier_lease

    def acquire(self) -> bool:
        """Take the lease, if no worker has it; return whether this one has it now."""
        if self._client.set(self._lease, self._token, nx=True, px=LEASE):
            return True
        if self._client.pttl(self._lease) == _NO_EXPIRY:  # another program wrote it, and no worker would notify
            self._client.pexpire(self._lease, LEASE)
        return False

    def load(self) -> NotifierState:
        """Return what is known; what can't be read is said once, as it is written over.

        Raises:
            NewerState: Workers of a later release notify.
        """
        text = self._client.get(self._state)
        if text is None:
            return NotifierState()
        try:
            return NotifierState.from_json(text)
        except ValueError as error:
            log.warning("the key %s begins again: %s", self._state, error)
            return NotifierState()

    def save(self, state: NotifierState) -> bool:
        """Write down what is known, and keep the lease; return False, and do nothing, if it is another worker's."""
        values = [self._token, state.to_json(), LEASE // timedelta(milliseconds=1)]
        return bool(_SAVE(self._client, [self._lease, self._state], values))

    def release(self, rest: timedelta) -> None:
        """Let the next round begin after the rest of the period."""
        milliseconds = max(rest // timedelta(milliseconds=1), 1)
        _RELEASE(self._client, [self._lease], [self._token, milliseconds])
