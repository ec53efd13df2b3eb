"""No secret stands in a log, whichever library wrote the line."""

from __future__ import annotations

import pytest

from worker.observability.redaction import Redactor, secrets_of
from worker.settings import load_settings

KEY = "ax-0123/45+67=="


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("redis://:pa55word@host:6379/0 is unavailable", "redis://:[redacted]@host:6379/0 is unavailable"),
        ("sentinel://u:a@b@h1:1;sentinel://u:cc@h2:1", "sentinel://u:[redacted]@h1:1;sentinel://u:[redacted]@h2:1"),
        ("postgresql+psycopg://me:x@db/feedback", "postgresql+psycopg://me:[redacted]@db/feedback"),
        ("redis://h/0?sentinel_password=geheim&x=1", "redis://h/0?sentinel_password=[redacted]&x=1"),
        ("sent {'X-AX-KEY': 'abc'}", "sent {'X-AX-KEY': '[redacted]'}"),
        ("x-ax-key: abc", "x-ax-key: [redacted]"),
        (
            "see https://example.org:8443/a?b=c and me@example.org",
            "see https://example.org:8443/a?b=c and me@example.org",
        ),
        ("401 Invalid token: expired", "401 Invalid token: expired"),
    ],
)
def test_what_looks_like_a_login_is_taken_out(text: str, clean: str) -> None:
    """Also one that is not ours; the rest of the line stays as it is."""
    assert Redactor(()).clean(text) == clean


def test_the_secrets_are_those_of_the_settings() -> None:
    """The key, and every password of every URL, as it is written there and as it is meant."""
    settings = load_settings(
        _env_file=None,
        aquilax_api_key=KEY,
        feedback_sentinel_master="mymaster",
        feedback_broker_url="sentinel://:p%40ssword@a:1;sentinel://b:1/0?sentinel_password=of-the-sentinels",
        feedback_database_url="postgresql://me:of-the-database@db/x",
    )

    secrets = secrets_of(settings)

    assert {KEY, "p%40ssword", "p@ssword", "of-the-sentinels", "of-the-database"} <= secrets
    assert "ax-0123%2F45%2B67%3D%3D" in secrets  # as it stands in a URL


def test_a_known_secret_is_taken_out_wherever_it_stands() -> None:
    """In the words of a line, and in its fields."""
    redact = Redactor([KEY])

    cleaned = redact({"event": f"with {KEY}!", "org": KEY, "attempt": 3})

    assert cleaned == {"event": "with [redacted]!", "org": "[redacted]", "attempt": 3}


def test_of_two_secrets_the_longer_one_goes_whole() -> None:
    """What one of them leaves of the other would be half a secret."""
    assert Redactor(["secret-key", "secret-key-of-ours"]).clean("a secret-key-of-ours") == "a [redacted]"


def test_a_word_that_is_no_secret_to_anybody_stays() -> None:
    """A password such as `key` would make every line unreadable."""
    assert Redactor(["key", ""]).clean("the key is wrong") == "the key is wrong"
