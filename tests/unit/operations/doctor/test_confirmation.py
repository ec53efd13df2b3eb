"""What must confirm an event, against what Redis has: each way in which the one can't do for the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.processes import VALKEY
from tests.support.replication import replicated_redis
from worker.operations.doctor.broker import ask_server
from worker.operations.doctor.confirmation import ask_configuration, look_at_confirmation
from worker.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.operations.doctor.finding import Finding


def _replicas(*lags: int, state: str = "online") -> dict[str, Any]:
    return {"redis_version": "7.4.1", "aof_enabled": 1, "connected_slaves": len(lags)} | {
        f"slave{number}": {"ip": "h", "port": 1, "state": state, "lag": lag} for number, lag in enumerate(lags)
    }


def _findings(info: dict[str, Any], configuration: dict[str, str], **asked: object) -> list[tuple[str, str, str]]:
    settings = load_settings(_env_file=None, **{f"feedback_enqueue_{name}": value for name, value in asked.items()})
    found: list[Finding] = list(look_at_confirmation(info, configuration, settings))
    return [(one.check, one.level, f"{one.summary} → {one.fix}") for one in found]


@pytest.mark.parametrize(
    ("info", "wanted", "least", "level", "words"),
    [
        (_replicas(), 1, None, "red", "FEEDBACK_ENQUEUE_REPLICAS is 1, and 0 are in step: no event is taken"),
        (_replicas(0), 2, None, "red", "lower FEEDBACK_ENQUEUE_REPLICAS"),
        (_replicas(11, 0), 2, None, "red", "and 1 are in step"),
        (_replicas(0, 0, state="wait_bgsave"), 2, None, "red", "and 0 are in step"),
        (_replicas(0), 1, None, "yellow", "if one is lost, no event is taken"),
        (_replicas(0, 0), 1, None, "green", "and 2 are in step"),
        (_replicas(0, 10), 1, "1", "green", "and 2 are in step"),
        (_replicas(0, 0), 1, "2", "green", "and 2 are in step"),
        (_replicas(0, 0, 0), 2, "1", "yellow", "CONFIG SET min-replicas-to-write 2"),
        (_replicas(0, 0), 1, "0", "yellow", "CONFIG SET min-replicas-to-write 1"),
        (_replicas(0, 0), 1, "3", "red", "min-replicas-to-write is 3, and 2 are in step: Redis refuses events"),
    ],
)
def test_replicas_that_must_confirm_are_there(
    info: dict[str, Any], wanted: int, least: str | None, level: str, words: str
) -> None:
    """In step, with one to spare, and Redis refuses events that they could not confirm."""
    configuration = {} if least is None else {"min-replicas-to-write": least}
    ((check, found, text),) = _findings(info, configuration, replicas=wanted)

    assert (check, found) == ("enqueue replicas", level)
    assert words in text


@pytest.mark.parametrize(
    ("changes", "policy", "level", "words"),
    [
        ({}, "always", "green", "it syncs each event to its disk"),
        ({}, None, "green", "it has WAITAOF, and an append-only file"),
        ({}, "everysec", "yellow", "CONFIG SET appendfsync always"),
        ({}, "no", "red", "appendfsync is no: no enqueue is confirmed"),
        ({"aof_enabled": 0}, "always", "red", "CONFIG SET appendonly yes"),
        ({"redis_version": "7.0.15"}, "always", "red", "upgrade it to Redis 7.2 or newer, or to Valkey"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "always", "green", "it syncs"),
    ],
)
def test_a_disk_that_must_confirm_can(changes: dict[str, Any], policy: str | None, level: str, words: str) -> None:
    """By what INFO tells, and CONFIG if the login may ask."""
    configuration = {} if policy is None else {"appendfsync": policy}
    ((check, found, text),) = _findings(_replicas() | changes, configuration, fsync=True)

    assert (check, found) == ("enqueue fsync", level)
    assert words in text


def test_nothing_is_said_where_nothing_is_asked_for() -> None:
    """Redis' own acknowledgement is enough."""
    assert _findings(_replicas(), {}) == []


def test_a_real_master_tells_what_is_needed(tmp_path: Path) -> None:
    """The names in INFO and CONFIG are the server's; and without the right to ask it is not guessed."""
    with replicated_redis(VALKEY, tmp_path, "--appendonly", "yes", replicas=2) as group, group.client() as client:
        info, configuration = ask_server(client).info, ask_configuration(client)
        client.execute_command("ACL", "SETUSER", "operator", "on", ">p", "~*", "+@all", "-config")
        with redis.Redis(port=group.master.port, username="operator", password="p") as operator:
            assert ask_configuration(operator) == {}

    assert configuration == {"min-replicas-to-write": "0", "appendfsync": "everysec"}
    settings = load_settings(feedback_enqueue_replicas=2, feedback_enqueue_fsync=True, _env_file=None)
    found = list(look_at_confirmation(info, {}, settings))
    assert [(one.check, one.level) for one in found] == [("enqueue replicas", "yellow"), ("enqueue fsync", "green")]
