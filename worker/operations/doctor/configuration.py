"""The settings: each wrong one by its name, those that stand in two places, and those that mean nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from worker.clients.aquilax.keys import KeysFileError, ring_of
from worker.gateway.key_file import KeyFileError, read_keys
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.settings import Settings, SettingsError, load_settings
from worker.unknown_settings import given_variables, unknown_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Given", "look_at_settings", "read_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The settings as far as they can be read.

    Attributes:
        settings: All of them; a wrong one has its default.
        wrong: What is wrong with each wrong one, by its variable's name.
    """

    settings: Settings
    wrong: Mapping[str, str]

    def has(self, *names: str) -> bool:
        """Whether what these variables say can be used: a default in the place of a wrong address says nothing."""
        return not any(name in self.wrong for name in names)


def read_settings() -> Given:
    """Read the settings, and go on with what can be read."""
    wrong: dict[str, str] = {}
    while True:
        defaults = {name.lower(): Settings.model_fields[name.lower()].default for name in wrong}
        try:
            return Given(settings=load_settings(**defaults), wrong=wrong)
        except SettingsError as error:
            found = dict(line.split(": ", 1) for line in str(error).splitlines())
            # A default may not fit to what is given (a master's name without sentinels): then neither is used.
            if not found.keys() - wrong.keys():
                defaults = {name: field.default for name, field in Settings.model_fields.items()}
                return Given(settings=load_settings(**defaults), wrong=wrong)
            wrong |= found


def look_at_settings(given: Given) -> Iterator[Finding]:
    """Check the settings."""
    for name, problem in given.wrong.items():
        yield red("settings", f"{name} is wrong", fix=f"{name}: {problem}")
    if not given.wrong:
        yield green("settings", "all can be read")
    yield _key(given)
    yield from _gateway_keys(given.settings)
    in_file = {name.upper(): value for name, value in dotenv_values(".env").items() if value}
    yield from _shadowed(in_file)
    for name, advice in unknown_settings(given_variables()):
        yield yellow("settings", f"{name} is set, and no setting", fix=advice)


def _key(given: Given) -> Finding:
    check = "key"
    if given.settings.aquilax_keys_file is not None:
        try:
            ring = ring_of(given.settings)
        except KeysFileError as error:
            summary, _, fix = str(error).rpartition(": ")
            return red(check, summary, fix=f"{fix}; workers that run go on with the keys of before")
        orgs = sum(len(one.orgs) for one in ring.named)
        others = "every other org has AQUILAX_API_KEY" if ring.default.secret else "events of every other org wait"
        return green(check, f"AQUILAX_KEYS_FILE has {len(ring.named)} keys for {orgs} orgs; {others}")
    if not given.has("AQUILAX_API_KEY"):
        return red(check, "AQUILAX_API_KEY can't be used", fix="set it to a Personal Access Token of AquilaX")
    try:
        given.settings.require_api_key()
    except SettingsError:
        fix = "set it to a Personal Access Token of AquilaX, or run the doctor where the workers run"
        return red(check, "AQUILAX_API_KEY is not set here: no worker starts without it", fix=fix)
    return green(check, "AQUILAX_API_KEY is set")


def _gateway_keys(settings: Settings) -> Iterator[Finding]:
    """Where a gateway is set up: a file that breaks while it runs is an error in its log alone."""
    if (path := settings.feedback_gateway_keys_file) is None:
        return
    try:
        keys = read_keys(path)
    except KeyFileError as error:
        summary, _, fix = str(error).rpartition(": ")
        yield red("gateway", summary, fix=fix)
        return
    if keys:
        yield green("gateway", f"{len(keys)} clients have a key")
    else:
        yield yellow("gateway", "no client has a key", fix="aquilax-feedback gateway keys add NAME")


def _shadowed(in_file: Mapping[str, str | None]) -> Iterator[Finding]:
    """A change to a file that is not read looks like one without effect."""
    for name in map(str.upper, Settings.model_fields):
        outside = os.environ.get(name)
        if outside and in_file.get(name) and outside != in_file[name]:
            summary = f"{name} stands in .env, and otherwise in the environment, which wins"
            yield yellow("settings", summary, fix=f"unset {name} in the environment, or take it out of .env")
