"""Every setting, read once from the environment (and ``.env``, if there is one), validated whole."""

from __future__ import annotations

import os
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from producer.address import Address
from producer.broker_url import BrokerUrl
from producer.environment import FILE, secret, without_line_end
from worker.policy.environment import is_service_link
from worker.policy.request_origin import is_loopback
from worker.policy.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "SECRETS",
    "LogFormat",
    "Settings",
    "SettingsError",
    "flower_url",
    "given_variables",
    "load_settings",
    "unknown_settings",
]

SECRETS: Final = ("AQUILAX_API_KEY", "FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL", "FEEDBACK_OUTBOX_URL")
"""The settings that may stand in a file, which the variable of the same name and `_FILE` names."""

_SHORTEST_SECONDS: Final = 0.001
_LONGEST_SECONDS: Final = 10 * 365 * 24 * 3600
_SHORTEST_LEASE: Final = timedelta(seconds=3)
_LONGEST_INTERVAL: Final = timedelta(hours=1)
"""Of a relay: `producer.outbox.Relay` takes no longer one."""


class SettingsError(Exception):
    """A setting is wrong; the message names the variable and the fix, and shows no secret."""


def _seconds(value: object) -> object:
    """Durations are plain seconds: ``2``, ``0.5``; not ISO 8601, not ``1:00``."""
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)  # type: ignore[arg-type]  # float() raises TypeError for anything else
    except (TypeError, ValueError):
        raise ValueError("expected a number of seconds") from None
    if not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:  # as NaN is, too
        raise ValueError("expected a number of seconds from 0.001 to ten years")
    return timedelta(seconds=seconds)


def _lease(value: timedelta) -> timedelta:
    if value < _SHORTEST_LEASE:
        raise ValueError(
            "expected at least 3 seconds: a lease is renewed four times while it lasts, and if one renewal is late, "
            "what is being delivered must not be handed out again"
        )
    return value


def _interval(value: timedelta) -> timedelta:
    if value > _LONGEST_INTERVAL:
        raise ValueError("expected at most an hour")
    return value


def _api_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("expected a Personal Access Token: printable ASCII without spaces")
    return SecretStr(text)


def _address(value: str, example: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(f"expected an address such as {example}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected an address such as {example}")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("expected an address without login, query and fragment")
    return parts


def _base_url(value: str) -> str:
    import requests  # noqa: PLC0415 - only an address that is set is read, and importing it is a tenth of a command's start

    parts = _address(value, "https://aquilax.ai")
    try:
        requests.Request("GET", value).prepare()
    except (ValueError, requests.RequestException):
        raise ValueError("expected an address such as https://aquilax.ai") from None
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("expected https: over plain http the key could be read on the way (http is for loopback)")
    return value.rstrip("/")


def flower_url(value: str) -> str:
    """Read where Flower is.

    Raises:
        ValueError: It is no address, or one with a login.
    """
    _address(value, "http://127.0.0.1:5555")
    return value.rstrip("/")


def _broker_url(value: SecretStr, given: ValidationInfo) -> SecretStr:
    url, master = value.get_secret_value(), given.data.get("feedback_sentinel_master")
    if BrokerUrl.read(url, master).options.tls or master:
        Address(url, patience=1, sentinel_master=master)  # imports redis-py, which reads the options of TLS
    return value


def _database_url(value: SecretStr) -> SecretStr:
    try:
        make_url(value.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError("expected an SQLAlchemy URL such as postgresql+psycopg://user:password@host/name") from None
    return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
LogFormat = Literal["console", "json"]


class Settings(BaseSettings):
    """The settings; `load_settings` reads them and says clearly what is wrong.

    Each is the environment variable of its name in capitals. Durations are in seconds there and `timedelta` here.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    aquilax_api_key: Annotated[SecretStr, AfterValidator(_api_key)] | None = Field(
        default=None, description="The Personal Access Token sent as X-AX-KEY. The worker needs it."
    )
    aquilax_base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        default="https://aquilax.ai",
        validate_default=False,  # see _base_url
        description="Where AquilaX is. Plain http only on loopback.",
    )
    feedback_sentinel_master: str | None = Field(
        default=None, description="The name of the master, where the broker's URL names the sentinels that watch it."
    )
    feedback_broker_url: Annotated[SecretStr, AfterValidator(_broker_url)] = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        validate_default=True,  # it must fit to the setting above, as what is given must
        description="The Redis that holds the queue.",
    )
    feedback_spool_dir: Path | None = Field(
        default=None,
        description="The directory that keeps events while Redis does not take them; without one the call raises.",
    )
    feedback_spool_max_bytes: int = Field(
        default=1024**3, ge=1, description="What may stand in that directory; an event takes about 270 bytes."
    )
    feedback_spool_max_age: Seconds = Field(
        default=timedelta(days=7), description="How long the oldest event may wait in it before it takes no more."
    )
    feedback_database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        default=SecretStr("sqlite:///aquilax-feedback.sqlite3"),
        description="The database of the dead letters, as an SQLAlchemy URL.",
    )
    feedback_outbox_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        default=None, description="The backend's database, for `aquilax-feedback relay`, as an SQLAlchemy URL."
    )
    feedback_relay_interval: Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_interval)] = Field(
        default=timedelta(seconds=0.25),
        description="How often a relay looks into an outbox that is empty, or has less than a group of 500 rows.",
    )
    feedback_max_attempts: int = Field(
        default=200, ge=1, le=1_000_000, description="Attempts before an event becomes a dead letter `exhausted`."
    )
    feedback_retry_base: Seconds = Field(
        default=timedelta(seconds=2), description="The longest first wait before a retry; it doubles each time."
    )
    feedback_retry_cap: Seconds = Field(default=timedelta(hours=1), description="The longest wait before a retry.")
    feedback_retry_horizon: Seconds = Field(
        default=timedelta(days=3), description="How long after its first enqueue an event is still retried."
    )
    feedback_request_timeout: Seconds = Field(
        default=timedelta(seconds=10), description="How long one request to AquilaX may take in all."
    )
    feedback_concurrency: int = Field(
        default=50, ge=1, le=1000, description="Requests to AquilaX at once, of one worker process."
    )
    feedback_idempotency_ttl: Seconds = Field(
        default=timedelta(days=7), description="How long a request_id's last delivered vote is remembered."
    )

    feedback_lease: Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_lease)] = Field(
        default=timedelta(seconds=20),
        description="How long a worker that is not heard of keeps what it holds; then others deliver it.",
    )
    feedback_shutdown_timeout: Seconds = Field(
        default=timedelta(seconds=20),
        description="How long a worker that is asked to stop waits for what it is sending; a container has 30 s.",
    )
    feedback_heartbeat_file: Path | None = Field(
        default=None,
        description="The file that a worker touches while it is well, for `aquilax-feedback health`. "
        "Without it, one for its queue and its name, in the folder for temporary files.",
    )
    feedback_health_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The port on which a worker answers `/livez` and `/readyz`; without one it does not.",
    )
    feedback_health_host: str = Field(
        default="127.0.0.1",
        description="The address that this port is opened on: `0.0.0.0` for Kubernetes. It asks for no login.",
    )
    feedback_retention: Seconds = Field(
        default=timedelta(days=90),
        description="How long a dead letter is kept after it was delivered or discarded, and a replay after its end.",
    )
    feedback_flower_url: Annotated[str, AfterValidator(flower_url)] | None = Field(
        default=None, description="Where Flower is, for `aquilax-feedback doctor`; without a login."
    )

    feedback_log_format: LogFormat = Field(
        default="console", description="How a worker writes its log: `console` for people, `json` for machines."
    )
    feedback_log_sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="The fraction of the log's lines on events that went well that is written; all others always are.",
    )
    feedback_metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The port on which a worker serves its metrics; without one it has none.",
    )
    feedback_metrics_host: str = Field(
        default="127.0.0.1", description="The address that this port is opened on. It asks for no login."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_given(cls, given: object) -> object:
        """Without the line end that a value made of a file has, and without what Kubernetes sets for a service."""
        if not isinstance(given, dict):
            return given
        plain = {name: without_line_end(value) if isinstance(value, str) else value for name, value in given.items()}
        return {name: value for name, value in plain.items() if value != "" and not is_service_link(name, value)}

    @property
    def retry_policy(self) -> RetryPolicy:
        """How long and how often to try."""
        return RetryPolicy(
            max_attempts=self.feedback_max_attempts,
            base=self.feedback_retry_base,
            cap=self.feedback_retry_cap,
            horizon=self.feedback_retry_horizon,
        )

    def require_api_key(self) -> SecretStr:
        """Return the key.

        Raises:
            SettingsError: There is none.
        """
        if self.aquilax_api_key is None or not self.aquilax_api_key.get_secret_value():
            raise SettingsError("AQUILAX_API_KEY is not set: set it to a Personal Access Token of AquilaX")
        return self.aquilax_api_key

    def require_outbox_url(self) -> str:
        """Return the URL of the backend's database, with its password.

        Raises:
            SettingsError: There is none.
        """
        if self.feedback_outbox_url is None:
            raise SettingsError(
                "FEEDBACK_OUTBOX_URL is not set: set it to the SQLAlchemy URL of the backend's database"
            )
        return self.feedback_outbox_url.get_secret_value()


def _from_files(overrides: Mapping[str, Any]) -> dict[str, str]:
    """The secrets that stand in files; raises `SettingsError` if one can't be read."""
    given = (dotenv_values(".env"), os.environ)
    environ = {name: value for source in given for name, value in source.items() if value}
    found, wrong = {}, []
    for name in SECRETS:
        if f"{name}{FILE}" in environ and name.lower() not in overrides:
            try:
                found[name.lower()] = secret(environ, name)
            except ValueError as error:
                wrong.append(f"{name}: {error}")
    if wrong:
        raise SettingsError("\n".join(wrong))
    return found


def load_settings(**overrides: Any) -> Settings:
    """Read and validate the settings.

    Args:
        overrides: Settings by name, which win over the environment.

    Raises:
        SettingsError: One or more are wrong; every one is named, with the fix.
    """
    try:
        return Settings(**_from_files(overrides) | overrides)
    except ValidationError as error:
        lines = [
            f"{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise SettingsError("\n".join(lines)) from None


_PREFIXES: Final = ("AQUILAX_", "FEEDBACK_")

_OF_OTHERS: Final = frozenset({"FEEDBACK_IMAGE_TAG"})
"""Variables of docker-compose.yml, which reads the same .env."""


def given_variables() -> dict[str, str]:
    """Return the variables of ``.env`` and of the environment, which wins, by their names in capitals."""
    in_file = {name.upper(): value for name, value in dotenv_values(".env").items() if value}
    return in_file | {name.upper(): value for name, value in os.environ.items()}


def unknown_settings(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each that looks like a setting and is none, such as a typo, and what to do.

    Args:
        variables: All of them, by their names in capitals.
    """
    known = [*map(str.upper, Settings.model_fields), *(f"{name}{FILE}" for name in SECRETS)]
    for name, value in sorted(variables.items()):
        if not name.startswith(_PREFIXES) or name in known or name in _OF_OTHERS or is_service_link(name, value):
            continue
        near = get_close_matches(name, known, n=1)
        meant = f"it is {near[0]} that is meant, perhaps" if near else "docs/settings.md has all there are"
        yield name, f"rename or unset it: {meant}"
