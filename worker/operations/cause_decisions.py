"""What an operator does with a cause: acknowledge, resolve, reopen, mute, assign, note; and what each takes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from worker.database.cause_models import MAX_URL_LENGTH, CauseState
from worker.database.models import MAX_ACTOR_LENGTH
from worker.dead_letters.triage import change
from worker.operations.text import read_time_to_come
from worker.policy.parsing import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.dead_letters.triage import Triage

__all__ = ["VALUES", "Verb", "decide"]


class Verb(StrEnum):
    """What an operator does with a cause."""

    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    REOPEN = "reopen"
    MUTE = "mute"
    UNMUTE = "unmute"
    ASSIGN = "assign"
    RUNBOOK = "runbook"
    NOTE = "note"


VALUES: Final[Mapping[Verb, str]] = {Verb.MUTE: "until", Verb.ASSIGN: "owner", Verb.RUNBOOK: "url"}
"""The name of the value that goes with a verb; the others have none."""


def decide(
    engine: Engine, fingerprint: str, verb: Verb, *, value: str = "", comment: str = "", actor: str, now: datetime
) -> Triage:
    """Do something with a cause.

    Args:
        engine: The database.
        fingerprint: The cause.
        verb: What.
        value: The value that `VALUES` names: until when it is muted, who its owner is, or where its runbook is; an
            empty owner or runbook takes away what there was.
        comment: The operator's comment; the text of a note.
        actor: The operator.
        now: This moment.

    Raises:
        ValueError: The value or the comment is none; the message names it and says what is expected.
        NoSuchCause: Nothing has died of it, or it was forgotten.
    """
    if verb is Verb.NOTE and not comment:
        raise ValueError("comment: expected the text of the note")
    values, more = _values(verb, value, now)
    return change(engine, fingerprint, action=verb.value, values=values, actor=actor, comment=comment, details=more)


def _values(verb: Verb, value: str, now: datetime) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the columns that a verb changes, and what the audit log has besides."""
    match verb:
        case Verb.ACKNOWLEDGE | Verb.RESOLVE | Verb.REOPEN:
            return {"state": _DECIDED[verb], "changed_at": now}, {}
        case Verb.MUTE:
            until = _until(value, now)
            return {"muted_until": until}, {"until": until.isoformat()}
        case Verb.UNMUTE:
            return {"muted_until": None}, {}
        case Verb.ASSIGN:
            owner = _owner(value)
            return {"owner": owner}, {"owner": owner or "none"}
        case Verb.RUNBOOK:
            url = _url(value)
            return {"runbook_url": url}, {"url": url or "none"}
        case Verb.NOTE:
            return {}, {}


_DECIDED: Final = {
    Verb.ACKNOWLEDGE: CauseState.ACKNOWLEDGED,
    Verb.RESOLVE: CauseState.RESOLVED,
    Verb.REOPEN: CauseState.OPEN,
}


def _until(value: str, now: datetime) -> datetime:
    try:
        return read_time_to_come(value, now=now)
    except ValueError as error:
        raise ValueError(f"until is {error}") from None


def _owner(value: str) -> str:
    try:
        owner = read_text(value) if value.strip() else ""
    except ValueError as error:
        raise ValueError(f"owner is {value[:40]!r}: expected {error}") from None
    if len(owner) > MAX_ACTOR_LENGTH:
        raise ValueError(f"owner is {value[:40]!r}: expected at most {MAX_ACTOR_LENGTH} characters")
    return owner


def _url(value: str) -> str:
    """Return the address of a page; of no other kind, for the dashboard makes a link of it."""
    text, expected = value.strip(), f"an http or https address of at most {MAX_URL_LENGTH} characters"
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and len(text) <= MAX_URL_LENGTH
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"url is not usable: expected {expected}")
    if "@" in parts.netloc:
        raise ValueError("url has a user or a password in it: expected an address without them")
    return text
