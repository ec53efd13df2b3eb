"""The Helm chart's files, as they are read; what is rendered of them is tested by `make chart`."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import yaml

from producer import __version__
from tests.support.chart import CHART
from tests.support.processes import ROOT
from worker.settings import SECRETS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return dict(SCHEMA["definitions"][name]) if name else schema


def _names(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, set[str], set[str]]]:
    """Where, the names of the values, and those of the schema, for each object whose names are fixed."""
    schema = _resolved(schema)
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        yield path or "values", set(values), set(schema["properties"]) - ({"global"} if not path else set())
        for name, value in values.items():
            if isinstance(value, dict):
                yield from _names(value, schema["properties"][name], f"{path}.{name}")


def test_the_schema_knows_the_values_and_no_others() -> None:
    """What could be set and stands nowhere, nobody would find; what the schema forgets can't be set."""
    found = [each for each in _names(VALUES, SCHEMA) if not each[0].endswith((".resources", ".annotations"))]

    assert len(found) > 25
    for where, given, known in found:
        assert given == known, where


def test_the_values_as_they_stand_are_valid() -> None:
    """By their own schema, which is one itself."""
    jsonschema_rs.meta.validate(SCHEMA)
    assert jsonschema_rs.is_valid(SCHEMA, VALUES)
    assert not jsonschema_rs.is_valid(SCHEMA, VALUES | {"surprise": 1})


def test_every_value_is_explained() -> None:
    """By a comment on the line above it; what stands inside one that holds any object is that one's example."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    unexplained = [
        line
        for above, line in itertools.pairwise(lines)
        if re.match(r" *[a-zA-Z]+:( |$)", line)
        and not above.lstrip().startswith("#")
        and not line.strip().endswith(":")
        and not re.match(r" +(maxSkew|whenUnsatisfiable|requests|limits|type: RuntimeDefault)", line)
    ]

    assert unexplained == []


def test_the_templates_use_values_that_there_are() -> None:
    """Helm takes a name that is none for nothing, without a word."""
    used = {
        match
        for file in (CHART / "templates").rglob("*.*")
        for match in re.findall(r"(?<!\w)(?:\$?\.root|\$)?\.Values\.([\w.]+)", file.read_text())
    }

    assert len(used) > 40
    for path in used:
        inside: Any = VALUES
        for name in path.split("."):
            if not isinstance(inside, dict) or name.startswith("FEEDBACK_"):
                break
            assert name in inside, path
            inside = inside[name]


def test_what_settings_may_not_have_are_settings() -> None:
    """Those that the chart decides, and the secrets, in a variable or in a file."""
    refused = set(SCHEMA["definitions"]["settings"]["properties"])
    names = {name.upper() for name in Settings.model_fields}

    assert refused <= names | {f"{name}_FILE" for name in SECRETS}
    assert {*SECRETS, *(f"{name}_FILE" for name in SECRETS)} <= refused


def test_the_chart_is_of_this_release() -> None:
    """Its image's tag is the release, unless another one is given."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["version"] == chart["appVersion"] == __version__


def test_ci_renders_the_chart() -> None:
    """`make test` does not, so nobody would notice if it were forgotten."""
    assert re.search(r"^make .*\bchart\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
