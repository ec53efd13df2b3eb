from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from worker.accounting.snapshot import LeaseHolder, Snapshot
from worker.operations.doctor.fleet import Fleet
from worker.operations.doctor.workers import look_at_workers
from worker.runtime.inspect_stats import ABOUT, DELIVERIES_AT_ONCE, inspect_stats
from worker.settings import load_settings

if TYPE_CHECKING:
    from worker.operations.doctor.finding import Finding

SETTINGS = load_settings(_env_file=None)


def _stats(**changes: Any) -> dict[str, Any]:
    return {"pid": 7, ABOUT: inspect_stats(SETTINGS), **changes}


BOTH = ["feedback", "feedback-replays"]


def _fleet(queues: dict[str, list[str]] | None = None, **stats: dict[str, Any]) -> Fleet:
    return Fleet(stats=stats, queues=_queues(queues or dict.fromkeys(stats, BOTH)))


def _queues(by_worker: dict[str, list[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(names) for name, names in by_worker.items()}


def _snapshot(*holders: LeaseHolder, queued: int = 0) -> Snapshot:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return Snapshot(at=at, counts={}, queued=queued, in_flight=0, scheduled=0, oldest=None, hold=None, holders=holders)


def _found(fleet: Fleet, *holders: LeaseHolder, queued: int = 0) -> dict[str, Finding]:
    """What is not green."""
    found = look_at_workers(fleet, _snapshot(*holders, queued=queued), SETTINGS)
    return {finding.check: finding for finding in found if finding.level != "green"}


def _wrong(fleet: Fleet, *holders: LeaseHolder) -> dict[str, tuple[str, str]]:
    return {check: (finding.level.value, finding.summary) for check, finding in _found(fleet, *holders).items()}


def _holder(name: str, *, holds: int = 3, left: int = 15) -> LeaseHolder:
    return LeaseHolder(name=name, holds=holds, lease_left=timedelta(seconds=left))


def test_workers_that_agree_are_well() -> None:
    """They answer, they consume, and what is in flight is in theirs."""
    assert _wrong(_fleet(a=_stats(), b=_stats(pid=8)), _holder("host:7:x"), _holder("host:8:x", holds=0)) == {}


def _with_keys(problem: str = "", **keys: int) -> dict[str, Any]:
    file = {"keys": keys, "default": True, "problem": problem}
    return {"pid": 7, ABOUT: {**inspect_stats(SETTINGS), "keys_file": file}}


def test_workers_with_other_keys_are_told() -> None:
    """One whose file is bad is red, with what is wrong; one without a file, or with another one, is yellow."""
    same = _with_keys(acme=2)

    assert "workers' keys" not in _wrong(_fleet(a=same, b=same))
    level, summary = _wrong(_fleet(a=same, b=_with_keys("keys.json is no file of keys", acme=2)))["workers' keys"]
    assert (level, summary) == ("red", "b goes on with the keys of before: keys.json is no file of keys")
    assert _wrong(_fleet(a=same, b=_stats()))["workers' keys"][0] == "yellow"
    assert _wrong(_fleet(a=same, b=_with_keys(globex=1)))["workers' keys"][0] == "yellow"


def test_no_answer_is_red() -> None:
    """Whatever else is said of it."""
    assert _wrong(_fleet())["workers"][0] == "red"


def test_a_fleet_that_is_dead_is_red_with_what_it_left_behind() -> None:
    """Its leases have ended, so it is none; what waits is told, and what to do."""
    dead = _found(_fleet(), _holder("host:7:x.1:w1@host", left=-30), queued=5)["workers"]

    assert (dead.level, dead.summary) == ("red", "none is alive, and 1 not heard of any more: w1@host; 5 events wait")
    assert dead.fix.startswith("start one (`celery -A worker worker`)")


def test_a_fleet_that_hangs_is_told_from_one_that_is_dead() -> None:
    """It has leases, which threads of their own renew, and answers nothing."""
    hangs = _found(_fleet(), _holder("host:7:x.1:w1@host"), _holder("host:7:x.2:w1@host"))["workers"]

    assert (hangs.level, hangs.summary) == ("red", "none answers, of 1 that have a lease: w1@host")


def test_advice_names_our_workers() -> None:
    """What is said to all workers of a Redis may reach those of another application."""
    idle = _found(_fleet({"a": BOTH, "b": ["other"]}, a=_stats(), b=_stats()))["workers"]

    assert idle.fix.startswith("`celery -A worker control add_consumer feedback -d b`")


def test_workers_that_bring_no_replay_forward_are_told() -> None:
    """With `-Q feedback` alone replays stay planned, while everything else is well."""
    found = _found(_fleet({"a": ["feedback"], "b": ["feedback"]}, a=_stats(), b=_stats()))

    assert {check: finding.level.value for check, finding in found.items()} == {"replays' worker": "yellow"}
    replays = found["replays' worker"]
    assert replays.summary == "no worker consumes feedback-replays: replays stay planned"
    assert replays.fix.startswith("`celery -A worker control add_consumer feedback-replays -d a`")


def test_a_worker_that_is_short_of_files_is_told() -> None:
    """It delivers less at once than it is set to; what to do is said with it."""
    short = _stats(**{ABOUT: inspect_stats(SETTINGS) | {DELIVERIES_AT_ONCE: 12}})

    found = _found(_fleet(a=short, b=_stats()))["workers' files"]

    assert found.level == "yellow"
    assert found.summary == "a may open too few files: it delivers 12 events at once, not FEEDBACK_CONCURRENCY"
    assert "ulimit -n" in found.fix


def test_workers_of_one_name_are_told() -> None:
    """What is said to one of them reaches both."""
    fleet = Fleet(stats={"a": _stats()}, queues=_queues({"a": BOTH}), same_name={"a": 2})

    level, words = _wrong(fleet)["workers' names"]

    assert (level, words.startswith("2 are called a: ")) == ("yellow", True)


@pytest.mark.parametrize("queue", BOTH)
def test_a_foreign_worker_that_takes_ours_is_red(queue: str) -> None:
    """It knows none of our tasks, so what it takes is gone; the advice stops that one alone."""
    others = _queues({"other@host": ["celery", queue]})
    fleet = Fleet(stats={"a": _stats()}, queues=_queues({"a": BOTH}), others=others)

    foreign = _found(fleet)["foreign worker"]

    assert foreign.level == "red"
    assert foreign.fix.startswith(f"`celery -A worker control cancel_consumer {queue} -d other@host`")


def test_a_foreign_worker_that_takes_its_own_is_no_business_of_ours() -> None:
    """The Redis is shared: it is neither counted nor advised upon."""
    others = _queues({"other@host": ["celery"], "strange@host": []})

    assert _wrong(Fleet(stats={"a": _stats()}, queues=_queues({"a": BOTH}), others=others)) == {}


@pytest.mark.parametrize(("queues", "level"), [({"a": ["other"]}, "yellow"), ({"a": [], "b": ["other"]}, "red")])
def test_a_worker_that_does_not_consume_is_named(queues: dict[str, list[str]], level: str) -> None:
    """One of several is a pity; all of them are an outage."""
    fleet = _fleet({"b": BOTH, **queues}, a=_stats(), b=_stats())

    found, words = _wrong(fleet)["workers"]

    assert (found, words.startswith("a")) == (level, True)


def test_another_release_is_named() -> None:
    """An upgrade stopped half-way; its other settings are of no interest then."""
    old = {"version": "0.0.9", "settings": {}}

    assert _wrong(_fleet(a=_stats(feedback=old)))["workers' settings"] == (
        "yellow",
        f"a is of release 0.0.9, and here is {inspect_stats(SETTINGS)['version']}",
    )


def test_a_worker_that_tells_nothing_is_named() -> None:
    """A plain Celery worker took our queue."""
    assert "a does not tell" in _wrong(_fleet(a={"pid": 7}))["workers' settings"][1]


def test_what_a_worker_tells_holds_no_secret() -> None:
    """It goes through the broker, and Flower shows it."""
    settings = load_settings(
        aquilax_api_key="s3cret", feedback_database_url="postgresql://u:s3cret@h/d?x=s3cret", _env_file=None
    )

    told = inspect_stats(settings)

    assert told["settings"]["FEEDBACK_DATABASE_URL"] == "postgresql://u:***@h/d"
    assert "s3cret" not in str(told)


@pytest.mark.parametrize(
    ("lease", "text"),
    [
        (_holder("host:9:x"), "does not answer: it hangs"),
        (_holder("host:7:x.1:b@host"), "does not answer: it hangs"),
        (_holder("host:7:x.1:a", left=-30), "was not heard of since 30 s"),
    ],
)
def test_who_holds_messages_and_hangs_is_named(lease: LeaseHolder, text: str) -> None:
    """Its lease is renewed by a thread of its own, or is not."""
    level, said = _wrong(_fleet(a=_stats()), lease)["messages in flight"]

    assert level == "yellow"
    assert said.startswith(f"{lease.name} (elsewhere) holds 3")
    assert text in said
