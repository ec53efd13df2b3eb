"""Variables that look like a setting and are none, such as a slip of the keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from producer.environment import FILE
from worker.policy.environment import is_service_link
from worker.settings import SECRETS, Settings, in_dotenv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["given_variables", "unknown_settings"]

_PREFIXES: Final = ("AQUILAX_", "FEEDBACK_")

_OF_OTHERS: Final = frozenset({"FEEDBACK_IMAGE_TAG"})
"""Variables of docker-compose.yml, which reads the same .env."""


def given_variables() -> dict[str, str]:
    """Return the variables of ``.env`` and of the environment, which wins, by their names in capitals."""
    in_file = {name.upper(): value for name, value in in_dotenv().items() if value}
    return in_file | {name.upper(): value for name, value in os.environ.items()}


def unknown_settings(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each that looks like a setting and is none, such as a typo, and what to do.

    Args:
        variables: All of them, by their names in capitals.
    """
    known = [*map(str.upper, Settings.model_fields), *(f"{name}{FILE}" for name in SECRETS)]
    for name, value in sorted(variables.items()):
        if not name.startswith(_PREFIXES) or name in known or name in _OF_OTHERS or is_service_link(name, value):
            continue
        from difflib import get_close_matches  # noqa: PLC0415 - only a slip of the keys needs it

        near = get_close_matches(name, known, n=1)
        meant = f"it is {near[0]} that is meant, perhaps" if near else "docs/settings.md has all there are"
        yield name, f"rename or unset it: {meant}"
