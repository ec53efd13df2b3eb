from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from worker.about import ABOUT, about
from worker.accounts.snapshot import Holder
from worker.doctor.workers import Fleet, look_at_workers
from worker.settings import load_settings

SETTINGS = load_settings(_env_file=None)


def _stats(**changes: Any) -> dict[str, Any]:
    return {"pid": 7, ABOUT: about(SETTINGS), **changes}


def _fleet(queues: dict[str, list[str]] | None = None, **stats: dict[str, Any]) -> Fleet:
    consumed = queues or {name: ["feedback"] for name in stats}
    return Fleet(stats=stats, queues={name: frozenset(names) for name, names in consumed.items()})


def _wrong(fleet: Fleet, *holders: Holder) -> dict[str, tuple[str, str]]:
    found = look_at_workers(fleet, holders, SETTINGS)
    return {finding.check: (finding.level.value, finding.words) for finding in found if finding.level != "green"}


def _holder(name: str, *, holds: int = 3, left: int = 15) -> Holder:
    return Holder(name=name, holds=holds, lease_left=timedelta(seconds=left))


def test_workers_that_agree_are_well() -> None:
    """They answer, they consume, and what is in hand is in theirs."""
    assert _wrong(_fleet(a=_stats(), b=_stats(pid=8)), _holder("host:7:x"), _holder("host:8:x", holds=0)) == {}


def test_no_answer_is_red() -> None:
    """Whatever else is said of it."""
    assert _wrong(_fleet())["workers"][0] == "red"


@pytest.mark.parametrize(("queues", "level"), [({"a": ["other"]}, "yellow"), ({"a": [], "b": ["other"]}, "red")])
def test_a_worker_that_does_not_consume_is_named(queues: dict[str, list[str]], level: str) -> None:
    """One of several is a pity; all of them are an outage."""
    fleet = _fleet({"b": ["feedback"], **queues}, a=_stats(), b=_stats())

    found, words = _wrong(fleet)["workers"]

    assert (found, words.startswith("a")) == (level, True)


def test_another_release_is_named() -> None:
    """An upgrade stopped half-way; its other settings are of no interest then."""
    old = {"version": "0.0.9", "settings": {}}

    assert _wrong(_fleet(a=_stats(feedback=old)))["workers' settings"] == (
        "yellow",
        f"a is of release 0.0.9, and here is {about(SETTINGS)['version']}",
    )


def test_a_worker_that_tells_nothing_is_named() -> None:
    """A plain Celery worker took our queue."""
    assert "a does not tell" in _wrong(_fleet(a={"pid": 7}))["workers' settings"][1]


def test_what_a_worker_tells_holds_no_secret() -> None:
    """It goes through the broker, and Flower shows it."""
    settings = load_settings(
        aquilax_api_key="s3cret", feedback_database_url="postgresql://u:s3cret@h/d?x=s3cret", _env_file=None
    )

    told = about(settings)

    assert told["settings"]["FEEDBACK_DATABASE_URL"] == "postgresql://u:***@h/d"
    assert "s3cret" not in str(told)


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (_holder("host:9:x"), "does not answer: it hangs"),
        (_holder("host:7:x", left=-30), "was not heard of since 30 s"),
    ],
)
def test_who_holds_messages_and_hangs_is_named(holder: Holder, words: str) -> None:
    """Its lease is renewed by a thread of its own, or is not."""
    level, said = _wrong(_fleet(a=_stats()), holder)["messages in hand"]

    assert level == "yellow"
    assert said.startswith(f"{holder.name} (elsewhere) holds 3")
    assert words in said
