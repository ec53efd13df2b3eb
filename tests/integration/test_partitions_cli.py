"""The commands of operators on a queue of several partitions in one Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from producer.message import QUEUE
from tests.support.partitions import count, enqueue, enqueue_in, message_of, opened, request_ids, take
from tests.support.places import places_of
from tests.support.processes import VALKEY, redis_server
from worker.accounting.continuity import record
from worker.broker.keys import broker_keys
from worker.clients.redis.connections import recorded_partitions
from worker.clients.redis.keys import feedback_keys
from worker.operations.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions
    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("table")


@pytest.fixture
def partitions(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Partitions]:
    """Three, which the settings name."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    monkeypatch.setenv("FEEDBACK_PARTITIONS", "3")
    with opened(valkey.url, 3) as partitions:
        yield partitions


def invoke(*words: str) -> Result:
    """Run a command."""
    ended = CliRunner().invoke(main, list(words))
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def reconcile(*options: str) -> Result:
    """Without patience."""
    return invoke("reconcile", "--patience", "0", *options)


def test_reconcile_says_in_which_partition(partitions: Partitions) -> None:
    """The sum holds; --repair puts both right, and then the sum is shown."""
    enqueue(partitions, *request_ids(5))
    count(partitions[1], accepted=2)
    enqueue_in(partitions[2], message_of(), message_of())
    count(partitions[2], accepted=-2)

    wrong, told = reconcile(), json.loads(reconcile("--json").stdout)
    repaired, well = reconcile("--repair"), reconcile()

    assert wrong.exit_code == 1
    first = wrong.stdout.splitlines()[0]
    assert first.startswith("does not balance: partition 01: ")
    assert "+ 2 missing; partition 02: " in first
    assert first.endswith("- 2 surplus")
    assert (told["balances"], told["missing"]) == (False, 0)
    assert [one["missing"] for one in told["partitions"]] == [0, 2, -2]
    assert "repaired: wrote off missing messages in partition 01: 2" in repaired.stdout
    assert "repaired: counted surplus messages in partition 02 as accepted: 2" in repaired.stdout
    assert well.stdout.startswith("balanced: 9 accepted = ")
    assert "7 queued" in well.stdout
    assert (well.exit_code, "2 written off" in well.stdout) == (0, True)


def test_a_lost_partition_is_told_and_taken_as_it_is(partitions: Partitions, table: DeadLetterStore) -> None:
    """By its number, in `status` and in `reconcile`."""
    for client in partitions:
        enqueue_in(client, message_of(), message_of())
    record(partitions, table.engine)
    record(partitions, table.engine)
    lost = partitions[2]
    lost.delete(feedback_keys(lost).counts, broker_keys(lost).lists(QUEUE)[0])

    status, found = invoke("status").stdout, json.loads(reconcile("--json").stdout)["redis_data"]
    repaired, after = reconcile("--repair"), reconcile()

    assert "DATA LOST     Redis of partition 02 was emptied" in status
    assert (found["kind"], found["missing_at_least"], found["lost_partitions"]) == ("new", 2, [2])
    assert "took Redis as it is, with the totals of before carried on; written off: 2" in repaired.stdout
    assert (after.exit_code, "6 accepted" in after.stdout, "2 written off" in after.stdout) == (0, True, True)
    assert "DATA LOST" not in invoke("status").stdout


def test_the_status_says_which_partition_no_worker_consumes(partitions: Partitions) -> None:
    """Of three all are shown, and no node; nothing is said of partitions where there is one."""
    enqueue(partitions, *request_ids(9))
    for client in list(partitions)[:2]:
        take(client, "host:1:a.1:one@h")

    lines = invoke("status").stdout.splitlines()

    at = lines.index("partitions    3")
    assert [line.strip()[:3] for line in lines[at + 1 : at + 4]] == ["00:", "01:", "02:"]
    assert lines[at + 1].endswith("; 1 worker")
    assert lines[at + 3].endswith("; no living worker consumes it")
    assert not lines[at + 4].startswith(" ")


def test_the_doctor_knows_the_number_that_the_queue_was_made_with(
    partitions: Partitions, monkeypatch: pytest.MonkeyPatch, valkey: RedisServer
) -> None:
    """With another one an event would be looked for where it is not."""
    made = recorded_partitions(valkey.url, partitions=3)
    made.check()
    made.close()
    enqueue(partitions, *request_ids(9))

    def found() -> dict[str, str]:
        told = json.loads(invoke("doctor", "--json").stdout)["findings"]
        return {one["check"]: one["level"] for one in told}

    well = found()
    monkeypatch.setenv("FEEDBACK_PARTITIONS", "4")
    wrong = found()

    assert (well["partitions"], well["partitions' number"]) == ("green", "green")
    assert wrong["partitions' number"] == "red"


def test_a_hold_by_hand_stands_in_all_partitions(partitions: Partitions) -> None:
    """At once, and no longer than in the first one."""
    invoke("hold", "--comment", "maintenance", "--actor", "ann")

    assert [client.exists(feedback_keys(client).hold) for client in partitions] == [1, 1, 1]
    assert json.loads(invoke("status", "--json").stdout)["hold"]["actor"] == "ann"
    assert "resumed" in invoke("resume", "--actor", "ann").stdout
    assert json.loads(invoke("status", "--json").stdout)["hold"] is None
    assert [client.exists(feedback_keys(client).hold) for client in partitions] == [0, 0, 0]


def test_a_queue_leaves_its_partitions_with_a_move(
    partitions: Partitions, valkey: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old Redis says how many it has; empty, it may be made with another number."""
    made = recorded_partitions(valkey.url, partitions=3)
    made.check()
    made.close()
    enqueue(partitions, *request_ids(9))
    count(partitions[2], accepted=4, delivered=4)
    with redis_server(VALKEY, tmp_path) as server, places_of(server) as new:
        monkeypatch.setenv("FEEDBACK_BROKER_URL", server.url)
        monkeypatch.delenv("FEEDBACK_PARTITIONS")

        moved = invoke("move", "--from", valkey.url)

        assert (moved.exit_code, "messages moved: 9" in moved.stdout) == (0, True), moved.output
        assert (new.client.llen(QUEUE), new.counted("accepted"), new.counted("delivered")) == (9, 13, 4)
        assert partitions.home.keys("*") == []
        assert reconcile().exit_code == 0


def test_a_move_into_a_queue_of_another_number_is_refused(
    partitions: Partitions, valkey: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything has gone."""
    enqueue(partitions, *request_ids(3))
    with redis_server(VALKEY, tmp_path) as server:
        made = recorded_partitions(server.url, partitions=4)
        made.check()
        made.close()
        monkeypatch.setenv("FEEDBACK_BROKER_URL", server.url)

        refused = invoke("move", "--from", valkey.url)

    assert (refused.exit_code, "made with 4" in refused.output) == (1, True), refused.output
    assert sum(client.llen(broker_keys(client).lists(QUEUE)[0]) for client in partitions) == 3
