"""docker-compose.yml, .env.example and the Dockerfile, as they are read."""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import create_engine

from producer import outbox
from producer.testing import RecordingProducer
from tests.support.compose import Compose, MissingVariable, commented_names, read_env
from tests.support.processes import ROOT
from worker.observability.outbox_metrics import OfOutbox
from worker.settings import load_settings

OURS = {"migrate", "worker", "flower", "gateway", "relay", "sandbox"}
FOREIGN_PROGRAMS = {
    "redis": {"redis-server", "redis-cli"},
    "postgres": {"pg_isready"},
    "prometheus": {"wget"},
    "grafana": {"wget"},
}
EXAMPLE = (ROOT / ".env.example").read_text()
FILLED = {name: value or f"secret-of-{name.lower()}" for name, value in read_env(EXAMPLE).items()}
SECRET = re.compile(r"KEY|PASSWORD|AUTH|TOKEN|SECRET")


@pytest.fixture
def compose() -> Compose:
    """The file as it stands."""
    return Compose.read()


@pytest.fixture
def filled(compose: Compose) -> Compose:
    """The file with a secret for everything that .env.example leaves empty."""
    return compose.interpolated(FILLED)


def test_the_services_are_those_that_the_documentation_names(compose: Compose) -> None:
    """A service that comes or goes is a change that operators must hear of."""
    assert set(compose.services) == {"redis", "postgres", "prometheus", "grafana"} | OURS


def test_every_variable_is_in_the_example(compose: Compose) -> None:
    """The file need not be read to find out what can be set."""
    assert compose.variables() <= set(read_env(EXAMPLE)) | commented_names(EXAMPLE)


def test_the_example_has_no_secret() -> None:
    """A copy has no secrets until they are chosen, which can't be forgotten."""
    assert set(read_env(EXAMPLE).values()) == {""}


@pytest.mark.parametrize("name", sorted(FILLED))
def test_a_secret_that_is_not_set_stops_everything(compose: Compose, name: str) -> None:
    """Above all Flower does not start without a login."""
    with pytest.raises(MissingVariable, match=f"{name}: set it in .env"):
        compose.interpolated(FILLED | {name: ""})


def test_the_example_as_it_stands_can_be_started(compose: Compose) -> None:
    """With the secrets filled in, nothing else has to be set."""
    environment = compose.interpolated(FILLED).services["worker"]["environment"]
    settings = {name.lower(): value for name, value in environment.items() if value}
    assert load_settings(**settings, _env_file=None).aquilax_base_url == "https://aquilax.ai"


@pytest.mark.parametrize("name", ["FEEDBACK_MAX_ATTEMPTS", "FEEDBACK_RETRY_CAP", "FEEDBACK_CONCURRENCY"])
def test_a_setting_of_the_worker_reaches_it(compose: Compose, name: str) -> None:
    """What stands in .env is what the worker reads."""
    filled = compose.interpolated(FILLED | {name: "7"})
    assert filled.services["worker"]["environment"][name] == "7"


OF_OTHERS = (
    *("FEEDBACK_ENQUEUE_", "FEEDBACK_GATEWAY_", "FEEDBACK_OUTBOX_", "FEEDBACK_RELAY_", "FEEDBACK_SPOOL_"),
    "FEEDBACK_DASHBOARD_",
)
"""How the names of settings begin that are of backends, and of what runs beside one, which are not in the file; and of
Flower."""


def test_every_setting_reaches_the_worker(compose: Compose) -> None:
    """A setting that the file forgets could not be set under Docker Compose."""
    settings = {name.upper() for name in type(load_settings(_env_file=None)).model_fields}
    of_workers = {name for name in settings if not name.startswith(OF_OTHERS)}
    assert set(compose.services["worker"]["environment"]) == of_workers


def test_every_setting_of_the_dashboard_reaches_flower(compose: Compose) -> None:
    """And no other part, which has no use for it."""
    settings = {name.upper() for name in type(load_settings(_env_file=None)).model_fields}
    of_flower = {name for name in settings if name.startswith("FEEDBACK_DASHBOARD_")}
    for name, service in compose.services.items():
        assert of_flower & set(service.get("environment", {})) == (of_flower if name == "flower" else set())


def test_no_secret_stands_in_the_file(compose: Compose) -> None:
    """Each comes from .env. A path of a file is none."""
    for name, service in compose.services.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable) and not variable.endswith("_FILE"):
                assert re.search(r"\$\{\w+:\?|^\$\{\w+:-\}$", value), f"{name}: {variable}"


def test_no_secret_stands_in_a_command_line(filled: Compose) -> None:
    """`ps` on the host shows command lines to everybody."""
    for name, service in filled.services.items():
        commands = json.dumps([service.get("command"), service.get("healthcheck")])
        assert not [secret for secret in FILLED.values() if secret in commands], name


@pytest.mark.parametrize(
    ("service", "secrets"),
    [
        ("migrate", {"POSTGRES_PASSWORD"}),
        ("flower", {"REDIS_PASSWORD", "POSTGRES_PASSWORD", "FLOWER_USER", "FLOWER_PASSWORD"}),
        ("worker", {"REDIS_PASSWORD", "POSTGRES_PASSWORD", "AQUILAX_API_KEY"}),
        ("relay", {"REDIS_PASSWORD"}),
        ("sandbox", set()),
        ("prometheus", set()),
        ("grafana", {"FLOWER_USER", "FLOWER_PASSWORD"}),
    ],
)
def test_a_service_gets_the_secrets_that_it_needs_and_no_other(
    filled: Compose, service: str, secrets: set[str]
) -> None:
    """The key of AquilaX is the worker's alone."""
    environment = json.dumps(filled.services[service].get("environment", {}))
    assert {name for name, value in FILLED.items() if value in environment} == secrets


def test_what_a_service_needs_starts_before_it(compose: Compose) -> None:
    """The schema is there before the first worker looks for it."""
    needs = {
        name: {other: rule["condition"] for other, rule in service.get("depends_on", {}).items()}
        for name, service in compose.services.items()
    }
    assert needs["worker"] == {"redis": "service_healthy", "migrate": "service_completed_successfully"}
    assert needs["migrate"] == {"postgres": "service_healthy"}
    assert needs["flower"] == {"redis": "service_healthy"}


def test_no_service_may_do_more_than_it_needs(compose: Compose) -> None:
    """No capability, no way to get one, and none is root in what holds the feedback; ours are not by their image."""
    for name, service in compose.services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert {name: compose.services[name]["user"] for name in ("redis", "postgres")} == {
        "redis": "redis",
        "postgres": "postgres",
    }


@pytest.mark.parametrize("name", ["redis", "postgres", *sorted(OURS)])
def test_a_service_writes_to_its_volumes_and_to_memory_alone(compose: Compose, name: str) -> None:
    """Its own file system is read-only; PostgreSQL's socket has a folder in memory, for its own user."""
    service = compose.services[name]
    assert service["read_only"] is True
    places = [place.split(":")[0] for place in service["tmpfs"]]
    assert places == (["/tmp", "/var/run/postgresql"] if name == "postgres" else ["/tmp"])  # noqa: S108 - in a container


def test_every_lasting_service_has_a_health_check_and_comes_back(compose: Compose) -> None:
    """A one-shot is done when it is done; all others are watched."""
    for name, service in compose.services.items():
        lasting = name != "migrate"
        assert ("healthcheck" in service) == lasting, name
        assert service["restart"] == ("unless-stopped" if lasting else "no"), name


def test_workers_can_be_many(compose: Compose) -> None:
    """Nothing of a worker may exist only once: no name, no port; its Celery node is called after its host."""
    worker = compose.services["worker"]
    assert not {"container_name", "hostname", "ports"} & set(worker)
    assert worker["command"][-2:] == ["-n", "worker@%h"]


def test_a_worker_has_time_to_finish_what_it_is_sending(compose: Compose) -> None:
    """Its warm shutdown waits for the requests on their way."""
    grace = float(compose.services["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > 2 * load_settings(_env_file=None).feedback_request_timeout.total_seconds()


def test_nothing_listens_beyond_this_host_unless_told(filled: Compose) -> None:
    """None of them speaks TLS; and no port of a worker is open at all."""
    ports = [port for service in filled.services.values() for port in service.get("ports", [])]
    assert sorted(ports) == [f"127.0.0.1:{port}:{port}" for port in (3000, 5555, 6379, 8080, 9090)]


def test_redis_throws_nothing_away(filled: Compose) -> None:
    """The queue is the only place where an event is until it is delivered."""
    lines = filled.content["configs"]["redis.conf"]["content"].splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(lines)


def test_what_is_kept_is_kept_in_volumes(compose: Compose) -> None:
    """`docker compose down` loses nothing; only `down --volumes` does."""
    mounted = {volume.split(":")[0] for service in compose.services.values() for volume in service.get("volumes", [])}
    assert mounted == set(compose.content["volumes"])


def test_the_gateway_the_relay_the_sandbox_and_the_metrics_start_only_when_asked_for(compose: Compose) -> None:
    """Nothing else has a profile."""
    profiles = {name: service["profiles"] for name, service in compose.services.items() if "profiles" in service}
    assert profiles == {
        "gateway": ["gateway"],
        "relay": ["relay"],
        "sandbox": ["sandbox"],
        "prometheus": ["metrics"],
        "grafana": ["metrics"],
    }


def test_the_worker_accepts_the_address_of_the_sandbox(compose: Compose) -> None:
    """Plain http is for loopback names, and the sandbox's name on the network is one."""
    alias = compose.services["sandbox"]["networks"]["default"]["aliases"][0]
    url = f"http://{alias}:8480"
    assert load_settings(aquilax_base_url=url, _env_file=None).aquilax_base_url == url
    assert url in EXAMPLE


def test_every_program_exists(filled: Compose) -> None:
    """Ours are in the environment that the lock gives; the others in their images."""
    for name, service in filled.services.items():
        commands = [service.get("command"), filled.health_check(name) if "healthcheck" in service else None]
        for program in filter(None, map(_program, commands)):
            if name in OURS:
                assert shutil.which(program, path=str(Path(sys.executable).parent)), f"{name}: {program}"
            else:
                assert program in FOREIGN_PROGRAMS[name], f"{name}: {program}"


def _program(command: list[str] | None) -> str:
    match command:
        case ["sh", "-c", script]:
            return script.split()[0]
        case [program, *_]:
            return program
        case _:
            return ""


@pytest.fixture
def dockerfile() -> list[list[str]]:
    """Its instructions, each with what follows it."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def _final(dockerfile: list[list[str]], instruction: str) -> str:
    return [rest for name, rest in dockerfile if name == instruction][-1]


def test_the_image_does_not_run_as_root(dockerfile: list[list[str]]) -> None:
    """By number, so that an orchestrator can see it."""
    assert _final(dockerfile, "USER") == "10001:10001"


def test_signals_reach_the_process(dockerfile: list[list[str]]) -> None:
    """The exec form has no shell in between that would keep them."""
    assert _final(dockerfile, "STOPSIGNAL") == "SIGTERM"
    assert json.loads(_final(dockerfile, "CMD")) == Compose.read().services["worker"]["command"]


def test_the_worker_is_watched_in_the_same_way_with_and_without_compose(dockerfile: list[list[str]]) -> None:
    """By what it does, and not by whether its process exists."""
    check = Compose.read().services["worker"]["healthcheck"]
    options, _, command = _final(dockerfile, "HEALTHCHECK").partition(" CMD ")
    assert ["CMD", *json.loads(command)] == check["test"]
    names = ("interval", "timeout", "start_period", "retries")
    assert options.split() == [f"--{name.replace('_', '-')}={check[name]}" for name in names]


def test_what_the_image_copies_exists_and_is_sent_to_the_builder(dockerfile: list[list[str]]) -> None:
    """.dockerignore leaves everything out that it does not name."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source.rstrip("/")
        for name, rest in dockerfile
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert all((ROOT / source).exists() for source in copied)
    assert {source.split("/")[0] for source in copied} == sent


def test_nothing_is_installed_that_has_no_hash(dockerfile: list[list[str]]) -> None:
    """Else a build of tomorrow is another image."""
    installs = [
        step
        for name, rest in dockerfile
        if name == "RUN"
        for step in rest.split("&&")
        if " install " in f" {step} " and "pip" in step
    ]
    assert installs
    assert all("--require-hashes" in step or "--no-index" in step for step in installs)


def test_no_secret_is_in_a_layer(dockerfile: list[list[str]]) -> None:
    """An ARG or ENV stays readable in the image."""
    declared: list[Any] = [rest for name, rest in dockerfile if name in {"ARG", "ENV"}]
    assert not [rest for rest in declared if SECRET.search(rest)]


def test_the_relay_is_healthy_while_it_reaches_its_database(compose: Compose) -> None:
    """By the metric that it has, on the port that it is given. Its settings are taken as they stand."""
    relay = compose.interpolated(FILLED | {"FEEDBACK_OUTBOX_URL": "postgresql://u:p@host/backend"}).services["relay"]
    settings = {name.lower(): value for name, value in relay["environment"].items() if value}
    assert load_settings(**settings, _env_file=None).feedback_outbox_url is not None
    (check,) = [word for word in relay["healthcheck"]["test"] if "relay_up" in word]
    assert f"127.0.0.1:{relay['environment']['FEEDBACK_METRICS_PORT']}/metrics" in check

    registry = CollectorRegistry()
    with closing(RecordingProducer()) as producer:
        carrier = outbox.Relay(create_engine("sqlite://"), producer)
        registry.register(OfOutbox(carrier, lambda: outbox.OutboxStatus(waiting=0, set_aside=0, oldest_at=None)))
        assert b"aquilax_feedback_outbox_relay_up 1" in generate_latest(registry)
        carrier.problem = "the database: away"
        assert b"aquilax_feedback_outbox_relay_up 1" not in generate_latest(registry)
    assert "aquilax_feedback_outbox_relay_up 1" in check
