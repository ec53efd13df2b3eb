"""`aquilax-feedback doctor` on real parts: what is well is green, and of what is broken it names that, and the fix."""

from __future__ import annotations

import json
import signal
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import redis
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from tests.support.dead_letter_records import a_record, add, an_event
from tests.support.doctor import a_stack, doctor, findings_not_green, is_only_finding, use_settings_of
from worker.database.schema import VERSION_TABLE
from worker.dead_letters.replays.lifecycle import cancel, pause
from worker.dead_letters.replays.planning import create
from worker.dead_letters.selection import Selection
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import Hold
from worker.operations.cli import main
from worker.operations.doctor.examination import examine
from worker.policy.classification import Classification
from worker.sandbox.stack import LocalStack, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.sandbox.client import SandboxClient


@pytest.fixture(scope="module")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStack, SandboxClient]]:
    """Everything there is, at work."""
    with a_stack(tmp_path_factory.mktemp("doctor")) as stack, closing(stack.start_sandbox()) as sandbox:
        stack.start_worker()
        stack.environment["FEEDBACK_FLOWER_URL"] = stack.start_flower()
        yield stack, sandbox


@pytest.fixture
def system(
    running_system: tuple[LocalStack, SandboxClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> LocalStack:
    """The same, with its settings in the environment of this test."""
    use_settings_of(running_system[0], monkeypatch, tmp_path)
    return running_system[0]


@pytest.fixture
def sandbox(running_system: tuple[LocalStack, SandboxClient]) -> Iterator[SandboxClient]:
    """Its AquilaX, which behaves well again when the test has ended."""
    yield running_system[1]
    running_system[1].fix()


@pytest.fixture
def client(system: LocalStack) -> Iterator[redis.Redis]:
    """Its Redis, whose settings are what they were when the test has ended."""
    with redis.Redis.from_url(system.environment["FEEDBACK_BROKER_URL"]) as client:
        yield client
        client.delete("feedback:hold")
        for name, value in {"maxmemory": "0", "maxmemory-policy": "noeviction", "appendonly": "yes"}.items():
            client.config_set(name, value)


@pytest.mark.usefixtures("system")
def test_what_is_well_is_green() -> None:
    """All of it, in the strictest sense; a look at each part is among it."""
    record = doctor("--strict", "--probe-key", status=0)

    assert (record["level"], {finding["level"] for finding in record["findings"]}) == ("green", {"green"})
    parts = {finding["check"].split()[0] for finding in record["findings"]}
    assert parts >= {"settings", "key", "broker", "hold", "backlog", "workers", "database", "aquilax", "flower", "disk"}


@pytest.mark.usefixtures("system")
def test_it_says_in_words_what_its_colours_mean(client: redis.Redis) -> None:
    """A terminal may have no colours, and a pipe has none."""
    client.config_set("appendonly", "no")

    ended = CliRunner().invoke(main, ["doctor"])
    coloured = CliRunner().invoke(main, ["doctor"], color=True)

    lines = ended.stdout.splitlines()
    assert ended.exit_code == 0, ended.output
    assert "yellow  broker persistence   it has no append-only file: what it holds is gone if it dies" in lines
    assert "→ CONFIG SET appendonly yes, and `appendonly yes` in redis.conf" in [line.strip() for line in lines]
    assert lines[-1].startswith("0 red, 1 yellow, ")
    assert "\x1b[33m" not in ended.stdout
    assert "\x1b[33m" in coloured.stdout


def test_an_eviction_policy_is_red(client: redis.Redis) -> None:
    """Redis would throw feedback away."""
    client.config_set("maxmemory-policy", "allkeys-lru")

    is_only_finding(findings_not_green(), "broker eviction", "red", "CONFIG SET maxmemory-policy noeviction")


def test_a_redis_that_forgets_is_yellow(client: redis.Redis) -> None:
    """It works, until it dies: that is an error only for who asks strictly."""
    client.config_set("appendonly", "no")

    is_only_finding(findings_not_green(status=0), "broker persistence", "yellow", "CONFIG SET appendonly yes")
    is_only_finding(findings_not_green("--strict"), "broker persistence", "yellow", "CONFIG SET appendonly yes")


@pytest.mark.parametrize(("share", "level"), [(0.8, "yellow"), (0.95, "red")])
def test_a_redis_that_is_nearly_full_is_told_before_it_is(client: redis.Redis, share: float, level: str) -> None:
    """Afterwards backends get BrokerUnavailable."""
    client.config_set("maxmemory", str(int(client.info()["used_memory"] / share)))

    is_only_finding(findings_not_green(status=int(level == "red")), "broker memory", level, "aquilax-feedback status")


@pytest.mark.usefixtures("system")
def test_a_redis_that_is_away_is_all_that_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the queue and of the workers nothing can be said, and nothing is."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")

    is_only_finding(findings_not_green(), "broker", "red", "start Redis, or correct FEEDBACK_BROKER_URL")


def test_a_redis_that_hangs_is_told_in_time(system: LocalStack) -> None:
    """It takes the connection, and never answers."""
    (valkey,) = (part for part in system.parts if part.name == "valkey")
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        wrong = findings_not_green()
    finally:
        valkey.process.send_signal(signal.SIGCONT)

    is_only_finding(wrong, "broker", "red", "start Redis")


def test_a_wrong_password_of_redis_is_red_and_not_shown(
    client: redis.Redis, system: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the right one nor the wrong one."""
    url = system.environment["FEEDBACK_BROKER_URL"]
    client.config_set("requirepass", "the-right-one")
    monkeypatch.setenv("FEEDBACK_BROKER_URL", url.replace("redis://", "redis://:the-wrong-one@"))
    try:
        record = doctor(status=1)
    finally:
        client.auth("the-right-one")
        client.config_set("requirepass", "")

    red = [finding for finding in record["findings"] if finding["level"] != "green"]
    assert [(finding["check"], finding["fix"]) for finding in red] == [
        ("broker", "correct the password in FEEDBACK_BROKER_URL")
    ]
    assert "-one" not in json.dumps(record)


def test_books_that_do_not_balance_are_red(client: redis.Redis) -> None:
    """Five were accepted that are nowhere; what was written off is told until a reconciliation has named it."""
    client.hincrby("feedback:counts", "accepted", 5)
    missing = findings_not_green()
    client.hincrby("feedback:counts", "written_off", 5)
    written_off = findings_not_green(status=0)
    CliRunner().invoke(main, ["reconcile"])
    told = findings_not_green(status=0)

    is_only_finding(missing, "books", "red", "`aquilax-feedback reconcile` says what exactly")
    is_only_finding(written_off, "written off", "yellow", "`aquilax-feedback reconcile` tells of them")
    assert told == {}


def test_replays_that_do_not_go_on_are_told(system: LocalStack) -> None:
    """A paused one, until it is resumed or cancelled."""
    with closing(DeadLetterStore.connect(system.environment["FEEDBACK_DATABASE_URL"])) as store:
        add(store, a_record(an_event(org="paused")))
        plan = create(store.engine, Selection(orgs=("paused",)), actor="alice")
        pause(store.engine, plan.id, actor="alice")
        paused = findings_not_green(status=0)
        cancel(store.engine, plan.id, actor="alice")

        is_only_finding(paused, "replays", "yellow", f"`aquilax-feedback replays resume {plan.id}`")
        assert findings_not_green(status=0) == {}


def test_a_hold_is_told_with_its_reason(client: redis.Redis) -> None:
    """A refused key needs an operator now; a hold by hand is known to an operator already."""
    hold = Hold(client, actor="worker-1")
    hold.heard(Classification.UNAUTHORIZED, "401 Invalid authentication", at=datetime.now(UTC))
    is_only_finding(findings_not_green(), "hold", "red", "set AQUILAX_API_KEY to a valid key")

    hold.resume()
    hold.hold("AquilaX migrates", actor="alice")
    wrong = doctor(status=0)["findings"]

    (told,) = (finding for finding in wrong if finding["level"] != "green")
    assert (told["check"], told["level"], told["fix"]) == ("hold", "yellow", "`aquilax-feedback resume` ends it")
    assert told["summary"].endswith("AquilaX migrates (said by alice)")


@pytest.mark.usefixtures("system")
def test_a_key_that_aquilax_refuses_is_red_when_it_is_asked(sandbox: SandboxClient) -> None:
    """It is asked only on demand, and it is given no feedback."""
    before = sandbox.received().delivered
    sandbox.behave(revoked_key=True)

    assert findings_not_green(status=0) == {}
    is_only_finding(findings_not_green("--probe-key"), "aquilax key", "red", "set AQUILAX_API_KEY to a valid key")
    assert sandbox.received().delivered == before


@pytest.mark.usefixtures("system")
def test_an_answer_that_says_nothing_of_the_key_is_yellow(sandbox: SandboxClient) -> None:
    """AquilaX is in trouble just then."""
    sandbox.behave(outage={"with": "503"})

    is_only_finding(findings_not_green("--probe-key", status=0), "aquilax key", "yellow", "try again later")


@pytest.mark.usefixtures("system")
def test_a_key_that_is_missing_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker starts without one; and there is nothing to ask AquilaX with."""
    monkeypatch.delenv("AQUILAX_API_KEY")

    is_only_finding(findings_not_green("--probe-key"), "key", "red", "set it to a Personal Access Token")


@pytest.mark.usefixtures("system")
def test_a_wrong_setting_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """And everything else is looked at all the same."""
    monkeypatch.setenv("FEEDBACK_RETRY_CAP", "soon")

    is_only_finding(findings_not_green(), "settings", "red", "FEEDBACK_RETRY_CAP: expected a number of seconds")


@pytest.mark.usefixtures("system")
def test_every_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that can't be read is not looked at: the default is another place."""
    monkeypatch.setenv("FEEDBACK_RETRY_CAP", "soon")
    monkeypatch.setenv("FEEDBACK_BROKER_URL", "amqp://guest:hunter2-pass@host")
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", ":hunter2-pass@db/x")

    record = doctor(status=1)

    red = [finding for finding in record["findings"] if finding["level"] == "red"]
    assert {finding["fix"].partition(":")[0] for finding in red} == {
        "FEEDBACK_RETRY_CAP",
        "FEEDBACK_BROKER_URL",
        "FEEDBACK_DATABASE_URL",
    }
    assert not {"broker", "database", "workers"} & {finding["check"] for finding in record["findings"]}
    assert "hunter2" not in json.dumps(record)


@pytest.mark.usefixtures("system")
def test_a_dot_env_that_is_not_heeded_is_yellow(tmp_path: Path) -> None:
    """A change there has no effect; its value may be a secret, and is not shown."""
    (tmp_path / ".env").write_text("AQUILAX_API_KEY=another-s3cret\nFEEDBACK_IMAGE_TAG=2\nFEEDBACK_CONCURENCY=9\n")

    found = [finding for finding in doctor(status=0)["findings"] if finding["level"] != "green"]

    assert [finding["fix"] for finding in found] == [
        "unset AQUILAX_API_KEY in the environment, or take it out of .env",
        "rename or unset it: it is FEEDBACK_CONCURRENCY that is meant, perhaps",
    ]
    assert "s3cret" not in json.dumps(found)


def test_a_table_that_is_missing_is_red(system: LocalStack) -> None:
    """The file was moved."""
    file = system.folder / "dead-letters.sqlite3"
    away = file.rename(system.folder / "away.sqlite3")
    try:
        wrong = findings_not_green()
    finally:
        away.rename(file)

    is_only_finding(wrong, "database schema", "red", "aquilax-feedback db upgrade")


def test_a_table_of_a_newer_release_is_red(system: LocalStack) -> None:
    """The package was taken back to an older release, and the table was not."""
    with _version(system, "9999"):
        is_only_finding(findings_not_green(), "database schema", "red", "install the release")


@contextmanager
def _version(stack: LocalStack, version: str) -> Iterator[None]:
    engine = create_engine(stack.environment["FEEDBACK_DATABASE_URL"])

    def say(number: str) -> str:
        with engine.begin() as connection:
            before = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - our own name
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = :to"), {"to": number})  # noqa: S608 - as above
        return str(before)

    before = say(version)
    try:
        yield
    finally:
        say(before)
        engine.dispose()


@pytest.mark.usefixtures("system")
def test_a_flower_that_is_away_is_yellow() -> None:
    """Feedback is delivered without it."""
    wrong = findings_not_green("--flower", f"http://127.0.0.1:{free_port()}", status=0)

    is_only_finding(wrong, "flower", "yellow", "correct FEEDBACK_FLOWER_URL")


@pytest.mark.usefixtures("system")
def test_an_address_of_flower_with_a_login_is_refused() -> None:
    """It would stand in the shell's history."""
    ended = CliRunner().invoke(main, ["doctor", "--flower", "http://u:hunter2@127.0.0.1:5555"])

    assert (ended.exit_code, "without login" in ended.stderr) == (2, True)
    assert "hunter2" not in ended.output


@pytest.mark.usefixtures("system")
def test_a_worker_of_other_settings_is_yellow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is begun by one and ended by another, or the doctor was called in the wrong place."""
    monkeypatch.setenv("FEEDBACK_MAX_ATTEMPTS", "7")

    found = [finding for finding in doctor(status=0)["findings"] if finding["level"] != "green"]

    assert [finding["check"] for finding in found] == ["workers' settings"]
    assert "FEEDBACK_MAX_ATTEMPTS of worker1@" in found[0]["summary"]
    assert found[0]["summary"].endswith(" is 200, and here it is 7")


def test_what_hangs_does_not_keep_the_rest_back(system: LocalStack) -> None:
    """All that was seen in time is told, and what was not."""
    (valkey,) = (part for part in system.parts if part.name == "valkey")
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        found = examine(patience=1.0).findings
    finally:
        valkey.process.send_signal(signal.SIGCONT)

    told = {finding.check: finding for finding in found}
    assert told["broker"].summary == "it gave no answer in time"
    assert told["settings"].level == "green"
