"""Settings: read once from the environment, validated whole, silent about secrets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from worker.policy.quiet_hours import QuietHours
from worker.policy.retry import RetryPolicy
from worker.settings import Settings, SettingsError, load_settings

DEFAULTS: dict[str, Any] = {
    "AQUILAX_API_KEY": None,
    "AQUILAX_KEYS_FILE": None,
    "AQUILAX_BASE_URL": "https://aquilax.ai",
    "FEEDBACK_SENTINEL_MASTER": None,
    "FEEDBACK_PARTITIONS": None,
    "FEEDBACK_BROKER_URL": SecretStr("redis://127.0.0.1:6379/0"),
    "FEEDBACK_SPOOL_DIR": None,
    "FEEDBACK_SPOOL_MAX_BYTES": 1024**3,
    "FEEDBACK_SPOOL_MAX_AGE": timedelta(days=7),
    "FEEDBACK_ENQUEUE_REPLICAS": 0,
    "FEEDBACK_ENQUEUE_FSYNC": False,
    "FEEDBACK_DATABASE_URL": SecretStr("sqlite:///aquilax-feedback.sqlite3"),
    "FEEDBACK_OUTBOX_URL": None,
    "FEEDBACK_RELAY_INTERVAL": timedelta(seconds=0.25),
    "FEEDBACK_MAX_ATTEMPTS": 200,
    "FEEDBACK_RETRY_BASE": timedelta(seconds=2),
    "FEEDBACK_RETRY_CAP": timedelta(hours=1),
    "FEEDBACK_RETRY_HORIZON": timedelta(days=3),
    "FEEDBACK_REQUEST_TIMEOUT": timedelta(seconds=10),
    "FEEDBACK_CONCURRENCY": 50,
    "FEEDBACK_ORG_CONCURRENCY": None,
    "FEEDBACK_IDEMPOTENCY_TTL": timedelta(days=7),
    "FEEDBACK_LEASE": timedelta(seconds=20),
    "FEEDBACK_SHUTDOWN_TIMEOUT": timedelta(seconds=20),
    "FEEDBACK_HEARTBEAT_FILE": None,
    "FEEDBACK_HEALTH_PORT": None,
    "FEEDBACK_HEALTH_HOST": "127.0.0.1",
    "FEEDBACK_TASK_EVENTS": True,
    "FEEDBACK_LOG_FORMAT": "console",
    "FEEDBACK_LOG_SAMPLE": 1.0,
    "FEEDBACK_METRICS_PORT": None,
    "FEEDBACK_METRICS_HOST": "127.0.0.1",
    "FEEDBACK_RETENTION": timedelta(days=90),
    "FEEDBACK_GATEWAY_HOST": "127.0.0.1",
    "FEEDBACK_GATEWAY_PORT": 8080,
    "FEEDBACK_GATEWAY_KEYS_FILE": None,
    "FEEDBACK_GATEWAY_TLS_CERT": None,
    "FEEDBACK_GATEWAY_TLS_KEY": None,
    "FEEDBACK_GATEWAY_TRUSTED_PROXIES": None,
    "FEEDBACK_GATEWAY_ALLOWED_ORIGINS": None,
    "FEEDBACK_GATEWAY_MAX_BODY": 1048576,
    "FEEDBACK_GATEWAY_MAX_LINE": 16384,
    "FEEDBACK_GATEWAY_MAX_HEADERS": 16384,
    "FEEDBACK_GATEWAY_READ_TIMEOUT": timedelta(seconds=10),
    "FEEDBACK_GATEWAY_ENQUEUE_TIMEOUT": timedelta(seconds=1),
    "FEEDBACK_GATEWAY_CONCURRENCY": 1000,
    "FEEDBACK_GATEWAY_RATE": None,
    "FEEDBACK_GATEWAY_IDEMPOTENCY_TTL": timedelta(seconds=86400),
    "FEEDBACK_FLOWER_URL": None,
    "FEEDBACK_DASHBOARD_PROXY_ADDRESSES": None,
    "FEEDBACK_DASHBOARD_PROXY_HEADER": None,
    "FEEDBACK_DASHBOARD_PROXY_GROUPS_HEADER": None,
    "FEEDBACK_DASHBOARD_ACT": None,
    "FEEDBACK_NOTIFY_SECRET": None,
    "FEEDBACK_NOTIFY_URLS": None,
    "FEEDBACK_NOTIFY_QUIET": None,
    "FEEDBACK_NOTIFY_WINDOW": timedelta(seconds=30),
    "FEEDBACK_NOTIFY_BACKLOG_AGE": timedelta(minutes=15),
}
DURATIONS = [name for name, default in DEFAULTS.items() if isinstance(default, timedelta)]
SECRET = "t0p-s3cret"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting is set, and no .env is near."""
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """Load the settings from an environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def complaint(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return what is wrong with an environment."""
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **environment)
    return str(refused.value)


def test_the_names_and_the_defaults_are_these() -> None:
    """People and other programs rely on them."""
    found = {name.upper(): field.default for name, field in Settings.model_fields.items()}

    assert found == DEFAULTS
    assert PydanticUndefined not in found.values()


def test_every_setting_says_what_it_is_for() -> None:
    """The reference table is made of it."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_defaults_are_valid() -> None:
    """A worker needs a key, and nothing else."""
    assert load_settings().feedback_concurrency == 50


def test_each_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, at once."""
    settings = load(
        monkeypatch,
        AQUILAX_API_KEY="key",
        AQUILAX_BASE_URL="https://eu.aquilax.ai/",
        FEEDBACK_BROKER_URL="rediss://:pw@redis:6380/1",
        FEEDBACK_DATABASE_URL="postgresql+psycopg://u:p@db/feedback",
        FEEDBACK_OUTBOX_URL="mysql://u:p@db/chat",
        FEEDBACK_RELAY_INTERVAL="0.1",
        FEEDBACK_MAX_ATTEMPTS="3",
        FEEDBACK_RETRY_BASE="0.5",
        FEEDBACK_RETRY_CAP="60",
        FEEDBACK_RETRY_HORIZON="3600",
        FEEDBACK_REQUEST_TIMEOUT="2.25",
        FEEDBACK_CONCURRENCY="7",
        FEEDBACK_IDEMPOTENCY_TTL="86400",
        FEEDBACK_LEASE="5",
        FEEDBACK_SHUTDOWN_TIMEOUT="60",
        FEEDBACK_HEARTBEAT_FILE="/run/feedback/heartbeat",
        FEEDBACK_HEALTH_PORT="9541",
        FEEDBACK_HEALTH_HOST="0.0.0.0",
        FEEDBACK_LOG_FORMAT="json",
        FEEDBACK_LOG_SAMPLE="0.01",
        FEEDBACK_METRICS_PORT="9540",
        FEEDBACK_METRICS_HOST="0.0.0.0",
        FEEDBACK_RETENTION="2592000",
        FEEDBACK_FLOWER_URL="http://flower:5555/",
        FEEDBACK_NOTIFY_SECRET="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        FEEDBACK_NOTIFY_URLS="slack://a/b/c\nwebhook+https://h/x",
        FEEDBACK_NOTIFY_QUIET="22:00-07:00 Europe/Berlin",
        FEEDBACK_NOTIFY_WINDOW="60",
        FEEDBACK_NOTIFY_BACKLOG_AGE="300",
    )

    assert settings.require_api_key().get_secret_value() == "key"
    assert settings.aquilax_base_url == "https://eu.aquilax.ai"
    assert settings.feedback_broker_url.get_secret_value() == "rediss://:pw@redis:6380/1"
    assert settings.feedback_database_url.get_secret_value() == "postgresql+psycopg://u:p@db/feedback"
    assert settings.require_outbox_url() == "mysql://u:p@db/chat"
    assert settings.feedback_relay_interval == timedelta(seconds=0.1)
    assert settings.retry_policy == RetryPolicy(
        max_attempts=3,
        base=timedelta(milliseconds=500),
        cap=timedelta(minutes=1),
        horizon=timedelta(hours=1),
    )
    assert settings.feedback_request_timeout == timedelta(seconds=2.25)
    assert settings.feedback_concurrency == 7
    assert settings.feedback_idempotency_ttl == timedelta(days=1)
    assert (settings.feedback_log_format, settings.feedback_log_sample) == ("json", 0.01)
    assert (settings.feedback_metrics_port, settings.feedback_metrics_host) == (9540, "0.0.0.0")
    assert settings.feedback_lease == timedelta(seconds=5)
    assert settings.feedback_shutdown_timeout == timedelta(minutes=1)
    assert settings.feedback_heartbeat_file == Path("/run/feedback/heartbeat")
    assert (settings.feedback_health_port, settings.feedback_health_host) == (9541, "0.0.0.0")
    assert settings.feedback_retention == timedelta(days=30)
    assert [receiver.name for receiver in settings.receivers] == ["1:slack", "2:webhook+https"]
    assert [len(key) for key in settings.signing_keys] == [24]
    assert settings.quiet_hours == QuietHours.read("22:00-07:00 Europe/Berlin")
    assert settings.feedback_notify_window == timedelta(minutes=1)
    assert settings.feedback_notify_backlog_age == timedelta(minutes=5)
    assert settings.feedback_flower_url == "http://flower:5555"


def test_sentinels_come_with_their_masters_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither means anything without the other."""
    url = "sentinel://:pw@one;sentinel://:pw@two:7000/1"

    settings = load(monkeypatch, FEEDBACK_BROKER_URL=url, FEEDBACK_SENTINEL_MASTER="mymaster")

    assert settings.feedback_broker_url.get_secret_value() == url
    assert settings.feedback_sentinel_master == "mymaster"


@pytest.mark.parametrize("url", ["redis://:pw@one/0", ""])
def test_a_masters_name_beside_a_redis_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It is set in the belief that sentinels are asked, and the URL, or the default, names a plain Redis."""
    said = complaint(monkeypatch, FEEDBACK_BROKER_URL=url, FEEDBACK_SENTINEL_MASTER="mymaster")

    assert said.startswith("FEEDBACK_BROKER_URL: the broker's URL can't be read: it names no sentinels, and ")
    assert "pw" not in said


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-compose hands on `NAME: ${NAME:-}` as an empty text."""
    settings = load(monkeypatch, **dict.fromkeys(DEFAULTS, ""))

    assert settings == load_settings(_env_file=None)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize(
    "value", ["0", "-1", "nan", "NaN", "inf", "-inf", "1e400", "1e-9", "10 s", "PT5S", "1:00", "x"]
)
def test_a_duration_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Neither nothing nor for ever, and no other unit."""
    said = complaint(monkeypatch, **{name: value})

    assert said.startswith(f"{name}: expected a number of seconds")


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("AQUILAX_API_KEY", "two words", "printable ASCII without spaces"),
        ("AQUILAX_API_KEY", "line\nbreak", "printable ASCII without spaces"),
        ("AQUILAX_API_KEY", "clé", "printable ASCII without spaces"),
        ("AQUILAX_BASE_URL", "aquilax.ai", "https://aquilax.ai"),
        ("AQUILAX_BASE_URL", "ftp://aquilax.ai", "https://aquilax.ai"),
        ("AQUILAX_BASE_URL", "https://", "https://aquilax.ai"),
        ("AQUILAX_BASE_URL", "https://[::1", "https://aquilax.ai"),
        ("AQUILAX_BASE_URL", "https://aquilax.ai:99999", "https://aquilax.ai"),
        ("AQUILAX_BASE_URL", "https://aqui lax.ai", "https://aquilax.ai"),
        ("AQUILAX_BASE_URL", "https://aquilax.ai?x=1", "without login, query and fragment"),
        ("AQUILAX_BASE_URL", "https://aquilax.ai#x", "without login, query and fragment"),
        ("AQUILAX_BASE_URL", "https://u:p@aquilax.ai", "without login, query and fragment"),
        ("AQUILAX_BASE_URL", "http://aquilax.ai", "expected https"),
        ("AQUILAX_BASE_URL", "http://10.0.0.1", "expected https"),
        ("AQUILAX_BASE_URL", "http://127.0.0.1.evil.example", "expected https"),
        ("FEEDBACK_BROKER_URL", "amqp://localhost", "redis://"),
        ("FEEDBACK_BROKER_URL", "sentinel://localhost", "FEEDBACK_SENTINEL_MASTER"),
        ("FEEDBACK_BROKER_URL", "redis://localhost?health_check_interval=9", "accepted are client_name, db, "),
        ("FEEDBACK_BROKER_URL", "localhost:6379", "redis://"),
        ("FEEDBACK_BROKER_URL", "redis://localhost:port", "host and port"),
        ("FEEDBACK_DATABASE_URL", "feedback.sqlite3", "SQLAlchemy URL"),
        ("FEEDBACK_DATABASE_URL", "postgresql://u:p@host:port/name", "SQLAlchemy URL"),
        ("FEEDBACK_OUTBOX_URL", "chat.sqlite3", "SQLAlchemy URL"),
        ("FEEDBACK_RELAY_INTERVAL", "3601", "at most an hour"),
        ("FEEDBACK_MAX_ATTEMPTS", "0", "greater than or equal to 1"),
        ("FEEDBACK_MAX_ATTEMPTS", "many", "valid integer"),
        ("FEEDBACK_MAX_ATTEMPTS", "1.5", "valid integer"),
        ("FEEDBACK_CONCURRENCY", "0", "greater than or equal to 1"),
        ("FEEDBACK_CONCURRENCY", "100000", "less than or equal to 1000"),
        ("FEEDBACK_LEASE", "2.9", "at least 3 seconds"),
        ("FEEDBACK_FLOWER_URL", "127.0.0.1:5555", "http://127.0.0.1:5555"),
        ("FEEDBACK_FLOWER_URL", "http://[::1", "http://127.0.0.1:5555"),
        ("FEEDBACK_FLOWER_URL", "http://user:pw@flower:5555", "without login, query and fragment"),
        ("FEEDBACK_DASHBOARD_ACT", "ann bob", "separated by commas"),
        ("FEEDBACK_DASHBOARD_ACT", "ann,", "separated by commas"),
        ("FEEDBACK_DASHBOARD_ACT", "group:", "separated by commas"),
        ("FEEDBACK_DASHBOARD_ACT", "group:operators", "FEEDBACK_DASHBOARD_PROXY_GROUPS_HEADER"),
        ("FEEDBACK_DASHBOARD_PROXY_HEADER", "X-Forwarded-User", "FEEDBACK_DASHBOARD_PROXY_ADDRESSES"),
        ("FEEDBACK_DASHBOARD_PROXY_GROUPS_HEADER", "X-Forwarded-Groups", "FEEDBACK_DASHBOARD_PROXY_HEADER"),
        ("FEEDBACK_DASHBOARD_PROXY_ADDRESSES", "proxy", "addresses or networks such as 10.0.0.0/8"),
        ("FEEDBACK_DASHBOARD_PROXY_ADDRESSES", ",", "of the proxy alone"),
        ("FEEDBACK_DASHBOARD_PROXY_ADDRESSES", "10.0.0.7,0.0.0.0/0", "of the proxy alone"),
        ("FEEDBACK_DASHBOARD_PROXY_ADDRESSES", "::/0", "of the proxy alone"),
        ("FEEDBACK_NOTIFY_URLS", "hooks.example.com/s", "address 1: expected one such as slack://…"),
        ("FEEDBACK_NOTIFY_URLS", "json://a webhook+https://h", "address 2 is a webhook: set FEEDBACK_NOTIFY_SECRET"),
        ("FEEDBACK_NOTIFY_SECRET", "short", "openssl rand -base64 32"),
        ("FEEDBACK_NOTIFY_QUIET", "at night", "such as 22:00-07:00 Europe/Berlin"),
        ("FEEDBACK_NOTIFY_WINDOW", "0", "a number of seconds"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_the_fix(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fix: str
) -> None:
    """The operator who reads it at start knows what to change, and to what."""
    said = complaint(monkeypatch, **{name: value})

    assert said.startswith(f"{name}: ")
    assert fix in said


PROXY = {"FEEDBACK_DASHBOARD_PROXY_ADDRESSES": "10.0.0.7, fd00::/8, unix"}


@pytest.mark.parametrize("name", ["X Forwarded User", "X-Forwarded-User:", "Authorization", "cookie", "Host"])
def test_a_header_that_a_proxy_passes_on_is_no_login(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A browser sets it itself; and a name that is none would never be found."""
    said = complaint(monkeypatch, **PROXY, FEEDBACK_DASHBOARD_PROXY_HEADER=name)

    assert said.startswith(
        "FEEDBACK_DASHBOARD_PROXY_HEADER: expected the name of a header that the proxy sets, such as"
    )


def test_users_and_groups_stand_in_two_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of one proxy."""
    user, groups = "FEEDBACK_DASHBOARD_PROXY_HEADER", "FEEDBACK_DASHBOARD_PROXY_GROUPS_HEADER"

    assert "another header" in complaint(monkeypatch, **PROXY, **{user: "X-Who", groups: "x-who"})
    assert (
        load(monkeypatch, **{groups: "X-Groups"}, FEEDBACK_DASHBOARD_ACT="group:ops").feedback_dashboard_act
        == "group:ops"
    )


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once: fixing one setting per start takes long."""
    said = complaint(monkeypatch, FEEDBACK_RETRY_CAP="soon", FEEDBACK_CONCURRENCY="x", AQUILAX_BASE_URL="http://a.b")

    assert {line.partition(":")[0] for line in said.splitlines()} == {
        "FEEDBACK_RETRY_CAP",
        "FEEDBACK_CONCURRENCY",
        "AQUILAX_BASE_URL",
    }


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "api.localhost"])
def test_plain_http_is_for_loopback(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """There no third party listens on the way."""
    assert load(monkeypatch, AQUILAX_BASE_URL=f"http://{host}:8080").aquilax_base_url == f"http://{host}:8080"


def test_the_key_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that send nothing run without it; the worker does not start."""
    settings = load(monkeypatch, AQUILAX_API_KEY="   ")

    with pytest.raises(SettingsError, match="AQUILAX_API_KEY is not set"):
        settings.require_api_key()
    with pytest.raises(SettingsError, match="AQUILAX_API_KEY is not set"):
        load_settings(aquilax_api_key=None).require_api_key()


def test_a_newline_after_the_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets that are mounted as files often end with one."""
    assert load(monkeypatch, AQUILAX_API_KEY="key\n").require_api_key().get_secret_value() == "key"


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the repr, not in the text, not in a dump for a log."""
    settings = load(
        monkeypatch,
        AQUILAX_API_KEY=SECRET,
        FEEDBACK_BROKER_URL=f"redis://:{SECRET}@127.0.0.1/0",
        FEEDBACK_DATABASE_URL=f"postgresql://u:{SECRET}@db/x",
    )

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AQUILAX_API_KEY", f"{SECRET} {SECRET}"),
        ("FEEDBACK_BROKER_URL", f"amqp://:{SECRET}@host"),
        ("FEEDBACK_BROKER_URL", f"redis://:{SECRET}/x@host/0"),
        ("FEEDBACK_BROKER_URL", f"redis://:{SECRET}#x@host/0"),
        ("FEEDBACK_BROKER_URL", f"redis://:{SECRET}\N{ACCOUNT OF}@host/0"),
        ("FEEDBACK_DATABASE_URL", f":{SECRET}@db/x"),
        ("FEEDBACK_DATABASE_URL", f"postgresql://host:{SECRET}/x"),
        ("AQUILAX_BASE_URL", f"https://u:{SECRET}@aquilax.ai"),
        ("AQUILAX_BASE_URL", f"https://u:{SECRET}@aquilax.ai:x"),
        ("AQUILAX_BASE_URL", f"https://u:{SECRET}\N{ACCOUNT OF}@aquilax.ai"),
        ("FEEDBACK_FLOWER_URL", f"https://u:{SECRET}@flower:5555"),
        ("FEEDBACK_MAX_ATTEMPTS", SECRET),
        ("FEEDBACK_RETRY_CAP", SECRET),
    ],
)
def test_a_complaint_shows_no_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Whatever was set, a password may be in it, in the wrong place; the complaint ends up in a log."""
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **{name: value})

    assert str(refused.value).startswith(f"{name}: ")
    assert SECRET not in f"{refused.value} {refused.value!r}"
    assert refused.value.__suppress_context__


def test_a_dot_env_is_read(tmp_path: Path) -> None:
    """A newcomer writes one file."""
    (tmp_path / ".env").write_text("AQUILAX_API_KEY=from-file\nFEEDBACK_CONCURRENCY=3\nSOMETHING_ELSE=1\n")

    settings = load_settings()

    assert settings.require_api_key().get_secret_value() == "from-file"
    assert settings.feedback_concurrency == 3


def test_the_environment_wins_over_the_dot_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with every twelve-factor program."""
    (tmp_path / ".env").write_text("FEEDBACK_CONCURRENCY=3\nFEEDBACK_MAX_ATTEMPTS=9\n")

    settings = load(monkeypatch, FEEDBACK_CONCURRENCY="4")

    assert (settings.feedback_concurrency, settings.feedback_max_attempts) == (4, 9)


def test_an_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests and the local stack say what they mean."""
    monkeypatch.setenv("FEEDBACK_CONCURRENCY", "4")

    assert load_settings(feedback_concurrency=5).feedback_concurrency == 5


def test_an_overriding_duration_is_held_to_the_same_limits() -> None:
    """A `timedelta` can be negative as well."""
    with pytest.raises(SettingsError, match="FEEDBACK_RETRY_CAP: expected a number of seconds"):
        load_settings(feedback_retry_cap=timedelta(seconds=-1))


def test_settings_do_not_change() -> None:
    """They were validated whole."""
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "feedback_concurrency", 1)  # noqa: B010 - mypy knows that it is frozen
