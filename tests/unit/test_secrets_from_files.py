"""Settings as secrets and Kubernetes give them: with a line end, in a file, and beside links to services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from producer import FeedbackProducer
from worker.operations.dashboard.flower_hook import read_login
from worker.policy.environment import drop_flowers_port
from worker.settings import SECRETS, Settings, SettingsError, load_settings
from worker.unknown_settings import unknown_settings

if TYPE_CHECKING:
    from pathlib import Path

GIVEN = {
    "AQUILAX_API_KEY": "t0p-s3cret",
    "AQUILAX_BASE_URL": "https://aquilax.example",
    "FEEDBACK_BROKER_URL": "redis://:t0p-s3cret@broker",
    "FEEDBACK_DATABASE_URL": "postgresql://u:t0p-s3cret@host/name",
    "FEEDBACK_OUTBOX_URL": "postgresql://u:t0p-s3cret@host/chat",
    "FEEDBACK_NOTIFY_URLS": "slack://t0p-s3cret/b/c",
    "FEEDBACK_NOTIFY_SECRET": "whsec_dDBwLXMzY3JldC10MHAtczNjcmV0LXQwcC1zM2NyZXQ=",
    "FEEDBACK_CONCURRENCY": "7",
    "FEEDBACK_LEASE": "30",
    "FEEDBACK_LOG_FORMAT": "json",
    "FEEDBACK_METRICS_HOST": "0.0.0.0",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


def _load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_end_belongs_to_no_value(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """A secret made of a file ends with one."""
    plain = _load(monkeypatch, **GIVEN)

    assert _load(monkeypatch, **{name: value + end for name, value in GIVEN.items()}) == plain
    assert repr(FeedbackProducer.from_env({"FEEDBACK_BROKER_URL": f"redis://broker/0{end}"})).startswith(
        "FeedbackProducer('redis://broker/0'"
    )


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """As Docker and Kubernetes mount them; with or without a line end."""
    plain = _load(monkeypatch, **GIVEN)
    monkeypatch.delenv(name)
    file = tmp_path / "secret"
    file.write_text(GIVEN[name] + "\n")

    assert _load(monkeypatch, **{f"{name}_FILE": str(file)}) == plain


@pytest.mark.parametrize("name", SECRETS)
def test_a_file_that_cannot_be_read_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """And what stands in it is never shown."""
    (tmp_path / "empty").touch()
    (tmp_path / "odd").write_bytes(b"t0p-s3cret\xff")
    for file, why in (("missing", "No such file"), ("empty", "is empty"), ("odd", "no text in UTF-8"), (".", "direct")):
        with pytest.raises(SettingsError, match=f"^{name}: {name}_FILE names a file .*{why}") as refused:
            _load(monkeypatch, **{f"{name}_FILE": str(tmp_path / file)})
        assert "s3cret" not in str(refused.value)


def test_a_secret_in_two_places_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which of them is old, only the operator knows."""
    both = r"FEEDBACK_BROKER_URL and FEEDBACK_BROKER_URL_FILE are both set"
    environ = {"FEEDBACK_BROKER_URL": "redis://broker", "FEEDBACK_BROKER_URL_FILE": str(tmp_path / "url")}

    with pytest.raises(SettingsError, match=both):
        _load(monkeypatch, **environ)
    with pytest.raises(ValueError, match=both):
        FeedbackProducer.from_env(environ)


def test_a_producer_reads_the_file_too(tmp_path: Path) -> None:
    """One secret is mounted for both."""
    (tmp_path / "url").write_text("redis://:t0p-s3cret@broker/1\n")

    made = FeedbackProducer.from_env({"FEEDBACK_BROKER_URL_FILE": str(tmp_path / "url")})

    assert repr(made).startswith("FeedbackProducer('redis://:***@broker/1'")


def test_links_to_services_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets them for services that are called feedback, feedback-metrics and flower."""
    links = {
        "FEEDBACK_METRICS_PORT": "tcp://10.0.0.1:9540",
        "FEEDBACK_PORT": "tcp://10.0.0.1:80",
        "FEEDBACK_PORT_80_TCP": "tcp://10.0.0.1:80",
        "FEEDBACK_SERVICE_HOST": "10.0.0.1",
        "FEEDBACK_SERVICE_PORT": "80",
    }
    of_flower = {"FLOWER_PORT": "tcp://10.0.0.1:5555", "FLOWER_BASIC_AUTH": "u:p"}

    assert _load(monkeypatch, **links).feedback_metrics_port is None
    assert list(unknown_settings(links | {f"{name}_FILE": "/x" for name in SECRETS})) == []
    drop_flowers_port(of_flower)
    assert of_flower == {"FLOWER_BASIC_AUTH": "u:p"}
    drop_flowers_port(kept := {"FLOWER_PORT": "5556"})
    assert kept == {"FLOWER_PORT": "5556"}


def test_flowers_login_may_stand_in_a_file(tmp_path: Path) -> None:
    """Flower itself knows no such option, and fails on a variable of its name that is none."""
    (tmp_path / "login").write_text("operator:t0p-s3cret,second:p\n")
    environ = {"FLOWER_BASIC_AUTH_FILE": str(tmp_path / "login"), "FLOWER_PORT": "5556"}

    read_login(environ)
    read_login(environ)

    assert environ == {"FLOWER_BASIC_AUTH": "operator:t0p-s3cret,second:p", "FLOWER_PORT": "5556"}


def test_a_login_of_flower_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    """Without a login it would let nobody see the dead letters, and everybody its own pages."""
    for environ, why in (
        ({"FLOWER_BASIC_AUTH_FILE": str(tmp_path / "none")}, "names a file that can't be read"),
        ({"FLOWER_BASIC_AUTH_FILE": str(tmp_path / "none"), "FLOWER_BASIC_AUTH": "u:p"}, "are both set"),
    ):
        with pytest.raises(click.UsageError, match=f"^FLOWER_BASIC_AUTH.* {why}"):
            read_login(environ)
