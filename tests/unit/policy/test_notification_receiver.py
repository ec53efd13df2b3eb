"""The addresses of those that are told: each is a secret, and is named by its place and its scheme."""

from __future__ import annotations

import pytest

from worker.policy.notification_receiver import MOST_RECEIVERS, read_receivers, secret_parts, secret_tokens

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"


def test_spaces_and_line_ends_separate_addresses() -> None:
    """A file has one a line; an address of Apprise may have commas."""
    found = read_receivers(
        f"{SLACK}\n mailtos://me:pw@example.com?to=a@example.com,b@example.com Webhook+https://h/x\n"
    )

    assert [(one.name, one.is_webhook) for one in found] == [
        ("1:slack", False),
        ("2:mailtos", False),
        ("3:webhook+https", True),
    ]
    assert found[1].url.endswith("?to=a@example.com,b@example.com")
    assert found[2].target == "https://h/x"


def test_no_address_is_shown() -> None:
    """Neither of one that is printed, nor in what is said of a wrong one."""
    (slack,) = read_receivers(SLACK)

    assert repr(slack) == "Receiver(number=1, scheme='slack')"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1 to 20 addresses"),
        (" ".join([SLACK] * (MOST_RECEIVERS + 1)), "1 to 20 addresses"),
        (f"{SLACK} s3cr3t-token", "address 2: expected one such as"),
        (f"{SLACK},slack://s3cr3t-token/b", "address 1: expected a space, and not a comma"),
        ("webhook+ftp://s3cr3t-token.example", "address 1: expected an address such as webhook.https"),
        ("webhook+https://", "address 1: expected one such as"),
        ("webhook+https://:80", "address 1: expected an address such as webhook.https"),
        ("webhook+https://h:port/s3cr3t-token", "address 1: expected an address such as webhook.https"),
        ("webhook+https://me:s3cr3t-token@h/", "address 1: expected an address without login"),
        ("webhook+http://hooks.example/s3cr3t-token", "address 1: expected webhook.https: plain http is for loopback"),
    ],
)
def test_a_wrong_address_is_named_by_its_number(text: str, expected: str) -> None:
    """With what is expected, and without the address."""
    with pytest.raises(ValueError, match=expected) as refused:
        read_receivers(text)

    assert "s3cr3t" not in str(refused.value)
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]", "localhost", "hooks.localhost"])
def test_plain_http_is_for_loopback(host: str) -> None:
    """Where no other machine reads it."""
    (found,) = read_receivers(f"webhook+http://{host}/hook")

    assert found.target == f"http://{host}/hook"


def test_every_part_of_an_address_is_secret() -> None:
    """As it stands there, and as it is meant; a part that is short is a word like others."""
    parts = secret_parts("mailtos://me%40here:p%40ssword@mail.example.com/inbox-7?to=ops&token=abcdef")

    assert {"p%40ssword", "p@ssword", "mail.example.com", "inbox-7", "abcdef", "me@here"} <= parts
    assert not {"to", "ops", "me"} & parts


@pytest.mark.parametrize(
    ("url", "tokens"),
    [
        (SLACK, {"TIiajkdnlazkcOXrIdevi7FQ"}),
        (
            "sendgrid://SG.0123456789abcdefgh.ABCDEFGHIJKLMNOPQRSTUVWX:a@b/c",
            {"0123456789abcdefgh", "ABCDEFGHIJKLMNOPQRSTUVWX"},
        ),
        ("webhook+https://hooks.example.com/feedback/notifications?key=%30123456789abcdef", {"0123456789abcdef"}),
        ("mailtos://ops:pw@mail.example.com?to=operators@example.com", set()),
    ],
)
def test_few_parts_are_looked_for_in_every_line_of_a_log(url: str, tokens: set[str]) -> None:
    """Those that look like a token; words such as those of a host or a path stay in the log."""
    assert secret_tokens(url) == tokens
