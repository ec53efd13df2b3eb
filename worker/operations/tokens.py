"""API tokens: made, listed, revoked, and told apart when a request brings one."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import exc, insert, or_, select, update

from worker.database.api_tokens import MAX_TOKEN_NAME, ApiToken
from worker.database.audit_log import write_action
from worker.database.errors import DeadLetterStoreUnavailable, translated
from worker.database.models import MAX_ACTOR_LENGTH
from worker.operations.text import utc
from worker.policy.api_token import BYTES, PREFIX, digest_of, is_token, recognisable
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from worker.policy.roles import Role

__all__ = [
    "LONGEST",
    "Token",
    "TokenError",
    "TokenRefused",
    "authenticate",
    "create_token",
    "list_tokens",
    "revoke_token",
]

log = logging.getLogger(__name__)

LONGEST: Final = timedelta(days=3660)
"""How long a token may be good for: none is for ever."""

_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_TOKEN_NAME - 1}}}")
_USE_EVERY: Final = timedelta(minutes=1)
"""The use of a token is written down at most so often."""


class TokenError(ValueError):
    """A token can't be made or revoked so; the message says why, and what to do."""


class TokenRefused(Exception):
    """What a request brings as a token lets it in nowhere; the message is for the program that sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token, as people see it.

    Attributes:
        name: Its name, as the audit log has it.
        prefix: How it begins.
        scope: What the program that has it may do.
        created_at: When it was made.
        created_by: By which operator.
        expires_at: From when on it is refused.
        last_used_at: When it was used last, to the minute; None if never.
        revoked_at: When it was revoked; None if it was not.
    """

    name: str
    prefix: str
    scope: Role
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    def state(self, now: datetime) -> str:
        """Return ``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if now < self.expires_at else "expired"

    def to_record(self, now: datetime) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        moments = {
            name: None if (at := getattr(self, name)) is None else at.isoformat()
            for name in ("created_at", "expires_at", "last_used_at", "revoked_at")
        }
        known = {"name": self.name, "prefix": self.prefix, "scope": self.scope.value, "created_by": self.created_by}
        return known | moments | {"state": self.state(now)}


_SHOWN: Final = tuple(getattr(ApiToken, name) for name in Token.__dataclass_fields__)


def create_token(engine: Engine, name: str, *, scope: Role, lasts: timedelta, actor: str, comment: str = "") -> str:
    """Make a token, write down who did, and return the token, which is written nowhere.

    Args:
        engine: The database.
        name: Its name, for the audit log: one that no token had before.
        scope: What it allows.
        lasts: How long, from now on.
        actor: The operator.
        comment: What it is for.

    Raises:
        TokenError: The name is none, or was given before; or it would last for too long, or not at all.
        DeadLetterStoreUnavailable: The database did not do it.
    """
    if not _NAME.fullmatch(name):
        raise TokenError(
            f"NAME is {name[:60]!r}: expected 1 to {MAX_TOKEN_NAME} of a-z, 0-9, '.', '_' and '-', a letter or digit "
            "first"
        )
    if not timedelta() < lasts <= LONGEST:
        raise TokenError(f"expires: expected more than nothing, and at most {LONGEST.days} days")
    token, now = PREFIX + secrets.token_urlsafe(BYTES), datetime.now(UTC)
    values = {
        "name": name,
        "prefix": recognisable(token),
        "sha256": digest_of(token),
        "scope": scope,
        "created_at": now,
        "created_by": clean(actor)[:MAX_ACTOR_LENGTH],
        "expires_at": now + lasts,
    }
    details = {"scope": scope.value, "prefix": values["prefix"], "expires_at": utc(now + lasts)}
    with translated(), engine.begin() as connection:
        try:
            connection.execute(insert(ApiToken).values(values))
        except exc.IntegrityError:
            raise TokenError(
                f"there is, or was, a token {name}: the audit has what was done with it under this name. "
                f"Choose another, such as {name[: MAX_TOKEN_NAME - 2]}-2"
            ) from None
        _write(connection, "token.create", name, actor=actor, comment=comment, details=details)
    return token


def list_tokens(engine: Engine) -> list[Token]:
    """Return all tokens, the latest first; also those that are refused by now.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    with translated(), engine.connect() as connection:
        return [Token(**row._asdict()) for row in connection.execute(select(*_SHOWN).order_by(ApiToken.id.desc()))]


def revoke_token(engine: Engine, name: str, *, actor: str, comment: str = "") -> None:
    """Refuse a token from now on, and write down who said so.

    Raises:
        TokenError: There is none of this name, or it was revoked before.
        DeadLetterStoreUnavailable: The database did not do it.
    """
    valid = (ApiToken.name == name) & ApiToken.revoked_at.is_(None)
    with translated(), engine.begin() as connection:
        if not connection.execute(update(ApiToken).where(valid).values(revoked_at=datetime.now(UTC))).rowcount:
            known = connection.scalar(select(ApiToken.revoked_at).where(ApiToken.name == name))
            raise TokenError(
                f"{name} was revoked at {utc(known)} already"
                if known
                else f"there is no token {name[:60]!r}: `aquilax-feedback tokens list` has their names"
            )
        _write(connection, "token.revoke", name, actor=actor, comment=comment)


def _write(connection: Connection, action: str, name: str, **more: Any) -> None:
    write_action(connection, action=action, target=f"token {name}", **more)


def authenticate(engine: Engine, presented: str) -> Token:
    """Return the token that a request brings.

    It is looked up by its hash, so that the time that this takes tells nothing of other tokens. Only a program that has
    the whole token learns that it is expired or revoked.

    Raises:
        TokenRefused: It is none, or is not valid any more.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    digest = digest_of(presented)
    if not is_token(presented):
        raise TokenRefused("the token is not one of this dashboard")
    with translated(), engine.connect() as connection:
        query = select(ApiToken.sha256, *_SHOWN).where(ApiToken.sha256 == digest)
        row = connection.execute(query).one_or_none()
    if row is None or not hmac.compare_digest(row.sha256, digest):
        raise TokenRefused("the token is not one of this dashboard")
    token, now = Token(**{name: getattr(row, name) for name in Token.__dataclass_fields__}), datetime.now(UTC)
    if token.revoked_at is not None:
        raise TokenRefused(f"the token {token.name} was revoked at {utc(token.revoked_at)}")
    if now >= token.expires_at:
        raise TokenRefused(f"the token {token.name} has expired at {utc(token.expires_at)}: make another")
    if token.last_used_at is None or now - token.last_used_at >= _USE_EVERY:
        _note_use(engine, token.name, now)
    return token


def _note_use(engine: Engine, name: str, now: datetime) -> None:
    """Write down that a token is used. A request does not fail for it."""
    long_ago = or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at <= now - _USE_EVERY)
    try:
        with translated(), engine.begin() as connection:
            connection.execute(update(ApiToken).where(ApiToken.name == name, long_ago).values(last_used_at=now))
    except DeadLetterStoreUnavailable as error:
        log.warning("that the token %s was used is not written down: %s", name, error)
