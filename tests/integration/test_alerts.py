"""The alert rules are what Prometheus takes, and ring when they should and not otherwise: promtool says so."""

from __future__ import annotations

import subprocess

import yaml

from tests.support.processes import ROOT, need

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
CASES = ROOT / "tests" / "integration" / "alerts.yml"


def promtool(*arguments: str) -> str:
    """Run promtool, which must find nothing wrong."""
    ended = subprocess.run([need("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_rules_are_valid() -> None:
    """And as many as stand there."""
    count = len(yaml.safe_load(RULES.read_text())["groups"][0]["rules"])

    assert f"SUCCESS: {count} rules found" in promtool("check", "rules", str(RULES))


def test_the_configuration_is_valid() -> None:
    """With the rules that it names."""
    assert "SUCCESS" in promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_each_alert_rings_when_it_should_and_not_otherwise() -> None:
    """By series of what the metrics could be."""
    assert "SUCCESS" in promtool("test", "rules", str(CASES))


def test_every_alert_has_a_case() -> None:
    """A rule that never rings would be found out when it is too late."""
    cases = CASES.read_text()
    alerts = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]

    assert [
        alert for alert in alerts if f'alertname="{alert}"' not in cases and f"alertname: {alert}" not in cases
    ] == []
