"""What Prometheus and Grafana are given fits to what workers tell, and to docker-compose.yml."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from sqlalchemy import create_engine

from producer import outbox
from producer.testing import RecordingProducer
from tests.support.compose import Compose
from tests.support.processes import ROOT
from worker.accounting.backlog import Backlog
from worker.accounting.held_orgs import HeldOrgs
from worker.accounting.snapshot import PartitionLook, Snapshot, sum_of
from worker.broker.lease_state import SharedLeaseState
from worker.notifications.metrics import OfNotifications
from worker.notifications.state import NotifierState, ReceiverHealth
from worker.observability.backlog_metrics import OfBacklog
from worker.observability.collectors import OfProcess, OfQueue
from worker.observability.metrics import Metrics
from worker.observability.org_metrics import OfKeysFile, OfOrgs
from worker.observability.outbox_metrics import OfOutbox
from worker.policy.classification import Classification
from worker.policy.result import ResultKind
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "aquilax-feedback.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
METRIC = re.compile(r"\b(?:aquilax_feedback|process|python)_[a-z_]+\b")
LABEL = re.compile(r"([a-z_]+)=~?\"([^\"]+)\"")


@pytest.fixture(scope="module")
def told() -> str:
    """All that a worker, an exporter and a relay tell, as Prometheus reads it."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    empty = Snapshot(at=noon, counts={}, queued=0, in_flight=0, scheduled=0, oldest=None, hold=None, holders=())
    registry: CollectorRegistry = Metrics(now=lambda: noon).registry
    ProcessCollector(registry=registry)
    registry.register(OfProcess("1", SharedLeaseState()))
    registry.register(OfQueue(lambda: sum_of([PartitionLook(number=number, snapshot=empty) for number in range(2)])))
    registry.register(OfOrgs(lambda: HeldOrgs(holds=(), set_aside={})))
    registry.register(OfKeysFile(str))
    registry.register(OfBacklog(lambda: Backlog.of(empty, None), lambda: 0))
    registry.register(OfNotifications(lambda: NotifierState(receivers={"1:slack": ReceiverHealth()})))
    relay = outbox.Relay(create_engine("sqlite://"), RecordingProducer())
    registry.register(OfOutbox(relay, lambda: outbox.OutboxStatus(waiting=0, set_aside=0, oldest_at=None)))
    return generate_latest(registry).decode()


EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for rule in RULES),
    *((panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]),
]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_every_metric_that_is_named_is_told(told: str, where: str, expression: str) -> None:
    """With its labels: a query for what is not exported is an empty panel, and an alert that never rings."""
    names = set(re.findall(r"^([a-z_]+)[{ ]", told, re.MULTILINE))
    named = METRIC.findall(expression)

    assert set(named) <= names, where
    assert named or "up{" in expression, where
    for label, values in LABEL.findall(expression):
        if label != "job":
            assert all(f'{label}="{value}"' in told for value in values.split("|")), where


def test_what_alerts_count_is_told_at_zero_from_the_start(told: str) -> None:
    """A series that is born with its first event has no increase to Prometheus: each label that can come is there."""
    counted = {name for rule in RULES for name in METRIC.findall(rule["expr"]) if name.endswith(("_total", "_bucket"))}
    series = dict(line.rsplit(" ", 1) for line in told.splitlines() if not line.startswith("#"))

    assert counted, "no alert counts"
    for name in counted:
        assert {value for one, value in series.items() if one.split("{")[0] == name} == {"0.0"}, name
    labels: dict[str, tuple[str, Iterable[str]]] = {
        "dead_letters_total": ("reason", Reason),
        "deliveries_total": ("outcome", ResultKind),
        "classifications_total": ("classification", [classification.name.lower() for classification in Classification]),
    }
    for name, (label, values) in labels.items():
        assert all(f'aquilax_feedback_{name}{{{label}="{value}"}}' in series for value in values), name


def test_every_alert_says_what_is_wrong_and_where_the_cure_is_written() -> None:
    """At three in the morning that is one link."""
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^##+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/operations.md"
        assert anchor in anchors, rule["alert"]


def test_the_page_names_every_alert_and_no_other() -> None:
    """An operator who is called looks it up there."""
    page = (ROOT / "docs" / "operations.md").read_text()

    assert set(re.findall(r"`(Feedback[A-Z]\w+)`", page)) == {rule["alert"] for rule in RULES}


def test_the_page_names_every_metric(told: str) -> None:
    """As Prometheus has it."""
    page = (ROOT / "docs" / "operations.md").read_text()
    families = set(re.findall(r"^# TYPE (aquilax_feedback_\w+) ", told, re.MULTILINE))

    named = set(re.findall(r"`(aquilax_feedback_\w+)`", page))
    assert {name for name in families if not name.endswith("_created")} == named


def test_prometheus_asks_each_worker_on_its_port() -> None:
    """By the name that Docker resolves to all of them."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    job, of_relays = config["scrape_configs"]
    assert of_relays["dns_sd_configs"] == [job["dns_sd_configs"][0] | {"names": ["relay"]}]
    worker = Compose.read().services["worker"]["environment"]

    assert job["dns_sd_configs"][0]["names"] == ["worker"]
    assert str(job["dns_sd_configs"][0]["port"]) == worker["FEEDBACK_METRICS_PORT"]
    assert f'job="{job["job_name"]}"' in RULES[0]["expr"]


def test_every_file_is_where_its_program_looks_for_it() -> None:
    """The compose file puts each into its container."""
    compose = Compose.read()
    placed = {
        config["target"]: ROOT / compose.content["configs"][config["source"]]["file"]
        for name in ("prometheus", "grafana")
        for config in compose.services[name]["configs"]
    }
    dashboards = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yml").read_text())["providers"][0]["options"]["path"]
    source = yaml.safe_load((DEPLOY / "grafana" / "datasources.yml").read_text())["datasources"][0]

    assert all(file.is_file() for file in placed.values())
    assert set(placed.values()) == {file for part in ("prometheus", "grafana") for file in (DEPLOY / part).iterdir()}
    assert placed[f"{dashboards}/aquilax-feedback.json"] == DEPLOY / "grafana" / "aquilax-feedback.json"
    assert source["url"] == "http://prometheus:9090"
    assert DASHBOARD["templating"]["list"][0]["current"]["value"] == source["uid"]


def test_the_panels_do_not_cover_one_another() -> None:
    """Twenty-four columns, and each place taken once."""
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(places) == len(set(places))
    assert max(x for x, _ in places) == 23
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
