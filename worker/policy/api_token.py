"""The tokens of the dashboard's API: what one looks like, where a request brings it, and how it is kept out of logs.

A token is 256 random bits, so one SHA-256 is enough to store it by: no number of guesses comes near it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BYTES", "PREFIX", "digest_of", "is_token", "presented_token", "recognisable", "token_in", "without_tokens"]

PREFIX: Final = "afb_"
"""What a token begins with, so that scanners for secrets in repositories can know it."""

BYTES: Final = 32

_TOKEN: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_RECOGNISABLE: Final = len(PREFIX) + 8
"""Characters that a list shows: the 208 bits behind them can't be guessed."""

_ANYWHERE: Final = re.compile(r"(?:a|%61)(?:f|%66)(?:b|%62)(?:_|%5[Ff])[\w.~%-]{20,}")
"""A token, or most of one, in an address, where any character may be percent-encoded."""

_BEARER: Final = "bearer"


def is_token(text: str) -> bool:
    """Whether text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def digest_of(token: str) -> str:
    """Return the hash by which a token is stored and found, in hexadecimal digits."""
    return sha256(token.encode(errors="surrogateescape")).hexdigest()


def recognisable(token: str) -> str:
    """Return the beginning of a token, by which people recognise it."""
    return token[:_RECOGNISABLE]


def presented_token(authorization: Sequence[str]) -> str | None:
    """Return what a request brings as a token; None if it brings something else, or nothing.

    Args:
        authorization: Its headers ``Authorization``.

    Raises:
        ValueError: It has several, and one of them is a token: proxies and servers differ in which of them counts.
    """
    tokens = [token for value in authorization if (token := _bearer(value)).startswith(PREFIX)]
    if tokens and len(authorization) > 1:
        raise ValueError("the header Authorization is there twice: send the token in one, and no other")
    return tokens[0] if tokens else None


def _bearer(value: str) -> str:
    scheme, _, credentials = value.strip().partition(" ")
    return credentials.strip() if scheme.lower() == _BEARER else ""


def token_in(address: str) -> bool:
    """Whether a token stands in an address, percent-encoded or not."""
    return _ANYWHERE.search(address) is not None


def without_tokens(text: str) -> str:
    """Return a line for a log without the tokens in it."""
    return _ANYWHERE.sub(f"{PREFIX}[redacted]", text)
