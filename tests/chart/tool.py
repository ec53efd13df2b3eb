"""Helm, and the schemas of what it renders, as one process: run by the environment of `make chart`, by nothing else.

It reads requests from standard input, a JSON object a line, and answers each with a line; a request has one key:

- ``render``: the values; answered with ``objects`` and ``notes``, or with ``error``.
- ``archived``: the same, from an archive of the chart.
- ``lint``: the values; answered with ``problems``.
- ``check``: objects; answered with ``problems``: whatever a server of the oldest or the newest Kubernetes would refuse.
"""

from __future__ import annotations

import json
import sys
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import helm_python
import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHART: Final = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "aquilax-feedback"
VERSIONS: Final = ("1.27", "1.37")
"""The oldest that the chart says it is for, and the newest whose schema there is."""

utils.schema_contents = lru_cache(maxsize=None)(utils.schema_contents)  # megabytes, read for each object


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands there twice, of which YAML's readers take one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"keys twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def archived(values: dict[str, Any]) -> dict[str, Any]:
    """Render the chart from its archive, as it is put into a registry."""
    with TemporaryDirectory() as folder:
        return render(values, Path(helm_python.package(CHART, destination=folder)))


def render(values: dict[str, Any], path: Path = CHART) -> dict[str, Any]:
    """Render the chart as the release `chat` in the namespace `feedback`."""
    with helm_python.Chart.load(path) as chart:
        try:
            rendered = chart.render(values, name="chat", namespace="feedback")
        except helm_python.HelmError as error:
            return {"error": str(error)}
    notes = next(text for name, text in rendered.items() if name.endswith("NOTES.txt"))
    objects = [
        each
        for name, text in sorted(rendered.items())
        if not name.endswith("NOTES.txt")
        for each in yaml.load_all(text, _Loader)
        if each
    ]
    return {"objects": objects, "notes": notes}


def lint(values: dict[str, Any]) -> dict[str, Any]:
    """Lint the chart; a warning is a problem too, and what Helm only mentions is none."""
    report = helm_python.lint(CHART, values, strict=True)
    problems = [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] > 1]
    return {"problems": problems + report["errors"]}


def check(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Check objects strictly: a field that the schema does not have is a problem, as is a kind without a schema."""
    return {"problems": [problem for each in objects for problem in _problems(each)]}


def _problems(given: dict[str, Any]) -> Iterator[str]:
    where = f"{given['kind']}/{given['metadata']['name']}"
    schemas = _custom_schemas()
    kind = (given["apiVersion"], given["kind"])
    if kind in schemas:
        yield from (f"{where}: {error.json_path}: {error.message}" for error in schemas[kind].iter_errors(given))
        return
    for version in VERSIONS:
        try:
            validated = kubernetes_validate.validate(given, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{where} in {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{where}: {error.message}"
        else:
            if validated != version:  # it takes the next older one without a word
                yield f"{where}: there is no schema of Kubernetes {version}"


@cache
def _custom_schemas() -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject  # noqa: PLC0415 - seconds, which rendering does not need
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule  # noqa: PLC0415 - likewise

    kinds = (
        ("keda.sh/v1alpha1", ScaledObject),
        ("monitoring.coreos.com/v1", PodMonitor),
        ("monitoring.coreos.com/v1", PrometheusRule),
    )
    return {
        (version, model.__name__): jsonschema.Draft202012Validator(_strict(model.model_json_schema(by_alias=True)))
        for version, model in kinds
    }


def _strict(schema: Any) -> Any:
    """Close each object of a schema that leaves unknown fields open, and spell its patterns as Python does."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(each) for name, each in schema.items()}
    if isinstance(strict.get("properties"), dict) and "additionalProperties" not in strict:
        strict["additionalProperties"] = False
    if isinstance(pattern := strict.get("pattern"), str) and "(?i)" in pattern:
        strict["pattern"] = "(?i)" + pattern.replace("(?i)", "")
    return strict


_ANSWERS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "archived": archived,
    "check": check,
    "lint": lint,
    "render": render,
}


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        ((name, given),) = json.loads(line).items()
        print(json.dumps(_ANSWERS[name](given)), flush=True)  # noqa: T201 - it is the answer


if __name__ == "__main__":
    main()
