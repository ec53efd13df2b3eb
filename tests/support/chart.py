"""The Helm chart as Kubernetes gets it: rendered, and seen as a list of objects."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHART", "EVERYTHING", "SECRETS", "Chart", "Objects", "chart_tool", "merged"]

CHART: Final = ROOT / "deploy" / "helm" / "aquilax-feedback"
_PYTHON: Final = ROOT / ".venv-charts" / "bin" / "python"

SECRETS: Final = {
    "secrets": {
        name: {"existingSecret": "of-ours"}
        for name in ("apiKey", "brokerUrl", "databaseUrl", "outboxUrl", "flowerLogin")
    }
}
"""The least that the chart must be given, and the outbox' URL."""

EVERYTHING: Final[dict[str, Any]] = SECRETS | {
    "worker": {"autoscaling": {"enabled": True, "minReplicas": 0}},
    "exporter": {"enabled": True},
    "gateway": {
        "enabled": True,
        "keys": {"existingSecret": "gateway-keys"},
        "tls": {"existingSecret": "gateway-tls"},
        "autoscaling": {"enabled": True},
        "ingress": {"enabled": True, "className": "nginx", "hosts": ["f.example"], "tls": [{"secretName": "t"}]},
    },
    "flower": {"ingress": {"enabled": True, "hosts": ["flower.example"]}, "extraArgs": ["--url_prefix=flower"]},
    "relay": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "redis": {"ports": [6379, 26379], "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "extraEgress": [{"ports": [{"port": 4317, "protocol": "TCP"}]}],
    },
    "monitoring": {
        "podMonitor": {"enabled": True, "interval": "15s", "gatewayKey": {"existingSecret": "prometheus-key"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    "extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "aquilax-feedback"}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities"}],
    "podLabels": {"team": "chat"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "chat", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
"""All that can be on at once. The spool and the gateway's autoscaling exclude each other."""


def merged(*many: dict[str, Any]) -> dict[str, Any]:
    """Return values over values, as Helm takes several files of them."""
    result: dict[str, Any] = {}
    for given in many:
        for name, value in given.items():
            nested = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if nested else deepcopy(value)
    return result


@dataclass(frozen=True)
class Objects:
    """What a rendering came to."""

    all: list[dict[str, Any]]
    notes: str

    def of(self, kind: str, part: str | None = None) -> dict[str, Any]:
        """The one object of a kind, of a part of the system."""
        (found,) = [
            each
            for each in self.all
            if each["kind"] == kind and part in {None, each["metadata"]["labels"].get("app.kubernetes.io/component")}
        ]
        return found

    def kinds(self) -> set[str]:
        """Which there are."""
        return {each["kind"] for each in self.all}

    def pods(self) -> dict[str, dict[str, Any]]:
        """The specifications of all pods, by their part."""
        found = {}
        for each in self.all:
            spec = each if each["kind"] == "Pod" else each.get("spec", {}).get("template", {})
            if "containers" in spec.get("spec", {}):
                found[each["metadata"]["labels"]["app.kubernetes.io/component"]] = spec["spec"]
        return found

    def container(self, part: str) -> dict[str, Any]:
        """The container of a part."""
        (container,) = self.pods()[part]["containers"]
        return dict(container)

    def environment(self, part: str) -> dict[str, str]:
        """The variables of a part."""
        return {each["name"]: each["value"] for each in self.container(part)["env"]}


@dataclass(frozen=True)
class Chart:
    """Helm and the schemas, in a process with an environment of its own (tests/chart/tool.py)."""

    process: subprocess.Popen[str]

    def ask(self, name: str, given: Any) -> dict[str, Any]:
        """Ask for one thing."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({name: given}) + "\n")
        stdin.flush()
        answer = stdout.readline()
        assert answer, f"tests/chart/tool.py has ended with {self.process.wait(10)}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def render(self, *values: dict[str, Any]) -> Objects:
        """Render with the secrets of `SECRETS`, and these values over them."""
        answer = self.ask("render", merged(SECRETS, *values))
        assert "error" not in answer, answer["error"]
        return Objects(answer["objects"], answer["notes"])

    def error(self, *values: dict[str, Any]) -> str:
        """Render what must not be rendered, and return why it is not."""
        answer = self.ask("render", merged(*values))
        assert "error" in answer, "it is rendered"
        return " ".join(str(answer["error"]).split())

    def problems(self, objects: list[dict[str, Any]]) -> list[str]:
        """What Kubernetes, KEDA or Prometheus' operator would refuse."""
        found: list[str] = self.ask("check", objects)["problems"]
        return found


@contextmanager
def chart_tool(log: Any) -> Iterator[Chart]:
    """Run the process until the block ends; its log goes to a file that is open."""
    if not _PYTHON.exists():
        pytest.fail(f"{_PYTHON} is missing: `make chart` installs it and runs these tests")
    command = [str(_PYTHON), str(ROOT / "tests" / "chart" / "tool.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            yield Chart(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)
