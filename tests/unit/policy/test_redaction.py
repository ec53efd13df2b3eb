"""A secret is taken out of a text however it is spelled there."""

from __future__ import annotations

import html
import json
import time
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.policy.redaction import REDACTED, Redaction, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = 'ax-9f/Gh"Kq+2m&Zt==01'
"""With every character that some encoding spells otherwise."""


def each(spell: str) -> Callable[[str], str]:
    """Spell every character by its code."""
    return lambda text: "".join(spell.format(ord(character)) for character in text)


def aligned(encode: Callable[[bytes], bytes], ahead: int, *, padded: bool) -> Callable[[str], str]:
    """Encode in base64, with something before it and behind it."""

    def encoded(text: str) -> str:
        found = encode(b"usr"[:ahead] + text.encode() + b"end"[:ahead]).decode()
        return found if padded else found.rstrip("=")

    return encoded


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON with all escaped": each("\\u{:04x}"),
    "JSON in capitals": each("\\u{:04X}"),
    "JavaScript": each("\\u{{{:x}}}"),
    "hexadecimal escapes": each("\\x{:02x}"),
    "octal escapes": each("\\{:03o}"),
    "percent": lambda text: quote(text, safe=""),
    "percent in small letters": lambda text: quote(text, safe="").lower(),
    "percent for all": each("%{:02X}"),
    "a query": lambda text: quote(text, safe="/"),
    "HTML": html.escape,
    "HTML by number": each("&#{};"),
    "HTML by hexadecimal number": each("&#x{:X};"),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, apart": lambda text: text.encode().hex(":").upper(),
    "capitals": str.upper,
    "small letters": str.lower,
    "dashes between": "-".join,
    "lines between": "\n".join,
    "without separators": lambda text: "".join(filter(str.isalnum, text)),
    **{
        f"base64, {name}, {ahead} ahead, {'padded' if padded else 'unpadded'}": aligned(encode, ahead, padded=padded)
        for name, encode in (("standard", b64encode), ("for URLs", urlsafe_b64encode))
        for ahead in range(3)
        for padded in (True, False)
    },
    "base64 in lines": lambda text: "\n".join(b64encode(text.encode()).decode()),
}
ON_TOP = ["plain", "JSON", "percent", "percent in small letters", "HTML", "JSON with slashes escaped", "HTML by number"]


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_a_key_is_taken_out_in_every_spelling(spelled: Callable[[str], str]) -> None:
    """And nothing around it."""
    assert Redaction(keys=[KEY])(f"refused: {spelled(KEY)} is unknown") in {
        f"refused: {REDACTED} is unknown",
        f"refused: {REDACTED}== is unknown",
        f"refused: {REDACTED}= is unknown",
    }


_KEYS = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=60).filter(
    lambda key: sum(map(str.isalnum, key)) >= 12
)
_TEXTS = st.text(alphabet='!?. ,:{}[]"\n', max_size=20)


@settings(max_examples=150, deadline=None)
@given(key=_KEYS, before=_TEXTS, behind=_TEXTS, names=st.lists(st.sampled_from(ON_TOP), max_size=2), data=st.data())
def test_no_key_is_left_in_any_spelling_on_top_of_another(
    key: str, before: str, behind: str, names: list[str], data: st.DataObject
) -> None:
    """Whatever the key, and whatever stands around it."""
    text = before + SPELLINGS[data.draw(st.sampled_from(sorted(SPELLINGS)))](key) + behind
    for name in names:
        text = SPELLINGS[name](text)

    redacted = Redaction(keys=[key])(text)

    assert REDACTED in redacted
    letters = "".join(filter(str.isalnum, redacted.replace(REDACTED, "")))
    assert len(letters) <= 16 * len(before + behind) + 24  # what stood around it, and padding, encoded twice
    assert "".join(filter(str.isalnum, key)).lower() not in letters.lower()


@settings(max_examples=100, deadline=None)
@given(key=_KEYS, data=st.data())
def test_a_key_that_is_cut_is_taken_out_as_far_as_it_goes(key: str, data: st.DataObject) -> None:
    """Of a text whose end is missing, the key's beginning would be shown."""
    text = json.dumps({"message": "." * 20 + key})
    cut = text[: data.draw(st.integers(35, len(text)))]

    shown = Redaction(keys=[key])(cut, cut=True).partition("." * 20)[2].replace(REDACTED, "")

    assert sum(map(str.isalnum, shown)) < 4


def test_what_looks_like_no_secret_stays_as_it_is() -> None:
    """Whatever is encoded in it."""
    text = '{"code": 404, "url": "/a%2Fb?c=d&amp;e", "path": "C:\\\\new", "message": "caf\\u00e9 \N{SNOWMAN}"}'

    assert Redaction(["pa55word"], keys=[KEY])(text, cut=True) == text


def test_a_password_that_is_a_word_is_taken_out_as_it_is_alone() -> None:
    """Else a password such as `postgres` would spoil every sentence on PostgreSQL."""
    redacted = Redaction(["postgres"])("PostgreSQL: postgres or p%6Fstgres was refused")

    assert redacted == f"PostgreSQL: {REDACTED} or {REDACTED} was refused"


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("redis://s3cret@host/0", {"s3cret"}),
        ("redis://:p%40ss%2fword@host", {"p%40ss%2fword", "p@ss/word"}),
        ("redis://me:geheim1@host", {"geheim1"}),
        ("redis://me@host?password=geheim2&ssl_cert_reqs=none", {"me", "geheim2"}),
        ("sentinel://:one@a:1;sentinel://:one@b:1/0?sentinel_password=two", {"one", "two"}),
        ("postgresql://me:three@h1:1,h2:2/x?sslpassword=four", {"three", "four"}),
        ("redis://host/0", set()),
    ],
)
def test_the_secrets_of_a_url(url: str, secrets: set[str]) -> None:
    """Wherever they stand in it, as they stand there and as they are meant."""
    assert secrets_in_url(url) == secrets


@pytest.mark.parametrize("text", ["%25" * 20_000, "\\\\" * 30_000, "&amp;" * 13_000, "password" * 8_000 + "="])
def test_no_text_takes_long(text: str) -> None:
    """A hostile response must not keep a worker from its work."""
    began = time.process_time()

    Redaction(["pa55word"], keys=[KEY])(text + KEY, cut=True)

    assert time.process_time() - began < 5
