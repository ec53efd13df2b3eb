"""What pages say in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.database.audit_log import Action
from worker.database.models import DeadLetter, State
from worker.dead_letters.selection import Selection
from worker.operations.dashboard import presenters as wording
from worker.policy.retry import Reason

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def an_action(action: str = "replay.create", **details: Any) -> Action:
    """What ann did at noon."""
    return Action(id=1, at=NOON, actor="ann", action=action, target="replay 3", comment="", details=details)


def test_a_selection_is_told_in_words() -> None:
    """As an operator would say it; a cause whose summary is gone by its fingerprint."""
    chosen = Selection(states=(State.DEAD,), fingerprints=("732a1c19a072", "0000"), orgs=("a", "b"), until=NOON)
    assert wording.fingerprints_named(chosen.to_record()) == {"732a1c19a072", "0000"}
    assert wording.chosen(chosen.to_record(), {"732a1c19a072": "forbidden 403: nope"}) == (
        "dead, of forbidden 403: nope or cause 0000, org a or b, died before 2026-03-01 12:00:00 UTC"
    )
    assert wording.chosen({}, {}) == "all dead letters"
    every = Selection(states=tuple(State), reasons=tuple(Reason), http_statuses=(404,), since=NOON)
    assert wording.chosen(every.to_record(), {}) == "of any state, HTTP 404, died since 2026-03-01 12:00:00 UTC"
    assert (
        wording.chosen({"ids": [1, 2], "since": "once", "tenant": "x"}, {}) == "row 1 or 2, died since once, tenant: x"
    )


def test_what_the_audit_has_is_told_in_words() -> None:
    """And what is not known here is shown as it is."""
    made = an_action(rows=1200, rate=40.0, canary=5, selection={"states": ["dead"]}, new="x")
    assert wording.details(made, {}) == ["1,200 rows", "40 a second", "a canary of 5", "dead", "new: x"]
    assert wording.details(an_action(rows=1, rate=None, canary=0), {}) == ["1 row", "as fast as it goes"]
    held = {"kind": "operator", "comment": "maintenance", "since": "2026-03-01T11:59:52+00:00", "probe_at": None}
    assert wording.details(an_action("resume", held=held), {}) == ["was held for 8.0 s: maintenance"]
    assert wording.details(an_action("resume", held={"kind": "breaker"}), {}) == ["was held: breaker"]
    sent = an_action("waiting.send_now", messages=2, waiting={"orgs": ["a"], "causes": ["busy", "fault"]})
    assert wording.details(sent, {}) == ["2 messages", "org a, cause busy or fault"]
    assert wording.details(an_action(messages=1, waiting={"ids": ["1", "2"]}), {}) == ["1 message", "2 by id"]
    assert wording.details(an_action(waiting={}), {}) == ["all that waited"]
    assert [wording.deed(an_action(name)) for name in ("replay.create", "discard", "else")] == [
        "made",
        "discarded",
        "else",
    ]


def test_who_it_was_fits_a_sentence() -> None:
    """Also where no login was needed."""
    assert wording.person("without login, from 127.0.0.1") == "unknown, without login (127.0.0.1)"
    assert wording.person("ann") == "ann"


@pytest.mark.parametrize("reason", list(Reason))
def test_for_every_reason_there_is_something_to_do(reason: Reason) -> None:
    """As docs/operations.md says at more length."""
    assert wording.advice(DeadLetter(reason=reason, http_status=None)).endswith(".")
    assert wording.advice(DeadLetter(reason=Reason.REJECTED, http_status=404)).startswith("AquilaX does not know")


def test_what_is_not_dead_is_named_before_it_is_taken() -> None:
    """A discarded row was discarded by an operator."""
    states = [("dead", 5), ("discarded", 4)]
    assert wording.unusual("replay", states, chosen=State) == ["4 discarded: they would be sent after all"]
    assert wording.unusual("discard", [("replaying", 1)], chosen=State)[0].startswith("1 replaying: what is being sent")
    (cut_short,) = wording.unusual("replay", [("replaying", 1)], chosen=[State.DEAD])
    assert cut_short == "1 in an earlier replay that was cut short before they were sent"
    assert wording.unusual("discard", [("dead", 1)], chosen=State) == []
