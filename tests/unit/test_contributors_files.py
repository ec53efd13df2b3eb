"""What meets a contributor: the hooks of git, and the forms of issues."""

from __future__ import annotations

import re

import yaml

from tests.support.processes import ROOT


def test_the_hooks_are_the_checks() -> None:
    """Those of `make check`, so that a commit that passes them passes there."""
    (check,) = re.findall(r"^check: .*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]

    commands = [line.strip().replace("$(VENV)", ".venv") for line in check.splitlines()]
    assert [hook["entry"] for hook in repository["hooks"]] == commands


def test_each_form_asks_for_something() -> None:
    """A form that the host can't read is left out by it without a word."""
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert {form.stem for form in forms} == {"bug", "idea"}
    for form in (yaml.safe_load(form.read_text()) for form in forms):
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert form["name"]
        assert form["description"]
        assert all(field["attributes"]["label"] for field in fields)
        assert len({field["id"] for field in fields}) == len(fields)
        assert any(field["validations"]["required"] for field in fields if "validations" in field)
