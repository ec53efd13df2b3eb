"""Variables that look like settings and are none: a typo, or a name of an older release, which changes nothing."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from dotenv import dotenv_values

from worker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["given_variables", "unknown_settings"]

_PREFIXES: Final = ("AQUILAX_", "FEEDBACK_")

_OF_OTHERS: Final = frozenset({"FEEDBACK_IMAGE_TAG"})
"""Variables of docker-compose.yml, which reads the same .env."""

_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
"""The end of a variable that Kubernetes sets in each container for a Service, such as one that is called `feedback`."""
_LINKED: Final = re.compile(r"(tcp|udp|sctp)://")


def given_variables() -> dict[str, str]:
    """Return the variables of ``.env`` and of the environment, which wins, by their names in capitals."""
    in_file = {name.upper(): value for name, value in dotenv_values(".env").items() if value}
    return in_file | {name.upper(): value for name, value in os.environ.items()}


def unknown_settings(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each that is no setting, and what to do.

    Args:
        variables: All of them, by their names in capitals.
    """
    known = [name.upper() for name in Settings.model_fields]
    for name, value in sorted(variables.items()):
        if not name.startswith(_PREFIXES) or name in known or name in _OF_OTHERS or _is_service_link(name, value):
            continue
        near = get_close_matches(name, known, n=1)
        meant = f"it is {near[0]} that is meant, perhaps" if near else "docs/settings.md has all there are"
        yield name, f"rename or unset it: {meant}"


def _is_service_link(name: str, value: str) -> bool:
    found = _SERVICE_LINK.search(name)
    if found is None or found.end() != len(name):
        return False
    return found[0] != "_PORT" or _LINKED.match(value) is not None
