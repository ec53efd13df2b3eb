"""One suite for the holds of single orgs, over fakeredis, a real Valkey and a real Redis."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.support.dead_letter_records import an_event
from worker.clients.aquilax.keys import ApiKey, KeyRing
from worker.clients.redis.keys import FeedbackKeys
from worker.delivery.hold import HoldKind
from worker.delivery.org_holds import OrgHold, OrgHolds, key_scope, org_scope, read_org_holds
from worker.policy.classification import Classification, Response
from worker.policy.envelope import Envelope
from worker.policy.message import Message

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.usefixtures("keys_are_declared")

KEYS = FeedbackKeys()
SECOND = timedelta(seconds=1)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
RING = KeyRing([ApiKey(name="main", secret=SecretStr("k"), orgs=("acme",))], from_file=True)
MESSAGE = Message(
    event=replace(an_event(), org="acme"),
    envelope=Envelope(enqueued_at=datetime(2026, 1, 31, tzinfo=UTC), message_id="m"),
)
MAIN = key_scope("main")


def holds_of(client: redis.Redis, actor: str = "worker-1") -> OrgHolds:
    """The holds, as one worker has them."""
    return OrgHolds(client, actor=actor, ring=lambda: RING)


def refuse(holds: OrgHolds, *, asked: timedelta = timedelta(), probe: bool = False) -> bool:
    """AquilaX answers 401."""
    message = replace(MESSAGE, probes=MAIN) if probe else MESSAGE
    return holds.heard(message, Response(status=401), Classification.UNAUTHORIZED, "401 no", asked=asked)


def the_hold(client: redis.Redis) -> OrgHold:
    """The one that stands."""
    [hold] = read_org_holds(client)
    return hold


def until_probe(client: redis.Redis) -> float:
    """Seconds, by Redis' clock."""
    seconds, micros = client.time()
    probe_at = the_hold(client).state.probe_at
    assert probe_at is not None
    return probe_at.timestamp() - seconds - micros / 1e6


def test_none_stands_at_first(client: redis.Redis) -> None:
    """And no org is looked up."""
    assert read_org_holds(client) == ()
    assert holds_of(client).of("acme") is None


def test_a_refused_key_is_held_by_its_name(client: redis.Redis) -> None:
    """The worker that finds out knows at once, the others when they read it."""
    finder, other = holds_of(client), holds_of(client, "worker-2")

    assert refuse(finder)

    hold = the_hold(client)
    assert (hold.scope, hold.state.kind, hold.state.comment) == (MAIN, HoldKind.LOCKED_OUT, "401 no")
    assert (hold.state.actor, hold.state.probes, hold.state.by_hand) == ("worker-1", 0, False)
    assert finder.of("acme") == hold
    assert finder.of("globex") is None
    assert other.of("acme") is None
    other.heard_of(read_org_holds(client))
    assert other.of("acme") == hold


def test_answers_to_what_was_being_sent_bring_no_probe_nearer(client: redis.Redis) -> None:
    """Only a probe that fails lets the next wait longer, up to a minute."""
    holds = holds_of(client)
    refuse(holds)
    refuse(holds)
    assert 0 < until_probe(client) <= 1

    for longest in (2, 4, 8, 16, 32, 60, 60):
        refuse(holds, probe=True)
        assert longest - 1 < until_probe(client) <= longest


def test_aquilax_may_ask_for_a_longer_wait(client: redis.Redis) -> None:
    """As with the hold of everything."""
    refuse(holds_of(client), asked=timedelta(minutes=5))

    assert 299 < until_probe(client) <= 300


def test_one_worker_takes_the_probe(client: redis.Redis) -> None:
    """When it is due, and for a minute no other does."""
    first, second = holds_of(client), holds_of(client, "worker-2")
    refuse(first)
    early = the_hold(client)
    assert not first.take_probe(early, now=FAR)  # by Redis' clock it is not due yet
    assert not first.take_probe(early, now=datetime(2026, 1, 1, tzinfo=UTC))
    first.probe_soon(MAIN)

    due = the_hold(client)

    assert first.take_probe(due, now=FAR)
    assert not second.take_probe(due, now=FAR)
    assert the_hold(client).state.probes == 1


def test_what_is_sent_after_the_end_is_no_probe_too_many(client: redis.Redis) -> None:
    """A worker that has not read of the end yet sends, and forgets the hold."""
    holds = holds_of(client)
    refuse(holds)
    hold = the_hold(client)
    client.delete(KEYS.holds)

    assert holds.take_probe(hold, now=FAR)
    assert holds.of("acme") is None


def test_an_operator_holds_an_org_and_resumes_it(client: redis.Redis) -> None:
    """There are no probes; each change is counted."""
    holds = holds_of(client)
    holds.hold("acme", "maintenance", actor="jo")
    hold = the_hold(client)

    assert (hold.scope, hold.state.by_hand, hold.state.comment, hold.state.actor) == (
        org_scope("acme"), True, "maintenance", "jo",
    )  # fmt: skip
    assert hold.shown == "the org acme"
    assert not holds.take_probe(hold, now=FAR)
    holds.probe_soon(hold.scope)
    assert not holds.take_probe(the_hold(client), now=FAR)
    assert holds.resume(hold.scope)
    assert not holds.resume(hold.scope)
    assert client.hget(KEYS.counts, "org_hold_changes") == b"3"


def test_other_keys_end_the_holds_of_keys_alone(client: redis.Redis) -> None:
    """What is refused still is held again at once."""
    holds = holds_of(client)
    holds.hold("acme", "maintenance", actor="jo")
    refuse(holds)

    holds.try_keys(read_org_holds(client))

    assert the_hold(client).scope == org_scope("acme")


@pytest.mark.parametrize("text", [b"", b"[]", b"nonsense", b"{}", b'{"kind": "locked_out"}', b'{"kind": 1}'])
def test_what_is_no_hold_of_ours_holds_until_it_is_resumed(client: redis.Redis, text: bytes) -> None:
    """Another program may have written it: nothing of the org is sent meanwhile, and it is said."""
    client.hset(KEYS.holds, org_scope("acme"), text)
    holds = holds_of(client)
    holds.heard_of(read_org_holds(client))

    hold = holds.of("acme")

    assert hold is not None
    assert hold.state.by_hand
    assert "unreadable" in hold.state.comment
    assert not holds.take_probe(hold, now=FAR)
    assert holds.resume(org_scope("acme"))


def test_a_hold_can_be_told_as_json(client: redis.Redis) -> None:
    """As commands and the API have it."""
    refuse(holds_of(client))

    told = json.loads(json.dumps(the_hold(client).as_dict()))

    assert (told["scope"], told["kind"], told["comment"]) == (MAIN, "locked_out", "401 no")
