"""`aquilax-feedback waiting`, as an operator uses it, and as a program does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tests.support.places import LONG_FROM_NOW, request_id_of
from tests.support.waiting import ENVELOPE, REFUSAL, a_retry, wait
from worker.broker.set_aside import moment_of
from worker.database.audit_log import actions
from worker.delivery.org_holds import org_scope
from worker.operations.cli import main
from worker.policy.envelope import WaitReason

if TYPE_CHECKING:
    from tests.support.places import Places
    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("keys_are_declared", "valkey")


def say(*arguments: str) -> Result:
    """Run a command in this process, without a terminal to ask on."""
    return CliRunner().invoke(main, ["waiting", *arguments])


def test_what_waits_is_listed_and_counted_by_cause(places: Places, table: DeadLetterStore) -> None:
    """In lines that grep takes, and as JSON; a page says where the next one begins."""
    first = a_retry(ENVELOPE.tried(REFUSAL), org="a")
    wait(places, first, a_retry(org="b", waits=WaitReason.BUSY))

    listed, one = say("list"), json.loads(say("list", "--json", "--limit", "1").stdout)
    rest = json.loads(say("list", "--json", "--after", one["after"]).stdout)
    causes = json.loads(say("list", "--group-by", "cause", "--json").stdout)

    head, line, *_ = listed.stdout.splitlines()
    assert dict(zip(head.split("\t"), line.split("\t"), strict=True))["request_id"] == request_id_of(first)
    assert "503: Downstream service <n> unavailable" in line
    assert (one["total"], one["messages"][0]["org"], [each["org"] for each in rest["messages"]]) == (2, "a", ["b"])
    assert [(each["waits"], each["messages"]) for each in causes["causes"]] == [("retry", 1), ("busy", 1)]
    assert say("list", "--group-by", "cause").stdout.count("\n") == 3
    assert table is not None


def test_what_is_set_aside_is_due_when_its_hold_ends(places: Places) -> None:
    """In both lists, and null in JSON."""
    wait(places, a_retry(org="acme", waits=WaitReason.HOLD), due=moment_of(org_scope("acme")))

    listed, causes = say("list"), say("list", "--group-by", "cause")
    record = json.loads(say("list", "--json").stdout)["messages"][0]

    assert ("when its hold ends" in listed.stdout, "when its hold ends" in causes.stdout) == (True, True)
    assert (record["org"], record["due"]) == ("acme", None)


def test_one_is_sent_now_by_its_id_and_the_rest_by_a_filter(places: Places, table: DeadLetterStore) -> None:
    """More than a few, or a filter, only with a yes; each stands in the audit log."""
    wait(places, *(a_retry(org="a") for _ in range(3)))
    name = json.loads(say("list", "--json").stdout)["messages"][0]["id"]

    sent = say("send-now", name, "--comment", "is it well?", "--actor", "ann")
    again = json.loads(say("send-now", name, "--comment", "again", "--json").stdout)
    unasked = say("send-now", "--org", "a", "--comment", "all of it")
    rest = say("send-now", "--org", "a", "--comment", "all of it", "--yes")

    assert (sent.stdout, again["on_their_way"], rest.stdout) == ("sent 1\n", 1, "sent 2\n")
    assert (unasked.exit_code, "add --yes" in unasked.stderr) == (2, True)
    assert places.client.llen("feedback") == 3
    assert [(one.actor, one.details["messages"]) for one in actions(table.engine)][-1] == ("ann", 1)


def test_what_can_not_be_a_dead_letter_is_told(places: Places, table: DeadLetterStore) -> None:
    """With exit status 1."""
    wait(places, a_retry(), b"rubbish")

    done = say("dead-letter", "--all", "--comment", "we give up", "--yes")

    assert (done.exit_code, done.stdout) == (1, "dead-lettered 1\n")
    assert "can't be read here" in done.stderr
    assert [one.action for one in actions(table.engine)] == ["waiting.dead_letter"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send-now", "--comment", "x"], "expected IDs, or filters"),
        (["send-now", "--all", "--org", "a", "--comment", "x"], "expected IDs, or filters"),
        (["send-now", "17", "--comment", "x"], "an id as the list of waiting messages has it"),
        (["send-now", "--all"], "Missing option '--comment'"),
        (["list", "--cause", "weather"], "expected one of retry"),
        (["list", "--request-id", "xyz!"], "at least 4 of its first characters"),
        (["list", "--after", "x"], "the place of a page"),
    ],
)
def test_what_can_not_be_meant_is_refused(arguments: list[str], said: str) -> None:
    """A filter that is misspelt must not choose all."""
    ended = say(*arguments)

    assert (ended.exit_code, said in ended.stderr) == (2, True), ended.stderr


def test_a_redis_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting, and status 1."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", "redis://127.0.0.1:1/0")

    ended = say("list")

    assert (ended.exit_code, "FEEDBACK_BROKER_URL" in ended.stderr) == (1, True)


def test_a_database_that_is_away_keeps_nothing_from_being_sent(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that the audit log does not have it; a dead letter needs it, and is refused."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", "sqlite:////nowhere/at/all.sqlite3")
    wait(places, a_retry(), a_retry(), due=LONG_FROM_NOW)

    refused = say("dead-letter", "--all", "--comment", "x", "--yes")
    sent = say("send-now", "--all", "--comment", "x", "--yes")

    assert (refused.exit_code != 0, sent.exit_code, sent.stdout) == (True, 1, "sent 2\n")
    assert "the audit log does not have it" in sent.stderr
