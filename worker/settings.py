"""Every setting, read once from the environment (and ``.env``, if there is one), validated whole."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)  # fmt: skip

from producer.broker_url import BrokerUrl
from producer.environment import FILE, secret, without_line_end
from producer.partitions import MOST_PARTITIONS
from producer.write_concern import MOST_REPLICAS
from worker.policy.environment import is_service_link
from worker.policy.notification_receiver import Receiver, read_receivers
from worker.policy.quiet_hours import QuietHours
from worker.policy.retry import RetryPolicy
from worker.policy.webhook_signature import read_signing_keys
from worker.setting_types import (
    LogFormat,
    Seconds,
    act_rule,
    api_key,
    base_url,
    database_url,
    flower_url,
    groups_header,
    interval,
    lease,
    networks,
    notify_quiet,
    notify_secret,
    notify_urls,
    origins,
    proxy_addresses,
    proxy_header,
    yes_or_no,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SECRETS",
    "LogFormat",
    "Settings",
    "SettingsError",
    "flower_url",
    "in_dotenv",
    "load_settings",
]

_DOTENV: Final = ".env"

SECRETS: Final = (
    "AQUILAX_API_KEY", "FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL", "FEEDBACK_OUTBOX_URL",
    "FEEDBACK_NOTIFY_SECRET", "FEEDBACK_NOTIFY_URLS",
)  # fmt: skip
"""The settings that may stand in a file, which the variable of the same name and `_FILE` names."""


class SettingsError(Exception):
    """A setting is wrong; the message names the variable and the fix, and shows no secret."""


def _broker_url(value: SecretStr, given: ValidationInfo) -> SecretStr:
    url, master = value.get_secret_value(), given.data.get("feedback_sentinel_master")
    if BrokerUrl.read(url, master).options.tls or master:
        from producer.address import Address  # noqa: PLC0415 - it imports ssl, which a command on dead letters needs not

        Address(url, patience=1, sentinel_master=master)  # imports redis-py, which reads the options of TLS
    return value


class Settings(BaseModel):
    """The settings; `load_settings` reads them and says clearly what is wrong.

    Each is the environment variable of its name in capitals. Durations are in seconds there and `timedelta` here.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=True)

    aquilax_api_key: Annotated[SecretStr, AfterValidator(api_key)] | None = Field(
        default=None,
        description="The Personal Access Token sent as X-AX-KEY. The worker needs it, or the file of the next row.",
    )
    aquilax_keys_file: Path | None = Field(
        default=None,
        description="A file in JSON with keys for single orgs, which is read again when it changes. "
        "`AQUILAX_API_KEY` is for the orgs that it does not name.",
    )
    aquilax_base_url: Annotated[str, AfterValidator(base_url)] = Field(
        default="https://aquilax.ai",
        validate_default=False,  # see base_url
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
    feedback_partitions: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PARTITIONS,
        description="How many parts the queue has, each on one node of a cluster: 16 on a cluster, 1 on one Redis.",
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
    feedback_enqueue_replicas: int = Field(
        default=0,
        ge=0,
        le=MOST_REPLICAS,
        description="How many replicas of Redis must have an event before it counts as taken.",
    )
    feedback_enqueue_fsync: Annotated[bool, BeforeValidator(yes_or_no)] = Field(
        default=False,
        description="Whether it must also be on the disk of Redis, and of each of these replicas: yes or no.",
    )
    feedback_database_url: Annotated[SecretStr, AfterValidator(database_url)] = Field(
        default=SecretStr("sqlite:///aquilax-feedback.sqlite3"),
        description="The database of the dead letters, as an SQLAlchemy URL.",
    )
    feedback_outbox_url: Annotated[SecretStr, AfterValidator(database_url)] | None = Field(
        default=None, description="The backend's database, for `aquilax-feedback relay`, as an SQLAlchemy URL."
    )
    feedback_relay_interval: Annotated[Seconds, AfterValidator(interval)] = Field(
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
    feedback_org_concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Requests to AquilaX at once of one org, of one worker process; as many as of all if none.",
    )
    feedback_idempotency_ttl: Seconds = Field(
        default=timedelta(days=7), description="How long a request_id's last delivered vote is remembered."
    )

    feedback_lease: Annotated[Seconds, AfterValidator(lease)] = Field(
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

    feedback_dashboard_proxy_addresses: Annotated[str, AfterValidator(proxy_addresses)] | None = Field(
        default=None,
        description="Addresses of the proxy that logs users in, separated by commas; `unix` for Flower's Unix socket.",
    )
    feedback_dashboard_proxy_header: Annotated[str, AfterValidator(proxy_header)] | None = Field(
        default=None,
        description="The header in which that proxy names the user, such as `X-Forwarded-User`; then it is a login.",
    )
    feedback_dashboard_proxy_groups_header: Annotated[str, AfterValidator(groups_header)] | None = Field(
        default=None, description="The header in which it names the user's groups, such as `X-Forwarded-Groups`."
    )
    feedback_dashboard_act: Annotated[str, AfterValidator(act_rule)] | None = Field(
        default=None,
        description="Who may act in Flower: users, e-mail addresses with `*`, `group:NAME`; all with access if none.",
    )

    feedback_flower_url: Annotated[str, AfterValidator(flower_url)] | None = Field(
        default=None,
        description="Where Flower is, for `aquilax-feedback doctor` and the links of notifications; without a login.",
    )
    feedback_notify_secret: Annotated[SecretStr, AfterValidator(notify_secret)] | None = Field(
        default=None, description="Signs the webhooks: `whsec_` and 24 to 64 bytes in base64."
    )
    feedback_notify_urls: Annotated[SecretStr, AfterValidator(notify_urls)] | None = Field(
        default=None,
        description="Which addresses are told what needs attention, as Apprise has them, or `webhook+https://…`; "
        "separated by spaces.",
    )
    feedback_notify_quiet: Annotated[str, AfterValidator(notify_quiet)] | None = Field(
        default=None,
        description="Hours in which only what is urgent is told, such as `22:00-07:00 Europe/Berlin`.",
    )
    feedback_notify_window: Seconds = Field(
        default=timedelta(seconds=30), description="How long events are gathered into one message."
    )
    feedback_notify_backlog_age: Seconds = Field(
        default=timedelta(minutes=15), description="How old the oldest event must be for the backlog to be told of."
    )

    feedback_task_events: Annotated[bool, BeforeValidator(yes_or_no)] = Field(
        default=True,
        description="Whether monitors such as Flower are told of each event: yes or no. A cluster tells every node.",
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

    feedback_gateway_host: str = Field(
        default="127.0.0.1",
        description="The address that the gateway listens on. One that others reach needs the file of keys.",
    )
    feedback_gateway_port: int = Field(
        default=8080, ge=0, le=65535, description="The gateway's port; any free one if 0."
    )
    feedback_gateway_keys_file: Path | None = Field(
        default=None, description="The file of the clients' keys, which `aquilax-feedback gateway keys` writes."
    )
    feedback_gateway_tls_cert: Path | None = Field(
        default=None, description="The gateway's certificate, with those between it and the authority's, in PEM."
    )
    feedback_gateway_tls_key: Path | None = Field(default=None, description="The certificate's key, in PEM.")
    feedback_gateway_trusted_proxies: Annotated[str, AfterValidator(networks)] | None = Field(
        default=None,
        description="Addresses of proxies, separated by commas, whose `X-Forwarded-For` and `-Proto` are believed.",
    )
    feedback_gateway_allowed_origins: Annotated[str, AfterValidator(origins)] | None = Field(
        default=None, description="Origins of pages, separated by commas, that may ask the gateway from a browser."
    )
    feedback_gateway_max_body: int = Field(
        default=1_048_576, ge=1024, description="Bytes of a body of JSON. One of NDJSON may have any length."
    )
    feedback_gateway_max_line: int = Field(default=16_384, ge=1024, description="Bytes of one line of NDJSON.")
    feedback_gateway_max_headers: int = Field(default=16_384, ge=1024, description="Bytes of a request's headers.")
    feedback_gateway_read_timeout: Seconds = Field(
        default=timedelta(seconds=10),
        description="How long a client may take for its headers, for a body of JSON, and for each next line of NDJSON.",
    )
    feedback_gateway_enqueue_timeout: Seconds = Field(
        default=timedelta(seconds=1), description="How long Redis may take to acknowledge events."
    )
    feedback_gateway_concurrency: int = Field(
        default=1000, ge=1, le=100_000, description="Requests at once, of one gateway process."
    )
    feedback_gateway_rate: float | None = Field(
        default=None, gt=0, description="Requests per second of each key, of one gateway process; any number if none."
    )
    feedback_gateway_idempotency_ttl: Seconds = Field(
        default=timedelta(days=1), description="How long the response to an `Idempotency-Key` is remembered."
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

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Who is told what needs attention; empty if no address is."""
        return () if self.feedback_notify_urls is None else read_receivers(self.feedback_notify_urls.get_secret_value())

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """What signs webhooks; empty if nothing does."""
        if self.feedback_notify_secret is None:
            return ()
        return read_signing_keys(self.feedback_notify_secret.get_secret_value())

    @property
    def quiet_hours(self) -> QuietHours | None:
        """When only what is urgent is told; None if there are no such hours."""
        return None if self.feedback_notify_quiet is None else QuietHours.read(self.feedback_notify_quiet)

    def require_api_key(self) -> SecretStr:
        """Return the key for the orgs that AQUILAX_KEYS_FILE does not name.

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


def in_dotenv(path: str | None = _DOTENV) -> Mapping[str, str | None]:
    """Return the variables of a file such as ``.env``, as far as there is one."""
    if path is None or not Path(path).is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - a tenth of a command's start, and most machines have no such file

    return dotenv_values(path)


def _in_environment(env_file: str | None) -> dict[str, str]:
    """The settings that are given as variables, by their names as fields. The environment wins."""
    every = ((name.lower(), value) for source in (in_dotenv(env_file), os.environ) for name, value in source.items())
    return {name: value for name, value in every if value and name in Settings.model_fields}


def _from_files(overrides: Mapping[str, Any]) -> dict[str, str]:
    """The secrets that stand in files; raises `SettingsError` if one can't be read."""
    given = (in_dotenv(), os.environ)
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


def load_settings(*, _env_file: str | None = _DOTENV, **overrides: Any) -> Settings:
    """Read and validate the settings.

    Args:
        _env_file: A file of more variables; none if None.
        overrides: Settings by name, which win over the environment.

    Raises:
        SettingsError: One or more are wrong; every one is named, with the fix.
    """
    try:
        return Settings(**_in_environment(_env_file) | _from_files(overrides) | overrides)
    except ValidationError as error:
        lines = [
            f"{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise SettingsError("\n".join(lines)) from None
