"""By how much the counts of a Redis that has lost data are raised, so that what was counted before goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.accounting.balance import ENDS
from worker.clients.redis.keys import CountField

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.accounting.snapshot import Snapshot
    from worker.database.redis_generations import Recorded

__all__ = ["CARRIED_FROM", "GENERATION", "added", "raised", "totals_before"]

GENERATION: Final = "generation"
"""The field of the counts with the number that names these data."""

CARRIED_FROM: Final = "carried_from"
"""The field with the generation that they go on from."""

_ACCEPTED: Final = CountField.ACCEPTED.value
_WRITTEN_OFF: Final = CountField.WRITTEN_OFF.value


def totals_before(known: Recorded, uncounted: int) -> dict[str, int]:
    """Return what was counted, with foreign messages that no worker had counted yet, and that are not there now."""
    before = {name: number for name, number in known.totals.items() if name not in {CARRIED_FROM, GENERATION}}
    not_ended = before.get(_ACCEPTED, 0) - sum(before.get(end, 0) for end in ENDS)
    return before | {_ACCEPTED: before.get(_ACCEPTED, 0) + max(known.waiting - not_ended - uncounted, 0)}


def added(before: Mapping[str, int], missing: int) -> tuple[dict[str, int], int]:
    """Add what was counted before to what was counted since; what waited is gone, unless it is the surplus.

    Args:
        before: What was counted before.
        missing: How many messages are missing of what there is now; negative for a surplus.

    Returns:
        By how much each count rises, and how many messages are written off with it.
    """
    waited = before.get(_ACCEPTED, 0) - sum(before.get(end, 0) for end in ENDS)
    gone = waited + missing
    written_off = max(gone, 0)
    accepted = before.get(_ACCEPTED, 0) + max(-gone, 0)
    given_up = before.get(_WRITTEN_OFF, 0) + written_off
    return {**before, _ACCEPTED: accepted, _WRITTEN_OFF: given_up}, written_off


def raised(before: Mapping[str, int], now: Snapshot, missing: int) -> tuple[dict[str, int], int]:
    """Let no count of an older copy stay lower than it was; what it has waiting is there.

    Args:
        before: What was counted before.
        now: What the copy has.
        missing: See `added`.

    Returns:
        As `added`.
    """
    after = {name: max(number, now.counts.get(name, 0)) for name, number in before.items() if name != _ACCEPTED}
    there = now.balance.accepted - now.balance.ended - missing
    there += sum(after.get(end, now.counts.get(end, 0)) for end in ENDS)
    after[_ACCEPTED] = max(before.get(_ACCEPTED, 0), there)
    written_off = after[_ACCEPTED] - there
    after[_WRITTEN_OFF] = after.get(_WRITTEN_OFF, 0) + written_off
    return {name: number - now.counts.get(name, 0) for name, number in after.items()}, written_off
