from __future__ import annotations

from urllib.parse import quote

import pytest

from worker.policy.api_token import digest_of, is_token, presented_token, recognisable, token_in, without_tokens

TOKEN = "afb_" + "aB3-_" * 8 + "xyz"


def test_a_token_has_a_form_of_its_own() -> None:
    """What is none is never looked up."""
    assert is_token(TOKEN)
    for wrong in (
        "",
        "afb_",
        TOKEN[:-1],
        TOKEN + "x",
        TOKEN.replace("afb_", "axf_"),
        TOKEN[:-1] + "\n",
        TOKEN[:-1] + "é",
    ):
        assert not is_token(wrong)


def test_a_hash_and_a_beginning_is_all_that_is_kept() -> None:
    """Neither leads back to the token."""
    assert digest_of(TOKEN) != digest_of(TOKEN[:-1] + "Z")
    assert len(digest_of("afb_\udcff")) == 64
    assert recognisable(TOKEN) == TOKEN[:12]


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([f"Bearer {TOKEN}"], TOKEN),
        ([f"bearer   {TOKEN} "], TOKEN),
        (["Bearer afb_short"], "afb_short"),
        (["Basic YW5uOng="], None),
        (["Bearer eyJhbGciOi.of.another"], None),
        ([TOKEN], None),
        (["Basic YW5uOng=", "Bearer eyJhbGciOi.of.another"], None),
    ],
)
def test_a_token_is_what_stands_behind_bearer(headers: list[str], token: str | None) -> None:
    """The token of another, which a proxy passes on, is not ours to judge."""
    assert presented_token(headers) == token


@pytest.mark.parametrize("other", ["Basic YW5uOng=", f"Bearer {TOKEN}", ""])
def test_two_logins_are_none(other: str) -> None:
    """Which of them counts would be a matter of the server's taste."""
    for headers in ([f"Bearer {TOKEN}", other], [other, f"Bearer {TOKEN}"]):
        with pytest.raises(ValueError, match="twice"):
            presented_token(headers)


@pytest.mark.parametrize(
    "written", [TOKEN, quote(TOKEN), "".join(f"%{ord(each):02X}" for each in TOKEN), "%61f%62_" + TOKEN[4:]]
)
def test_a_token_in_an_address_is_found_and_taken_out(written: str) -> None:
    """However it is written there."""
    line = f"400 GET /api/feedback/causes?token={written}&org=x (127.0.0.1)"

    assert token_in(line)
    assert without_tokens(line) == "400 GET /api/feedback/causes?token=afb_[redacted]&org=x (127.0.0.1)"


def test_what_is_no_token_stays() -> None:
    """Such as an org with a similar name."""
    assert without_tokens("GET /feedback?org=afb_team (::1)") == "GET /feedback?org=afb_team (::1)"
