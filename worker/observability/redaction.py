"""No secret in a log: what is known to be one, and what looks like a login in a URL, is taken out of every line."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from worker.clients.aquilax.keys import KeysFileError, ring_of
from worker.policy.notification_receiver import secret_tokens
from worker.policy.redaction import Redaction, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.settings import Settings

__all__ = ["Redactor", "redaction_of", "secrets_of"]


def secrets_of(settings: Settings) -> set[str]:
    """Return what must not stand in a log: the keys, and what is secret in the URLs, as meant and as written."""
    found = secrets_in_url(settings.feedback_broker_url.get_secret_value())
    found |= secrets_in_url(settings.feedback_database_url.get_secret_value())
    if settings.feedback_outbox_url is not None:
        found |= secrets_in_url(settings.feedback_outbox_url.get_secret_value())
    if settings.aquilax_api_key is not None:
        found.add(settings.aquilax_api_key.get_secret_value())
    with suppress(KeysFileError):  # a program that can't read them has none to show
        found |= ring_of(settings).secrets
    found |= _secrets_of_notifications(settings)
    return found | {quote(secret, safe="") for secret in found}


def _secrets_of_notifications(settings: Settings) -> set[str]:
    found = set()
    if settings.feedback_notify_secret is not None:
        found |= set(settings.feedback_notify_secret.get_secret_value().split())
    for receiver in settings.receivers:
        found |= secret_tokens(receiver.url) | secrets_in_url(receiver.url)
    return found


def redaction_of(settings: Settings) -> Redaction:
    """Return what takes these secrets out of a text."""
    return Redaction(secrets_of(settings))


class Redactor:
    """Takes secrets out of everything that is logged.

    Args:
        secrets: What is known to be secret.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = frozenset(secrets)
        self.clean = Redaction(self._secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Take these out as well from now on, and go on with those that were known before."""
        found = frozenset(secrets)
        if not found <= self._secrets:
            self._secrets |= found | {quote(secret, safe="") for secret in found}
            self.clean = Redaction(self._secrets)

    def __call__(self, line: dict[str, object]) -> dict[str, object]:
        """Clean the texts of a line, in their place."""
        texts = {name: value for name, value in line.items() if isinstance(value, str)}
        if self.clean.may_be_needed("\n".join(texts.values())):
            line.update({name: self.clean(value) for name, value in texts.items()})
        return line
