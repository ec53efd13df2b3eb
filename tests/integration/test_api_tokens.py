"""API tokens on each of the databases: made, listed, revoked and told apart; and by the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, select, update

from tests.support.commands import command, record_of, succeed
from worker.database.api_tokens import ApiToken
from worker.database.audit_log import actions
from worker.database.engine import connect
from worker.database.schema import upgrade
from worker.operations import tokens
from worker.operations.tokens import LONGEST, TokenError, TokenRefused, authenticate, create_token, revoke_token
from worker.policy.api_token import is_token
from worker.policy.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
NONE_OF_OURS = "the token is not one of this dashboard"


@pytest.fixture
def engine(tables_url: str) -> Iterator[Engine]:
    """An empty database."""
    engine = connect(tables_url)
    yield engine
    engine.dispose()


@pytest.fixture
def of_sqlite(sqlite_url: str) -> Iterator[Engine]:
    """An empty database, for what is decided before it is asked."""
    upgrade(sqlite_url)
    engine = connect(sqlite_url)
    yield engine
    engine.dispose()


def make(engine: Engine, name: str = "ci", scope: Role = Role.ACT, lasts: timedelta = DAY) -> str:
    """Make a token."""
    return create_token(engine, name, scope=scope, lasts=lasts, actor="ann", comment="for CI")


def moved(engine: Engine, **columns: datetime | None) -> None:
    """Set a time of the one token."""
    with engine.begin() as connection:
        connection.execute(update(ApiToken).values(**columns))


def test_a_token_is_shown_once_and_lets_in(engine: Engine) -> None:
    """The database has its hash and its beginning, the audit who made it, and neither the token."""
    secret = make(engine)

    found = authenticate(engine, secret)

    assert is_token(secret)
    assert (found.name, found.scope, found.created_by, found.prefix) == ("ci", Role.ACT, "ann", secret[:12])
    assert found.expires_at - found.created_at == DAY
    (done,) = actions(engine)
    assert (done.actor, done.action, done.target, done.comment) == ("ann", "token.create", "token ci", "for CI")
    assert done.details["scope"] == "act"
    with engine.connect() as connection:
        stored = repr(connection.execute(select(ApiToken.__table__)).all()) + repr(done)
    assert secret[12:] not in stored


@pytest.mark.parametrize("wrong", ["", "afb_", "afb_" + "x" * 43, "Basic x", "afb_'; DROP TABLE api_tokens; --"])
def test_what_is_no_token_is_told_nothing(of_sqlite: Engine, wrong: str) -> None:
    """Whatever it is, and whether or not there are tokens."""
    make(of_sqlite)

    with pytest.raises(TokenRefused) as refused:
        authenticate(of_sqlite, wrong)

    assert str(refused.value) == NONE_OF_OURS


def test_a_token_is_good_for_its_time(engine: Engine) -> None:
    """To the instant; and its program is told, as it has the whole token."""
    secret, now = make(engine), datetime.now(UTC)
    moved(engine, expires_at=now)

    with pytest.raises(TokenRefused, match=r"the token ci has expired at 20.*: make another"):
        authenticate(engine, secret)
    with pytest.raises(TokenRefused, match=NONE_OF_OURS):
        authenticate(engine, secret[:-1] + ("A" if secret[-1] != "A" else "B"))


def test_a_revoked_token_is_refused_at_once_and_for_good(engine: Engine) -> None:
    """Also one that has expired; and the name stays taken, as the audit names it."""
    secret = make(engine)
    revoke_token(engine, "ci", actor="bob", comment="it leaked")

    with pytest.raises(TokenRefused, match="the token ci was revoked at"):
        authenticate(engine, secret)
    with pytest.raises(TokenError, match=r"revoked at 20.* already"):
        revoke_token(engine, "ci", actor="bob")
    with pytest.raises(TokenError, match="such as ci-2"):
        make(engine)
    last = actions(engine)[0]
    assert (last.actor, last.action, last.target, last.comment) == ("bob", "token.revoke", "token ci", "it leaked")
    assert len(actions(engine)) == 2
    assert [token.state(datetime.now(UTC)) for token in tokens.list_tokens(engine)] == ["revoked"]


def test_its_use_is_written_down_once_a_minute(engine: Engine) -> None:
    """More often it would be a write for each request."""
    secret = make(engine)
    assert authenticate(engine, secret).last_used_at is None
    (first,) = (token.last_used_at for token in tokens.list_tokens(engine))
    assert first is not None

    authenticate(engine, secret)
    assert [token.last_used_at for token in tokens.list_tokens(engine)] == [first]

    moved(engine, last_used_at=first - timedelta(minutes=2))
    authenticate(engine, secret)
    (last,) = (token.last_used_at for token in tokens.list_tokens(engine))
    assert last is not None
    assert last >= first


def test_a_use_that_can_not_be_written_down_fails_nothing(
    of_sqlite: Engine, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The program asks for something else; the log has it."""
    secret = make(of_sqlite)
    read_only = connect(sqlite_url.replace("///", "///file:") + "?mode=ro&uri=true")

    assert authenticate(read_only, secret).name == "ci"

    read_only.dispose()
    assert "that the token ci was used is not written down" in caplog.text


@pytest.mark.parametrize("name", ["", "Ci", "-ci", "c i", "ci\n", "x" * 49, "ci;"])
def test_a_name_is_plain(of_sqlite: Engine, name: str) -> None:
    """It stands in the audit as `token NAME`, which nothing else may look like."""
    with pytest.raises(TokenError, match="NAME is"):
        make(of_sqlite, name)


@pytest.mark.parametrize("lasts", [timedelta(), -DAY, LONGEST + DAY])
def test_no_token_is_for_ever(of_sqlite: Engine, lasts: timedelta) -> None:
    """Nor for no time."""
    with pytest.raises(TokenError, match="at most 3660 days"):
        make(of_sqlite, lasts=lasts)


def test_the_longest_name_fits(engine: Engine) -> None:
    """Also as the target of an action."""
    make(engine, "x" * 48)

    assert actions(engine)[0].target == f"token {'x' * 48}"


def test_the_command_makes_lists_and_revokes(sqlite_url: str) -> None:
    """Only the token goes to the standard output, so that a shell can keep it in a variable."""
    upgrade(sqlite_url)
    here = {"FEEDBACK_DATABASE_URL": sqlite_url}

    made = command(here, "tokens", "create", "ci", "--scope", "look", "--expires", "12h", "--actor", "ann")

    assert is_token(made.stdout.strip())
    assert made.stderr.startswith("ci may look until ")
    (listed,) = record_of(here, "tokens", "list")["tokens"]
    assert (listed["name"], listed["scope"], listed["state"], listed["created_by"]) == ("ci", "look", "valid", "ann")
    assert made.stdout.strip() not in json.dumps(listed) + succeed(here, "tokens", "list")
    assert succeed(here, "tokens", "revoke", "ci", "--comment", "done") == "revoked ci: it is refused from now on\n"
    assert "revoked" in succeed(here, "tokens", "list")
    again = command(here, "tokens", "revoke", "ci")
    assert (again.exit_code, "already" in again.output) == (1, True)


@pytest.mark.parametrize("expires", ["90", "0d", "-1d", "1y", "90 d", "never", "٣d"])
def test_the_command_names_what_it_can_not_read(sqlite_url: str, expires: str) -> None:
    """The option, the value, and what is expected."""
    ended = command(
        {"FEEDBACK_DATABASE_URL": sqlite_url}, "tokens", "create", "ci", "--scope", "act", "--expires", expires
    )

    assert ended.exit_code == 2
    assert "--expires" in ended.output
    assert "such as 12h, 90d or 52w" in ended.output
