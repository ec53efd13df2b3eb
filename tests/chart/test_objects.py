"""What the objects say: secrets as files, least rights, and numbers that fit to one another."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.chart import CHART, EVERYTHING, Chart, Objects, merged
from tests.support.processes import ROOT
from worker.settings import SECRETS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = ("worker", "exporter", "gateway", "flower", "relay", "migrate", "doctor")
NEEDED = {
    "worker": {"AQUILAX_API_KEY", "FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL"},
    "exporter": {"FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL"},
    "gateway": {"FEEDBACK_BROKER_URL"},
    "flower": {"FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL", "FLOWER_BASIC_AUTH"},
    "relay": {"FEEDBACK_BROKER_URL", "FEEDBACK_OUTBOX_URL"},
    "migrate": {"FEEDBACK_DATABASE_URL"},
    "doctor": {"AQUILAX_API_KEY", "FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL"},
}
GIVEN = {
    "secrets": {
        name: {"existingSecret": "", "value": f"s3cret-{name}"}
        for name in ("apiKey", "brokerUrl", "databaseUrl", "outboxUrl", "flowerLogin")
    }
}


@pytest.mark.parametrize("part", PARTS)
def test_each_variable_is_a_setting(everything: Objects, part: str) -> None:
    """A name that is none would change nothing, and nobody would notice."""
    settings = {name.upper() for name in Settings.model_fields} | {f"{name}_FILE" for name in SECRETS}
    ours = {
        name for name in everything.environment(part) if name not in {"OTEL_SERVICE_NAME", "FLOWER_BASIC_AUTH_FILE"}
    }

    assert ours <= settings
    assert not ours & set(SECRETS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_gets_the_secrets_that_it_needs_and_no_other(everything: Objects, part: str) -> None:
    """As files, at the very paths that its variables name; the group may read them, and nobody else."""
    environment = everything.environment(part)
    (volume,) = [each["projected"] for each in everything.pods()[part]["volumes"] if each["name"] == "secrets"]
    (mount,) = [each for each in everything.container(part)["volumeMounts"] if each["name"] == "secrets"]
    files = [item["path"] for source in volume["sources"] for item in source["secret"]["items"]]

    assert set(files) == NEEDED[part]
    assert volume["defaultMode"] == 0o440
    assert {environment[f"{name}_FILE"] for name in files} == {f"{mount['mountPath']}/{name}" for name in files}
    assert {name for name in environment if name.endswith("_FILE")} == {f"{name}_FILE" for name in files} | (
        {"FEEDBACK_GATEWAY_KEYS_FILE"} if part == "gateway" else set()
    )


def test_a_proxy_that_names_users_is_a_login_of_flowers(chart: Chart) -> None:
    """Then Flower needs no other; one that is given is kept. Without either nothing is rendered."""
    header = {"FEEDBACK_DASHBOARD_PROXY_ADDRESSES": "10.0.0.7", "FEEDBACK_DASHBOARD_PROXY_HEADER": "X-Forwarded-User"}
    without = merged(EVERYTHING, {"secrets": {"flowerLogin": {"existingSecret": ""}}})
    proxied = {"flower": {"settings": header}}

    assert "FLOWER_BASIC_AUTH_FILE" not in chart.render(without, proxied).environment("flower")
    assert "FLOWER_BASIC_AUTH_FILE" in chart.render(EVERYTHING, proxied).environment("flower")
    assert "secrets.flowerLogin is not set, and flower needs it" in chart.error(without)


def test_who_is_told_is_a_secret_of_workers_and_of_the_doctor(chart: Chart) -> None:
    """Where it is given: nobody need be told."""
    names = {"FEEDBACK_NOTIFY_URLS", "FEEDBACK_NOTIFY_SECRET"}
    told = {"notifyUrls": {"existingSecret": "of-ours"}, "notifySecret": {"value": "whsec_s3cret"}}
    rendered = chart.render(EVERYTHING, {"secrets": told})

    for part in PARTS:
        (volume,) = [each["projected"] for each in rendered.pods()[part]["volumes"] if each["name"] == "secrets"]
        files = {item["path"] for source in volume["sources"] for item in source["secret"]["items"]}
        assert files == NEEDED[part] | (names if part in {"worker", "doctor"} else set())
    assert rendered.environment("worker")["FEEDBACK_NOTIFY_URLS_FILE"].endswith("/FEEDBACK_NOTIFY_URLS")
    others = json.dumps([each for each in rendered.all if each["kind"] != "Secret"])
    assert "whsec_s3cret" not in others + rendered.notes


def test_keys_of_single_orgs_are_a_file_of_workers_and_of_the_doctor(chart: Chart) -> None:
    """Beside the key of all others, or in its place."""
    given = {"secrets": {"orgKeys": {"existingSecret": "of-orgs"}}}
    alone = merged(given, {"secrets": {"apiKey": {"existingSecret": ""}}})

    for more, key in ((given, {"AQUILAX_API_KEY"}), (alone, set())):
        rendered = chart.render(EVERYTHING, more)
        for part in PARTS:
            (volume,) = [each["projected"] for each in rendered.pods()[part]["volumes"] if each["name"] == "secrets"]
            files = {item["path"] for source in volume["sources"] for item in source["secret"]["items"]}
            keys = key | {"AQUILAX_KEYS"} if part in {"worker", "doctor"} else set()
            assert files == NEEDED[part] - {"AQUILAX_API_KEY"} | keys
        assert rendered.environment("worker")["AQUILAX_KEYS_FILE"] == "/run/secrets/feedback/AQUILAX_KEYS"
    assert "secrets.apiKey is not set, and " in chart.error(
        merged(EVERYTHING, {"secrets": {"apiKey": {"existingSecret": ""}}})
    )


def test_a_secret_that_is_given_stands_in_secrets_alone(chart: Chart) -> None:
    """And the Job, which comes before the chart's own Secret, has one of its own that goes with it."""
    rendered = chart.render(EVERYTHING, GIVEN)
    secrets = [each for each in rendered.all if each["kind"] == "Secret"]
    others = json.dumps([each for each in rendered.all if each["kind"] != "Secret"])

    assert "s3cret" not in others + rendered.notes
    assert {name: len(each["stringData"]) for each in secrets if (name := each["metadata"]["name"])} == {
        "chat-aquilax-feedback": 5,
        "chat-aquilax-feedback-migrate": 1,
    }
    (temporary,) = [each for each in secrets if "annotations" in each["metadata"]]
    assert _secret_of(rendered, "migrate") == [temporary["metadata"]["name"]]
    assert int(temporary["metadata"]["annotations"]["helm.sh/hook-weight"]) < int(_job_weight(rendered))


def _secret_of(rendered: Objects, part: str) -> list[str]:
    (volume,) = [each["projected"] for each in rendered.pods()[part]["volumes"] if each["name"] == "secrets"]
    return [source["secret"]["name"] for source in volume["sources"]]


def _job_weight(rendered: Objects) -> str:
    return str(rendered.of("Job")["metadata"]["annotations"]["helm.sh/hook-weight"])


def test_what_the_job_needs_is_there_before_it(everything: Objects) -> None:
    """Hooks come before all else: the chart's own account would not be there, nor a policy that lets it out."""
    policy = everything.of("NetworkPolicy", "migrate")

    assert everything.pods()["migrate"]["serviceAccountName"] == "default"
    assert policy["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(policy["metadata"]["annotations"]["helm.sh/hook-weight"]) < int(_job_weight(everything))


def test_a_new_secret_starts_pods_again(chart: Chart) -> None:
    """Those that read it: a file that changes is not read again."""
    changed = {"secrets": {"apiKey": {"value": "s3cret-new"}}}
    before, after = chart.render(EVERYTHING, GIVEN), chart.render(EVERYTHING, GIVEN, changed)

    def template(rendered: Objects, part: str) -> Any:
        return rendered.of("Deployment", part)["spec"]["template"]

    assert template(before, "worker") != template(after, "worker")
    assert template(before, "relay") == template(after, "relay")


@pytest.mark.parametrize("part", PARTS)
def test_a_pod_may_do_nothing_that_it_need_not(everything: Objects, part: str) -> None:
    """No root, no capability, no token, no file of its own but in memory; and a limit for that."""
    pod, container = everything.pods()[part], everything.container(part)

    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert writable <= {"/tmp", "/etc/authorities"}  # noqa: S108 - the pod's own, in memory
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}


def test_any_user_will_do(chart: Chart) -> None:
    """Where the cluster gives out users and groups, none is asked for."""
    rendered = chart.render({"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}})

    assert rendered.pods()["worker"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize("timeout", [1, 20, 120])
def test_a_worker_is_not_killed_before_its_own_deadline(chart: Chart, timeout: int) -> None:
    """Its timeout, the 3 seconds that its end takes at most, and some."""
    rendered = chart.render({"worker": {"shutdownTimeout": timeout}})

    assert rendered.environment("worker")["FEEDBACK_SHUTDOWN_TIMEOUT"] == str(timeout)
    assert rendered.pods()["worker"]["terminationGracePeriodSeconds"] > timeout + 3


def test_a_gateway_is_not_killed_before_its_own_deadline(chart: Chart) -> None:
    """The time before it is told to stop counts too."""
    times = {"shutdownTimeout": 40, "preStopSeconds": 15}
    rendered = chart.render(EVERYTHING, {"gateway": times})

    assert rendered.environment("gateway")["FEEDBACK_SHUTDOWN_TIMEOUT"] == "40"
    assert rendered.container("gateway")["lifecycle"]["preStop"] == {"exec": {"command": ["sleep", "15"]}}
    assert rendered.pods()["gateway"]["terminationGracePeriodSeconds"] > 40 + 15
    assert rendered.pods()["flower"]["terminationGracePeriodSeconds"] > 5


def test_numbers_are_written_as_programs_read_them(chart: Chart) -> None:
    """YAML's numbers are floats to Go's templates, which would write 1.073741824e+09; and 0 and false are values."""
    all_parts = {"FEEDBACK_SPOOL_MAX_BYTES": 1073741824, "FEEDBACK_RETRY_BASE": 0.5, "FEEDBACK_LOG_SAMPLE": 1}
    rendered = chart.render({"settings": all_parts, "worker": {"settings": {"FEEDBACK_LOG_SAMPLE": 0}}})

    environment = rendered.environment("worker")
    assert environment["FEEDBACK_SPOOL_MAX_BYTES"] == "1073741824"
    assert environment["FEEDBACK_RETRY_BASE"] == "0.5"
    assert (environment["FEEDBACK_LOG_SAMPLE"], rendered.environment("flower")["FEEDBACK_LOG_SAMPLE"]) == ("0", "1")


def test_who_scales_decides_alone(chart: Chart, default: Objects, everything: Objects) -> None:
    """A number of replicas beside a scaler would undo with each upgrade what that one has decided."""
    assert default.of("Deployment", "worker")["spec"]["replicas"] == 2
    assert "replicas" not in everything.of("Deployment", "worker")["spec"]
    assert "replicas" not in everything.of("Deployment", "gateway")["spec"]
    fixed = chart.render(EVERYTHING, {"gateway": {"autoscaling": {"enabled": False}, "replicas": 3}})
    assert fixed.of("Deployment", "gateway")["spec"]["replicas"] == 3


def test_a_spool_outlives_its_pod(chart: Chart) -> None:
    """What was answered with 200 is durable: its folder is in a volume that the next pod of this number gets."""
    values = {"gateway": {"autoscaling": {"enabled": False}, "spool": {"enabled": True}}}
    rendered = chart.render(EVERYTHING, values)
    stateful = rendered.of("StatefulSet", "gateway")["spec"]
    (mount,) = [each for each in rendered.container("gateway")["volumeMounts"] if each["name"] == "spool"]
    (claim,) = stateful["volumeClaimTemplates"]

    assert rendered.environment("gateway")["FEEDBACK_SPOOL_DIR"].startswith(mount["mountPath"] + "/")
    assert claim["metadata"]["name"] == "spool"
    assert "persistentVolumeClaimRetentionPolicy" not in stateful
    assert "FEEDBACK_SPOOL_DIR" not in chart.render(EVERYTHING).environment("gateway")


def test_the_rules_are_those_of_the_repository(chart: Chart, everything: Objects) -> None:
    """The file itself is in the chart, and not a copy; one may be left out by its name."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    fixed = {"worker": {"autoscaling": {"enabled": False}}}
    without = chart.render(EVERYTHING, fixed, {"monitoring": {"prometheusRule": {"without": ["FeedbackDies"]}}})
    dashboard = everything.of("ConfigMap")["data"]["aquilax-feedback.json"]

    assert chart.render(EVERYTHING, fixed).of("PrometheusRule")["spec"]["groups"] == rules
    assert [rule for rule in rules[0]["rules"] if rule["alert"] != "FeedbackDies"] == without.of("PrometheusRule")[
        "spec"
    ]["groups"][0]["rules"]
    assert dashboard == (ROOT / "deploy" / "grafana" / "aquilax-feedback.json").read_text()
    assert all((CHART / "files" / name).is_symlink() for name in ("alerts.yml", "dashboard.json"))


def test_where_keda_scales_starts_of_workers_are_no_alarm(chart: Chart, everything: Objects) -> None:
    """A worker that is started for each event of a quiet night does not end again and again."""
    fixed = chart.render(EVERYTHING, {"worker": {"autoscaling": {"enabled": False}}})

    def alerts(rendered: Objects) -> set[str]:
        return {rule["alert"] for group in rendered.of("PrometheusRule")["spec"]["groups"] for rule in group["rules"]}

    assert alerts(fixed) - alerts(everything) == {"FeedbackRestarts"}


def test_the_jobs_are_those_that_the_alerts_go_by(everything: Objects) -> None:
    """Prometheus' operator would call each by its PodMonitor; an exporter must not pass for a worker."""
    jobs = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: endpoint["relabelings"][0]["replacement"]
        for each in everything.all
        if each["kind"] == "PodMonitor"
        for endpoint in each["spec"]["podMetricsEndpoints"]
    }
    alerts = json.dumps(everything.of("PrometheusRule")["spec"])

    assert set(re.findall(r'job=\\"([^"\\]+)', alerts)) == {jobs["worker"]}
    assert len(set(jobs.values())) == len(jobs) == 4


def _ports(objects: Objects) -> Iterator[tuple[str, str]]:
    """The ports that are named, with their parts."""
    for each in objects.all:
        part = each["metadata"]["labels"].get("app.kubernetes.io/component")
        if each["kind"] == "Service":
            yield from ((part, port["targetPort"]) for port in each["spec"]["ports"])
        elif each["kind"] == "PodMonitor":
            yield from ((part, endpoint["port"]) for endpoint in each["spec"]["podMetricsEndpoints"])
        elif each["kind"] == "NetworkPolicy":
            yield from ((part, port["port"]) for rule in each["spec"]["ingress"] for port in rule["ports"])
    for part in objects.pods():
        probes = (objects.container(part).get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness"))
        yield from ((part, next(iter(probe.values()))["port"]) for probe in probes if probe)


def test_every_port_that_is_named_is_one_of_its_pod(everything: Objects) -> None:
    """A name without a port is a probe that fails, or a policy that lets nobody in."""
    named = list(_ports(everything))
    assert len(named) > 15
    for part, port in named:
        assert port in {each["name"] for each in everything.container(part)["ports"]}, (part, port)


@pytest.mark.parametrize("values", [{}, {"worker": {"metrics": {"enabled": False}}, "flower": {"enabled": False}}])
def test_each_service_finds_pods_and_each_policy_too(chart: Chart, values: dict[str, Any]) -> None:
    """A selector is a subset of the labels of the pods that it is for, and of no others."""
    rendered = chart.render(EVERYTHING, values)
    labels = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: (
            each["spec"]["template"]["metadata"]["labels"] if each["kind"] != "Pod" else each["metadata"]["labels"]
        )
        for each in rendered.all
        if each["kind"] in {"Deployment", "StatefulSet", "Job", "Pod"}
    }
    for each in rendered.all:
        selector = each.get("spec", {}).get("podSelector") or each.get("spec", {}).get("selector")
        if selector:
            wanted = selector.get("matchLabels", selector).items()
            chosen = [part for part, has in labels.items() if wanted <= has.items()]
            assert chosen == [each["metadata"]["labels"]["app.kubernetes.io/component"]], each["metadata"]["name"]


def test_two_releases_in_one_namespace_do_not_meet(chart: Chart) -> None:
    """Names and selectors have the release's name; a long one leaves room for what Kubernetes adds."""
    long = chart.render({"fullnameOverride": "x" * 60})

    assert all(len(each["metadata"]["name"]) <= 46 for each in long.all)
    selector = chart.render().of("Deployment", "worker")["spec"]["selector"]["matchLabels"]
    assert selector["app.kubernetes.io/instance"] == "chat"


def test_the_notes_name_what_is_there(chart: Chart, default: Objects) -> None:
    """Each object that a command of the notes names."""
    for rendered in (default, chart.render(EVERYTHING), chart.render(EVERYTHING, {"worker": {"enabled": False}})):
        names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in rendered.all}
        named = re.findall(r"(?:deploy|service)/[\w-]+", rendered.notes)
        assert {each.replace("deploy/", "deployment/") for each in named} <= names
        assert named


def test_with_sentinels_the_job_runs_all_the_same(chart: Chart) -> None:
    """It has no URL of Redis, which the name of a master needs beside it."""
    rendered = chart.render(merged(EVERYTHING, {"settings": {"FEEDBACK_SENTINEL_MASTER": "mymaster"}}))

    assert "FEEDBACK_SENTINEL_MASTER" in rendered.environment("worker")
    assert "FEEDBACK_SENTINEL_MASTER" not in rendered.environment("migrate")
