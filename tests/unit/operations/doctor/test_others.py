"""The looks at AquilaX, Flower and the disk that no real part can be brought to show in a test."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from worker.gateway.key_file import add_key, revoke_key
from worker.operations.doctor.aquilax import _judge_key, look_at_aquilax
from worker.operations.doctor.configuration import _gateway_keys
from worker.operations.doctor.disk import look_at_disk
from worker.operations.doctor.flower import _login
from worker.policy.classification import Response
from worker.sandbox.stack import free_port
from worker.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("status", "level"),
    [(400, "green"), (404, "green"), (403, "green"), (401, "red"), (302, "red"), (503, "yellow"), (None, "yellow")],
)
def test_an_answer_tells_whether_the_key_is_taken(status: int | None, level: str) -> None:
    """Who asks comes before what is asked."""
    assert _judge_key("default", Response(status=status, text="words")).level == level


def test_a_success_for_what_can_not_be_tells_nothing() -> None:
    """A login page that some proxy put in between, say."""
    assert _judge_key("default", Response(status=200)).level == "yellow"


@pytest.mark.parametrize(
    ("url", "status", "level"),
    [
        ("http://10.0.0.5:5555", 200, "red"),
        ("http://10.0.0.5:5555", 401, "green"),
        ("http://10.0.0.5:5555", 302, "green"),
        ("http://127.0.0.1:5555", 200, "green"),
    ],
)
def test_a_flower_that_asks_nobody_who_he_is_belongs_on_loopback(url: str, status: int, level: str) -> None:
    """There one can revoke tasks and stop workers."""
    assert _login(url, status).level == level


@pytest.mark.parametrize(("free", "level"), [(2**31, "green"), (2**29, "yellow"), (2**25, "red")])
def test_a_disk_that_is_nearly_full_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, level: str
) -> None:
    """Where the dead letters are in a file."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    settings = load_settings(feedback_database_url=f"sqlite:///{tmp_path}/x.sqlite3", _env_file=None)

    assert {finding.check: finding.level for finding in look_at_disk(settings)}["disk"] == level


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """No table can be made in it; and a heartbeat can't be touched there."""
    gone = tmp_path / "gone"
    settings = load_settings(
        feedback_database_url=f"sqlite:///{gone}/x.sqlite3",
        feedback_heartbeat_file=str(gone / "heartbeat"),
        _env_file=None,
    )

    assert {finding.check: finding.level.value for finding in look_at_disk(settings)} == {
        "disk": "red",
        "heartbeat": "yellow",
    }


def test_a_proxy_that_is_away_is_told_without_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands before AquilaX, and its password is not shown."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@127.0.0.1:{free_port()}")

    (finding,) = look_at_aquilax("https://aquilax.example")

    assert (finding.check, finding.level) == ("aquilax", "red")
    assert "through the proxy 127.0.0.1:" in finding.summary
    assert "s3cret" not in finding.summary + finding.fix


def test_a_gateways_file_of_keys_is_looked_at_where_there_is_one(tmp_path: Path) -> None:
    """A file that breaks while the gateway runs is an error in its log alone."""
    path = tmp_path / "keys.json"
    settings = load_settings(feedback_gateway_keys_file=path, _env_file=None)

    def found() -> list[tuple[str, str]]:
        return [(one.level.value, one.summary) for one in _gateway_keys(settings)]

    missing = found()
    add_key(path, "chat")
    good = found()
    path.chmod(0o666)
    ((open_level, _),) = found()
    path.chmod(0o600)
    revoke_key(path, "chat")

    assert missing[0][0] == open_level == "red"
    assert good == [("green", "1 clients have a key")]
    assert found() == [("yellow", "no client has a key")]
    assert list(_gateway_keys(load_settings(_env_file=None))) == []
