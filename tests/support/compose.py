"""docker-compose.yml as Docker Compose reads it, so that each service's own command can run without Docker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Compose", "MissingVariable", "commented_names", "read_env"]

_VARIABLE: Final = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<rule>:[?-])(?P<rest>[^}]*))?\}|\$(?P<bare>\w+)")
"""https://docs.docker.com/reference/compose-file/interpolation/: the forms that the file uses, and ``$$`` for ``$``."""


class MissingVariable(Exception):
    """Docker Compose refuses to start: a ``${NAME:?…}`` has no value."""


@dataclass(frozen=True)
class Compose:
    """The file, or what stays of it after `interpolated`."""

    content: dict[str, Any]

    @classmethod
    def read(cls) -> Self:
        """Read the project's file."""
        return cls(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The services by name."""
        services: dict[str, dict[str, Any]] = self.content["services"]
        return services

    def variables(self) -> set[str]:
        """The names of all the variables that the file asks for."""
        return {name for text in _texts(self.content) for name in _names(text)}

    def interpolated(self, environment: Mapping[str, str]) -> Compose:
        """The file with its variables filled in.

        Raises:
            MissingVariable: One that must have a value has none.
        """
        return Compose(_map(self.content, lambda text: _fill(text, environment)))

    def moved(self, places: Mapping[str, str]) -> Compose:
        """The file with addresses and paths of containers replaced by those of this machine."""

        def move(text: str) -> str:
            for old, new in places.items():
                text = text.replace(old, new)
            return text

        return Compose(_map(self.content, move))

    def health_check(self, service: str) -> list[str]:
        """The command of a service's health check."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        assert kind in {"CMD", "CMD-SHELL"}
        return ["sh", "-c", *words] if kind == "CMD-SHELL" else words


def read_env(text: str) -> dict[str, str]:
    """The variables that a ``.env`` sets."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def commented_names(text: str) -> set[str]:
    """The variables that a ``.env`` shows with their defaults, commented out."""
    return set(re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE))


def _names(text: str) -> set[str]:
    return {name for match in _VARIABLE.finditer(text) if (name := match["name"] or match["bare"])}


def _fill(text: str, environment: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = environment.get(match["name"] or match["bare"], "")
        if not found and match["rule"] == ":?":
            raise MissingVariable(f"{match['name']}: {match['rest']}")
        return found or (match["rest"] or "" if match["rule"] == ":-" else "")

    return _VARIABLE.sub(value, text)


def _texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for child in node.values() for text in _texts(child)]
    if isinstance(node, list):
        return [text for child in node for text in _texts(child)]
    return [node] if isinstance(node, str) else []


def _map(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, dict):
        return {name: _map(child, change) for name, child in node.items()}
    if isinstance(node, list):
        return [_map(child, change) for child in node]
    return change(node) if isinstance(node, str) else node
