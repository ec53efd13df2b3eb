"""Whatever is on or off, Kubernetes takes what is rendered; and a wrong value is refused by its name."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.chart import EVERYTHING, SECRETS, Chart, Objects, merged
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

SPOOL = {"gateway": {"autoscaling": {"enabled": False}, "spool": {"enabled": True, "storageClassName": "ssd"}}}
VALUES = {"value": "postgresql://u:p@db/feedback", "existingSecret": ""}
GIVEN = {"secrets": {"databaseUrl": VALUES, "brokerUrl": {"value": "redis://r", "existingSecret": ""}}}
TOGGLES = [
    *({part: {"enabled": False}} for part in ("worker", "flower", "migrate", "gateway", "relay", "networkPolicy")),
    {"serviceAccount": {"create": False}},
    {"worker": {"metrics": {"enabled": False}}},
    {"worker": {"autoscaling": {"enabled": False}}, "exporter": {"enabled": False}},
    {"worker": {"podDisruptionBudget": {"enabled": False}}, "gateway": {"podDisruptionBudget": {"enabled": False}}},
    {"gateway": {"tls": {"existingSecret": ""}, "ingress": {"enabled": False}}},
    {"monitoring": {part: {"enabled": False} for part in ("podMonitor", "prometheusRule", "dashboard")}},
    {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}, "topologySpread": []},
    SPOOL,
    GIVEN,
]


def test_helm_finds_nothing_to_lint(chart: Chart) -> None:
    """As it stands, and with everything on; warnings count."""
    for values in ({}, SECRETS, EVERYTHING, merged(EVERYTHING, SPOOL), merged(SECRETS, GIVEN)):
        assert chart.ask("lint", values)["problems"] == []


def test_by_default_there_are_workers_and_flower(chart: Chart, default: Objects) -> None:
    """And what they need: no more is asked of a cluster than it has by itself."""
    assert chart.problems(default.all) == []
    assert set(default.pods()) == {"worker", "flower", "migrate", "doctor"}
    assert default.kinds() == {"Deployment", "Job", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount"}


def test_everything_at_once_is_valid(chart: Chart, everything: Objects) -> None:
    """By the schemas of the oldest and the newest Kubernetes, of KEDA and of Prometheus' operator."""
    assert chart.problems(everything.all) == []
    assert set(everything.pods()) == {"worker", "exporter", "gateway", "flower", "relay", "migrate", "doctor"}
    optional = {"ScaledObject", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "ConfigMap"}
    assert everything.kinds() >= optional | {"PodMonitor", "PrometheusRule"}


@pytest.mark.parametrize("toggled", TOGGLES, ids="-".join)
def test_each_part_may_be_off(chart: Chart, toggled: dict[str, Any]) -> None:
    """And the others are valid without it."""
    rendered = chart.render(EVERYTHING, toggled)

    assert chart.problems(rendered.all) == []
    for part in ("worker", "flower", "migrate", "gateway", "relay"):
        assert (part in rendered.pods()) == toggled.get(part, {}).get("enabled", True), part
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.all if "hook" not in str(each["metadata"])]
    assert len(set(names)) == len(names)


def bogus_field(given: dict[str, Any]) -> None:
    """A field that nobody reads."""
    given["spec"]["bogus"] = 1


def wrong_type(given: dict[str, Any]) -> None:
    """Text for an object."""
    given["spec"] = "text"


@pytest.mark.parametrize("spoil", [bogus_field, wrong_type])
@pytest.mark.parametrize(
    "kind",
    [
        "Deployment",
        "Job",
        "HorizontalPodAutoscaler",
        "Ingress",
        "PodDisruptionBudget",
        "PrometheusRule",
        "ScaledObject",
    ],
)
def test_what_is_wrong_would_be_found(
    chart: Chart, everything: Objects, kind: str, spoil: Callable[[dict[str, Any]], None]
) -> None:
    """The schemas refuse a field that they do not know, and another type: that they pass means something."""
    spoiled = deepcopy(next(each for each in everything.all if each["kind"] == kind))
    spoil(spoiled)

    assert chart.problems([spoiled])


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("ScaledObject", ["triggers", 0]),
        ("ScaledObject", ["advanced", "horizontalPodAutoscalerConfig"]),
        ("PodMonitor", ["podMetricsEndpoints", 0]),
        ("PrometheusRule", ["groups", 0, "rules", 0]),
        ("NetworkPolicy", ["egress", 0]),
        ("Deployment", ["template", "spec", "containers", 0, "livenessProbe"]),
    ],
)
def test_a_field_deep_inside_that_nobody_reads_would_be_found(
    chart: Chart, everything: Objects, kind: str, path: list[str | int]
) -> None:
    """Most typing errors are there."""
    spoiled = deepcopy(next(each for each in everything.all if each["kind"] == kind))
    inside = spoiled["spec"]
    for step in path:
        inside = inside[step]
    inside["bogus"] = "1"

    (first, *_) = chart.problems([spoiled])
    assert "bogus" in first


def test_a_kind_without_a_schema_would_be_found(chart: Chart) -> None:
    """Nothing passes because nobody looked."""
    unknown = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "x"}, "spec": {}}

    assert chart.problems([unknown]) == [
        "ScaledJob/x: Couldn't find schema for kind ScaledJob with api version keda.sh/v1alpha1 for kubernetes version "
        + version
        for version in ("1.27", "1.37")
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"worker": {"replica": 3}}, "at '/worker': additional properties 'replica' not allowed"),
        ({"worker": {"replicas": "3"}}, "at '/worker/replicas': got string, want integer"),
        ({"worker": {"shutdownTimeout": 0}}, "at '/worker/shutdownTimeout': minimum: got 0, want 1"),
        ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy': value must be one of"),
        ({"settings": {"AQUILAX_API_KEY": "s3cret-key"}}, "at '/settings/AQUILAX_API_KEY': false schema"),
        ({"settings": {"FEEDBACK_BROKER_URL_FILE": "/x"}}, "at '/settings/FEEDBACK_BROKER_URL_FILE'"),
        ({"worker": {"settings": {"FEEDBACK_SHUTDOWN_TIMEOUT": 5}}}, "'/worker/settings/FEEDBACK_SHUTDOWN_TIMEOUT'"),
        ({"settings": {"FEEDBAK_LEASE": 20}}, "at '/settings': additional properties 'FEEDBAK_LEASE' not allowed"),
        ({"settings": {"FEEDBACK_LEASE": [20]}}, "at '/settings/FEEDBACK_LEASE': got array"),
        ({"networkPolicy": {"redis": {"ports": []}}}, "at '/networkPolicy/redis/ports': minItems"),
        ({"worker": {"autoscaling": {"extraTriggers": [{"type": "cron", "metadata": {}}]}}}, "'metricType'"),
        ({"surprise": True}, "additional properties 'surprise' not allowed"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(chart: Chart, values: dict[str, Any], words: str) -> None:
    """By the schema, before anything reaches the cluster."""
    refused = chart.error(SECRETS, values)

    assert words in refused
    assert "s3cret" not in refused


AUTOSCALED = {"worker": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}}
KEYS = {"gateway": {"enabled": True, "keys": {"existingSecret": "k"}}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"secrets": {"apiKey": {"existingSecret": ""}}}, "secrets.apiKey is not set, and "),
        ({"secrets": {"brokerUrl": {"existingSecret": ""}}}, "that has the key FEEDBACK_BROKER_URL, or value"),
        ({"secrets": {"databaseUrl": {"value": "x"}}}, "secrets.databaseUrl: existingSecret and value are both set"),
        (
            {"secrets": {"databaseUrl": VALUES | {"value": "sqlite:///s3cret"}}},
            "secrets.databaseUrl.value is of SQLite",
        ),
        (merged(KEYS, {"gateway": {"keys": {"existingSecret": ""}}}), "gateway.keys.existingSecret is not set: make"),
        (
            merged(KEYS, {"gateway": {"spool": {"enabled": True}, "autoscaling": {"enabled": True}}}),
            "gateway.spool.enabled and gateway.autoscaling.enabled exclude each other",
        ),
        ({"flower": {"ingress": {"enabled": True}}}, "flower.ingress.hosts is empty"),
        (AUTOSCALED, "worker.autoscaling.minReplicas is 5, and maxReplicas 2"),
        ({"monitoring": {"prometheusRule": {"enabled": True, "without": ["Nothing"]}}}, "names Nothing, which is no"),
    ],
)
def test_values_that_do_not_fit_together_are_refused_with_the_fix(
    chart: Chart, values: dict[str, Any], words: str
) -> None:
    """What a schema can't say, the templates do."""
    refused = chart.error(SECRETS, values)

    assert words in refused
    assert "s3cret" not in refused


PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_what_the_page_shows_are_values(chart: Chart, block: str) -> None:
    """A reader copies them."""
    assert chart.problems(chart.render(yaml.safe_load(block)).all) == []


def test_what_the_page_names_is_there(everything: Objects, chart: Chart) -> None:
    """Deployments, Services, the Job and the pods of the gateway, of a release that has the chart's name."""
    spooled = chart.render(EVERYTHING, SPOOL)
    names = {
        f"{each['kind'].lower()}/{each['metadata']['name'].removeprefix('chat-')}"
        for each in everything.all + spooled.all
    }
    named = {
        name.replace("deploy/aq", "deployment/aq") for name in re.findall(r"(?:deploy|service|job)/aq[\w-]+", PAGE)
    }

    assert named > {"deployment/aquilax-feedback-worker"}
    assert named <= names
    assert set(re.findall(r"exec (aq[\w-]+?)-\d ", PAGE)) == {"aquilax-feedback-gateway"}
    assert "statefulset/aquilax-feedback-gateway" in names


def test_the_archive_has_all_that_the_folder_has(chart: Chart, everything: Objects) -> None:
    """What stands elsewhere in the repository is in it, and no link."""
    assert chart.ask("archived", EVERYTHING) == {"objects": everything.all, "notes": everything.notes}
