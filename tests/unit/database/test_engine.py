from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import pytest

from worker.database.engine import connect, missing_file, shown
from worker.database.errors import DatabaseUnusable
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:secret@h/d", "postgresql+psycopg"),
        ("postgres://u:secret@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:secret@h/d", "postgresql+psycopg"),
        ("mysql://u:secret@h/d", "mysql+pymysql"),
        ("mariadb://u:secret@h/d", "mariadb+pymysql"),
        ("sqlite:///file.sqlite3", "sqlite"),
    ],
)
def test_a_url_without_a_driver_means_the_one_of_the_extra(url: str, driver: str) -> None:
    """Hosts hand out `postgres://…`; an operator who copies it need not know about drivers."""
    engine = connect(url)

    assert engine.url.drivername == driver
    assert "secret" not in repr(engine)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "extra"),
    [("postgresql://h/d", "aquilax-feedback[postgresql]"), ("mysql://h/d", "aquilax-feedback[mysql]")],
)
def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    """The base install and the worker's carry no database driver but SQLite's."""
    usual = builtins.__import__

    def without_drivers(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in {"psycopg", "pymysql"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_drivers)

    with pytest.raises(DatabaseUnusable) as caught:
        connect(url)

    assert extra in str(caught.value)


@pytest.mark.parametrize("url", ["oracle+nonsense://u:secret@h/d", "nonsense", "sqlite://", "://secret@"])
def test_a_url_that_can_not_work_is_refused_without_showing_its_password(url: str) -> None:
    """It is refused when it is read, not when the first event dies."""
    with pytest.raises(DatabaseUnusable) as caught:
        DeadLetterStore.connect(url)

    assert "secret" not in str(caught.value)


def test_what_the_url_says_wins_over_our_own_options() -> None:
    """An operator who asks for another timeout gets it."""
    engine = connect("postgresql://h/d?connect_timeout=1")

    assert engine.dialect.create_connect_args(engine.url)[1]["connect_timeout"] == "1"
    engine.dispose()


def test_a_url_is_shown_without_what_may_be_a_secret() -> None:
    """A password may stand before the host or among the options."""
    url = "postgresql://feedback:secret@h:5432/d?password=secret&sslmode=require"

    assert shown(url) == "postgresql://feedback:***@h:5432/d"


def test_a_missing_file_is_known_before_it_is_made(tmp_path: Path) -> None:
    """SQLite makes the file when it connects, which hides that the folder is the wrong one."""
    file = tmp_path / "dead-letters.sqlite3"
    engine = connect(f"sqlite:///{file}")

    assert missing_file(engine) == file
    engine.connect().close()
    assert missing_file(engine) is None

    engine.dispose()


@pytest.mark.parametrize("url", ["postgresql://h/d", "sqlite:///file:elsewhere?mode=ro&uri=true"])
def test_only_a_plain_file_can_be_missing(url: str) -> None:
    """A server is asked, and a URI says itself whether its file may be made."""
    engine = connect(url)

    assert missing_file(engine) is None

    engine.dispose()


def test_another_driver_is_refused_by_name() -> None:
    """It would be asked for what it does not know, and look as if the database were unavailable."""
    with pytest.raises(DatabaseUnusable) as caught:
        connect("postgresql+asyncpg://u:secret@h/d")

    assert str(caught.value) == (
        "FEEDBACK_DATABASE_URL names the driver postgresql+asyncpg, and this release knows postgresql+psycopg: "
        "leave the driver out (postgresql://…)"
    )
