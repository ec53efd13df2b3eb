from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from worker.accounting.held_orgs import HeldOrgs
from worker.accounting.snapshot import Snapshot
from worker.delivery.hold import HoldKind, HoldState
from worker.delivery.org_holds import OrgHold
from worker.operations.doctor.queue import look_at_queue

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EMPTY = Snapshot(at=NOW, counts={}, queued=0, in_flight=0, scheduled=0, oldest=None, hold=None, holders=())
HORIZON = timedelta(days=3)


def _before(now: Snapshot, *, queued: int = 0) -> Snapshot:
    return replace(now, at=now.at - timedelta(seconds=2), queued=queued)


def _wrong(now: Snapshot, before: Snapshot | None = None) -> dict[str, str]:
    findings = look_at_queue(before or _before(now), now, horizon=HORIZON)
    return {finding.check: finding.level.value for finding in findings if finding.level != "green"}


def _held(kind: HoldKind) -> HoldState:
    since = NOW - timedelta(hours=2)
    return HoldState(kind=kind, comment="401 Unauthorized", since=since, actor="host:1", probes=1, probe_at=None)


def test_an_empty_queue_is_well() -> None:
    """Nothing waits, and nothing is held."""
    assert _wrong(EMPTY) == {}


@pytest.mark.parametrize(
    ("age", "wrong"),
    [
        (timedelta(minutes=14), {}),
        (timedelta(minutes=16), {"oldest event": "yellow"}),
        (timedelta(days=2), {"oldest event": "red"}),
    ],
)
def test_an_event_that_waits_for_long_is_told(age: timedelta, wrong: dict[str, str]) -> None:
    """At half of what it has, there is still time to fix whatever it is."""
    assert _wrong(replace(EMPTY, scheduled=1, oldest=NOW - age)) == wrong


def test_a_held_org_is_told_and_is_the_reason_for_what_is_old() -> None:
    """A refused key is red, with the fix; an operator's hold is yellow."""
    of_key = OrgHold(scope="key:acme", state=_held(HoldKind.LOCKED_OUT))
    of_org = OrgHold(scope="org:globex", state=_held(HoldKind.OPERATOR))
    held = HeldOrgs(holds=(of_key, of_org), set_aside={"key:acme": 1200, "org:globex": 0})
    old = replace(EMPTY, scheduled=1200, oldest=NOW - timedelta(days=2))

    found = [finding for finding in look_at_queue(old, old, horizon=HORIZON, held=held) if finding.level != "green"]

    assert [(finding.check, finding.level.value) for finding in found] == [("org hold", "red"), ("org hold", "yellow")]
    assert "nothing of the orgs of the key acme is sent since 2 h: 401 Unauthorized" in found[0].summary
    assert "1,200 events are set aside" in found[0].summary
    assert "put a valid key for acme into AQUILAX_KEYS_FILE" in found[0].fix
    assert "resume --org globex" in found[1].fix


@pytest.mark.parametrize(
    ("kind", "level"), [(HoldKind.LOCKED_OUT, "red"), (HoldKind.BREAKER, "yellow"), (HoldKind.OPERATOR, "yellow")]
)
def test_a_hold_is_the_reason_for_all_that_waits(kind: HoldKind, level: str) -> None:
    """It is told once: the age and the backlog are no findings of their own."""
    now = replace(EMPTY, queued=90_000, oldest=NOW - timedelta(days=2), hold=_held(kind), counts={"accepted": 90_000})

    assert _wrong(now, _before(replace(now, counts={}), queued=80_000)) == {"hold": level}


@pytest.mark.parametrize(
    ("queued", "ended", "wrong"),
    [(5000, 0, {"backlog": "yellow"}), (5000, 6000, {}), (900, 0, {})],
)
def test_a_backlog_that_grows_is_told(queued: int, ended: int, wrong: dict[str, str]) -> None:
    """Not one that is being worked off, and not a handful."""
    now = replace(EMPTY, queued=queued, counts={"accepted": 5000, "delivered": ended})

    assert _wrong(now, _before(replace(now, counts={}), queued=queued - 100 if not ended else queued + 1000)) == wrong
