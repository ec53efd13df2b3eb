from __future__ import annotations

import pytest

from worker.database.engine import connect
from worker.database.errors import DatabaseUnusable


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/d?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3&application_name=feedback",
        "postgresql://h/d?options=-c%20search_path%3Dfeedback&target_session_attrs=read-write&keepalives_idle=30",
        "postgresql:///d?host=h1:5432&host=h2:5432",
        "mysql://h/d?ssl_ca=/ca.pem&ssl_check_hostname=false&charset=utf8mb4&read_timeout=10",
        "mariadb://h/d?unix_socket=/run/mysqld/mysqld.sock",
        "sqlite:///f.sqlite3?timeout=2.5",
        "sqlite:///file:f.sqlite3?mode=ro&uri=true",
    ],
)
def test_an_option_that_the_driver_reads_is_read(url: str) -> None:
    """Certificates, timeouts, sockets: what people put there."""
    connect(url).dispose()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "postgresql://h/d?prepare_threshold=0",
            "the option prepare_threshold: no statement is prepared",
        ),
        ("postgresql://h/d?pgbouncer=true", "the option pgbouncer: unknown to postgresql+psycopg"),
        (
            "postgresql://h/d?ssl_mode=require",
            "the option ssl_mode: unknown to postgresql+psycopg; did you mean sslmode",
        ),
        ("postgresql://h/d?sslmode=on", "the option sslmode: expected one of disable, allow, prefer, require, "),
        ("postgresql://h/d?connect_timeout=soon", "the option connect_timeout: expected a whole number"),
        ("postgresql://h/d?sslmode=require&sslmode=disable", "the option sslmode: it is there more than once"),
        ("mysql://h/d?sslmode=require", "the option sslmode: unknown to mysql+pymysql"),
        ("mysql://h/d?charset=latin1", "the option charset: expected one of utf8mb4"),
        ("mariadb://h/d?connect_timeout=2s", "the option connect_timeout: expected a whole number"),
        ("sqlite:///f.sqlite3?mode=ro", "the option mode: unknown to sqlite"),
        ("sqlite:///f.sqlite3?timeout=soon", "the option timeout: expected seconds"),
    ],
)
def test_an_option_that_the_driver_does_not_read_is_refused_by_name(url: str, words: str) -> None:
    """At the start, and not at each connecting as if the database were unavailable."""
    with pytest.raises(DatabaseUnusable) as caught:
        connect(url)

    assert str(caught.value).startswith(f"FEEDBACK_DATABASE_URL: {words}")


def test_a_value_is_not_shown() -> None:
    """It may be a password."""
    with pytest.raises(DatabaseUnusable) as caught:
        connect("postgresql://h/d?passwort=hunter2")

    assert "hunter2" not in str(caught.value)
