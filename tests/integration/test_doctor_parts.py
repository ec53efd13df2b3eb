"""`aquilax-feedback doctor` where a part is missing, unavailable or not to be trusted."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.support.certificates import self_signed
from tests.support.doctor import a_stack, doctor, findings_not_green, is_only_finding, use_settings_of
from worker.operations.cli import main
from worker.sandbox.stack import LocalStack, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A stack with nothing but its Redis and its database, for a test that starts its worker itself."""
    with a_stack(tmp_path / "small") as stack:
        use_settings_of(stack, monkeypatch, tmp_path)
        yield stack


@contextmanager
def _a_worker(stack: LocalStack, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[None]:
    """Run a worker with these settings, and look with the same ones."""
    for name, value in environment.items():
        stack.environment[name] = value
        monkeypatch.setenv(name, value)
    worker = stack.start_worker()
    yield
    stack.stop(worker)


def test_a_database_that_takes_no_rows_is_red(small: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be read, its table is right, and the next event that dies would wait."""
    url = f"sqlite:///file:{small.folder}/dead-letters.sqlite3?mode=ro&uri=true"
    with _a_worker(
        small, monkeypatch, AQUILAX_BASE_URL=f"http://127.0.0.1:{_listening(small)}", FEEDBACK_DATABASE_URL=url
    ):
        is_only_finding(findings_not_green(), "database write", "red", "let its user insert into dead_letters")


def test_a_database_that_is_away_is_red(small: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its password is not shown."""
    url = f"postgresql://feedback:hunter2@127.0.0.1:{free_port()}/feedback"
    with _a_worker(
        small, monkeypatch, AQUILAX_BASE_URL=f"http://127.0.0.1:{_listening(small)}", FEEDBACK_DATABASE_URL=url
    ):
        record = doctor(status=1)

    red = [finding["check"] for finding in record["findings"] if finding["level"] != "green"]
    assert red == ["database"]
    assert "hunter2" not in json.dumps(record)


def _listening(stack: LocalStack) -> int:
    """A port that takes connections: the stack's own Redis does for a look that sends nothing."""
    return int(stack.environment["FEEDBACK_BROKER_URL"].rpartition(":")[2].partition("/")[0])


def test_no_worker_is_red(small: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feedback waits."""
    monkeypatch.setenv("AQUILAX_BASE_URL", f"http://127.0.0.1:{_listening(small)}")

    is_only_finding(findings_not_green(), "workers", "red", "celery -A worker worker")


@pytest.mark.parametrize(
    ("url", "check", "fix"),
    [
        ("http://127.0.0.1:{port}", "aquilax", "wait until AquilaX is up again"),
        ("https://aquilax.invalid", "aquilax name", "correct AQUILAX_BASE_URL"),
    ],
)
def test_an_aquilax_that_is_away_is_red(
    small: LocalStack, monkeypatch: pytest.MonkeyPatch, url: str, check: str, fix: str
) -> None:
    """By its name, or by its address."""
    with _a_worker(small, monkeypatch, AQUILAX_BASE_URL=url.format(port=free_port())):
        is_only_finding(findings_not_green(), check, "red", fix)


def test_the_certificate_is_looked_at(small: LocalStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stranger's is red, one that ends soon is yellow, and one that is trusted and lasts is green."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    for folder, days in (("soon", 3), ("later", 300)):
        (tmp_path / folder).mkdir()
        certificate, key = self_signed(tmp_path / folder, valid_for=timedelta(days=days))
        with closing(
            small.start_sandbox(["--tls-cert", str(certificate), "--tls-key", str(key)], certificate=certificate)
        ):
            with _a_worker(small, monkeypatch, AQUILAX_BASE_URL=small.environment["AQUILAX_BASE_URL"]):
                stranger = findings_not_green()
                with monkeypatch.context() as trusting:
                    trusting.setenv("REQUESTS_CA_BUNDLE", str(certificate))
                    known = findings_not_green(status=0)
            small.stop(small.parts[-1])
        is_only_finding(stranger, "aquilax certificate", "red", "REQUESTS_CA_BUNDLE")
        if folder == "soon":
            is_only_finding(known, "aquilax certificate", "yellow", "ask AquilaX to renew it")
        else:
            assert known == {}


@pytest.mark.parametrize("option", ["--json", "--probe-key"])
def test_no_secret_is_shown_whatever_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str) -> None:
    """Its output is pasted into tickets."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    for name, value in {
        "AQUILAX_API_KEY": "s3cret-key",
        "AQUILAX_BASE_URL": f"http://127.0.0.1:{port}",
        "FEEDBACK_BROKER_URL": f"redis://user:s3cret%2Fbroker@127.0.0.1:{port}/0",
        "FEEDBACK_DATABASE_URL": f"postgresql://user:s3cret-database@127.0.0.1:{port}/x?sslpassword=s3cret-again",
        "FEEDBACK_FLOWER_URL": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(name, value)

    ended = CliRunner().invoke(main, ["doctor", option])

    assert ended.exit_code == 1
    assert "FEEDBACK_BROKER_URL is redis://user:***@127.0.0.1" in ended.output
    assert "s3cret" not in ended.output
