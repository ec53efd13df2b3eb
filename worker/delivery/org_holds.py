"""Holds of single orgs, by hand, and of the orgs of one key that AquilaX refuses, beside the hold of everything.

They stand in one hash in the first partition, by their scope: ``org:acme`` or ``key:acme``. Every worker reads it twice
a second, and decides by what it has read, so that a delivery asks Redis nothing more: an org is held within a second.
What is turned away is set aside (`worker.broker.set_aside`); a worker gives it back when the hold has ended.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, cast

from worker.clients.aquilax.keys import KeyRing
from worker.clients.redis.keys import FeedbackKeys, feedback_keys
from worker.clients.redis.scripts import JSON, TIME, Script, lua
from worker.delivery.hold import FIRST_PROBE, LONGEST_PROBE, HoldKind, HoldState
from worker.policy.classification import Classification, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    import redis

    from worker.clients.redis.scripts import RunsScripts
    from worker.policy.message import Message

__all__ = ["OrgHold", "OrgHolds", "key_scope", "org_scope", "read_org_holds", "shown_scope"]

log = logging.getLogger(__name__)

_BEGIN: Final = Script(TIME + JSON + lua("worker.delivery", "begin_org_hold"))
_END: Final = Script(lua("worker.delivery", "end_org_hold"))
_BY_HAND: Final = Script(TIME + lua("worker.delivery", "hold_org"))
_RESUME: Final = Script(lua("worker.delivery", "resume_org"))
_TAKE_PROBE: Final = Script(TIME + JSON + lua("worker.delivery", "take_org_probe"))
_PROBE_SOON: Final = Script(TIME + JSON + lua("worker.delivery", "probe_org_soon"))

_ORG: Final = "org:"
_KEY: Final = "key:"
_ENDED: Final = 2


def org_scope(org: str) -> str:
    """Return the scope of one org."""
    return _ORG + org


def key_scope(name: str) -> str:
    """Return the scope of the orgs of one key, by the key's name."""
    return _KEY + name


def shown_scope(scope: str) -> str:
    """Return whose a scope is, as people read it."""
    if scope.startswith(_ORG):
        return f"the org {scope.removeprefix(_ORG)}"
    return f"the orgs of the key {scope.removeprefix(_KEY)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgHold:
    """A hold of some orgs.

    Attributes:
        scope: Whose: ``org:`` and an org, or ``key:`` and the name of a key.
        state: Why, since when, and when the next probe is due.
    """

    scope: str
    state: HoldState

    @classmethod
    def read(cls, scope: str, text: bytes) -> Self:
        """Read what stands in Redis; what is no hold of ours holds all the same, until an operator resumes."""
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        fields = record if isinstance(record, dict) else {"unreadable": text.decode(errors="replace")}
        told = {name.encode(): _text(value).encode() for name, value in fields.items()}
        state = HoldState.read(told or {b"unreadable": b""}, key=f"{FeedbackKeys().holds} (its field {scope})")
        assert state is not None, "there are fields"  # noqa: S101 - only a caller's mistake fails this, never an input
        return cls(scope=scope, state=state)

    @property
    def shown(self) -> str:
        """Whose it is, as people read it."""
        return shown_scope(self.scope)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {"scope": self.scope, **self.state.as_dict()}


def read_org_holds(client: redis.Redis) -> tuple[OrgHold, ...]:
    """Return the holds of single orgs and keys, by scope; ``client`` is the first partition's, and answers in bytes.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    found = cast("dict[bytes, bytes]", client.hgetall(feedback_keys(client).holds))
    read = (OrgHold.read(scope.decode(errors="replace"), text) for scope, text in found.items())
    return tuple(sorted(read, key=lambda hold: hold.scope))


class OrgHolds:
    """The holds of single orgs and keys, as one process knows them; safe for many threads.

    Args:
        client: The first partition's Redis; it is not closed here.
        scripts: What runs scripts in it, if not the client.
        actor: What this process calls itself.
        ring: Returns the keys that are in use.
        begun: Is told the kind of a hold that this object begins.
        changed: Is called when this object has begun or ended one.

    Every method that asks Redis raises `redis.RedisError` when it is unavailable.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        scripts: RunsScripts | None = None,
        actor: str,
        ring: Callable[[], KeyRing] = KeyRing,
        begun: Callable[[HoldKind], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        keys = feedback_keys(client)
        self._key, self._and_counts = keys.holds, [keys.holds, keys.counts]
        self._scripts: RunsScripts = client if scripts is None else scripts
        self._actor = actor
        self._ring = ring
        self._begun = begun
        self._changed = changed
        self._one_at_a_time = threading.Lock()
        self.standing: Mapping[str, OrgHold] = {}
        """Those that stand, by scope, as they were last read. It is replaced, never changed: deliveries read it."""

    def of(self, org: str) -> OrgHold | None:
        """Return the hold that keeps an org's events back, as far as this process knows."""
        standing = self.standing
        if not standing:
            return None
        return standing.get(_ORG + org) or standing.get(_KEY + self._ring().of(org).name)

    def heard_of(self, holds: Collection[OrgHold]) -> None:
        """Go by these from now on, as they have just been read; the log tells of each that is new, and of its end."""
        now = {hold.scope: hold for hold in holds}
        with self._one_at_a_time:
            before, self.standing = self.standing, now
        for scope, hold in now.items():
            if scope not in before:
                _tell_begun(hold)
        for scope, hold in before.items():
            if scope not in now:
                log.info("%s: the hold has ended, and feedback is sent again", hold.shown)

    def heard(
        self,
        message: Message,
        response: Response,
        classification: Classification,
        comment: str,
        *,
        asked: timedelta = timedelta(),
    ) -> bool:
        """Note an answer of AquilaX, which may begin the hold of the org's key, prolong it, or end it.

        Args:
            message: What was sent; it may be a probe.
            response: The answer; or that nothing was sent, as there is no key.
            classification: What it means.
            comment: The answer as text.
            asked: How long AquilaX asks us to wait, if it does.

        Returns:
            Whether the event shares its fate with those of the same key.
        """
        of_key = response.keyless or response.status == HTTPStatus.UNAUTHORIZED
        if classification is Classification.UNAUTHORIZED and of_key and self._ring().from_file:
            scope = key_scope(self._ring().of(message.event.org).name)
            self._begin(scope, comment, asked=asked, probe=message.probes == scope)
            return True
        if not message.probes:
            return False
        match classification:
            case Classification.UNAUTHORIZED:  # the URL is wrong: it says nothing of the key
                return False
            case Classification.RETRYABLE:
                self._begin(message.probes, comment, asked=asked, probe=True)
                return True
            case _:
                self._end(message.probes)
                return False

    def _begin(self, scope: str, comment: str, *, asked: timedelta, probe: bool) -> None:
        waits = [wait // timedelta(milliseconds=1) for wait in (FIRST_PROBE, LONGEST_PROBE, asked)]
        given = [scope, HoldKind.LOCKED_OUT.value, comment, self._actor, *waits, int(probe)]
        text, begun = _BEGIN(self._scripts, [self._key], given)
        hold = OrgHold.read(scope, text)
        with self._one_at_a_time:
            is_new = scope not in self.standing
            self.standing = {**self.standing, scope: hold}
        if is_new:
            _tell_begun(hold)
        if begun:
            self._begun(HoldKind.LOCKED_OUT)
            self._changed()

    def try_keys(self, holds: Collection[OrgHold]) -> None:
        """End those of these that are of keys: these may be other ones now, or other orgs'. What is refused is held."""
        for hold in holds:
            if hold.scope.startswith(_KEY):
                self._end(hold.scope)

    def _end(self, scope: str) -> None:
        _END(self._scripts, [self._key], [scope])
        self._forget(scope)
        self._changed()

    def take_probe(self, hold: OrgHold, *, now: datetime) -> bool:
        """Return whether an event may be sent to see whether a hold can end: its probe is due, or it has ended."""
        if hold.state.probe_at is None or hold.state.probe_at > now:
            return False
        taken = _TAKE_PROBE(self._scripts, [self._key], [hold.scope])
        if taken == _ENDED:
            self._forget(hold.scope)
        return bool(taken)

    def probe_soon(self, *scopes: str) -> None:
        """Let the next probe of these holds be sent at once."""
        _PROBE_SOON(self._scripts, [self._key], scopes)

    def hold(self, org: str, comment: str, *, actor: str) -> None:
        """Hold one org by hand, until `resume`."""
        _BY_HAND(self._scripts, self._and_counts, [org_scope(org), comment, actor])

    def resume(self, scope: str) -> bool:
        """End a hold; return whether there was one."""
        return bool(_RESUME(self._scripts, self._and_counts, [scope]))

    def _forget(self, scope: str) -> None:
        with self._one_at_a_time:
            hold = self.standing.get(scope)
            self.standing = {name: other for name, other in self.standing.items() if name != scope}
        if hold is not None:
            log.info("%s: the hold has ended, and feedback is sent again", hold.shown)


def _tell_begun(hold: OrgHold) -> None:
    until = "until it is resumed" if hold.state.by_hand else "from now on but a probe now and then"
    log.warning("%s: nothing is sent to AquilaX %s: %s", hold.shown, until, hold.state.comment)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
