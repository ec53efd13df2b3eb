"""Flower: does it answer, and does it ask who is there?"""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests

from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.policy.request_origin import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_flower"]

_PATIENCE: Final = 4.0

_PREFIX: Final = "FLOWER_URL_PREFIX"
"""The variable in which Flower reads its option --url_prefix."""

_START: Final = "`celery -A worker flower`"
_CORRECT: Final = "correct FEEDBACK_FLOWER_URL; deliveries go on without it"
_LOCKED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def look_at_flower(url: str) -> Iterator[Finding]:
    """Check the Flower at an address, without a slash at its end; a prefix in FLOWER_URL_PREFIX may be left out."""
    with requests.Session() as session:
        session.trust_env = False  # a proxy is for the way to AquilaX
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True  # where Flower is served over https
        try:
            url, status = _reached(session, url)
            if status == HTTPStatus.OK:
                page = session.get(f"{url}/workers", timeout=_PATIENCE, allow_redirects=False)
        except requests.RequestException as error:
            fix = f"start it ({_START}), or {_CORRECT}"
            yield yellow("flower", f"{url} does not answer: {type(error).__name__}", fix=fix)
            return
    if status != HTTPStatus.OK:
        yield _no_flower(url, status)
        return
    yield green("flower", f"{url} answers")
    yield _login(url, page.status_code)


def _reached(session: requests.Session, url: str) -> tuple[str, int]:
    """Return where Flower is, as far as that can be told, and the status with which its health check answers."""
    status = _health(session, url)
    prefix = os.environ.get(_PREFIX, "").strip("/")
    if status == HTTPStatus.NOT_FOUND and prefix and not url.endswith(f"/{prefix}"):
        prefixed = f"{url}/{prefix}"
        if (there := _health(session, prefixed)) != HTTPStatus.NOT_FOUND:
            return prefixed, there
    return url, status


def _health(session: requests.Session, url: str) -> int:
    """Return the status of the address that Flower serves without a login."""
    return session.get(f"{url}/healthcheck", timeout=_PATIENCE, allow_redirects=False).status_code


def _no_flower(url: str, status: int) -> Finding:
    """What else than Flower answers there."""
    if status == HTTPStatus.NOT_FOUND:
        summary = f"{url} answers, and has no Flower at this path (404)"
        fix = f"if Flower runs with --url_prefix=NAME (or {_PREFIX}), let FEEDBACK_FLOWER_URL end with /NAME"
        return yellow("flower", summary, fix=f"{fix}; else correct it")
    if status in _LOCKED:
        summary = f"{url} asks for a login before Flower does ({status}), so that Flower can't be looked at"
        return yellow("flower", summary, fix="let FEEDBACK_FLOWER_URL be Flower's own address, behind the proxy")
    fix = f"start Flower ({_START}), see in the log of the proxy before it, or {_CORRECT}"
    return yellow("flower", f"{url} answers with status {status}", fix=fix)


def _login(url: str, status: int) -> Finding:
    check = "flower login"
    if status != HTTPStatus.OK:  # 401, or a redirect to where one logs in
        return green(check, "it asks for a login")
    if is_loopback(urlsplit(url).hostname or ""):
        return green(check, "it asks for none, and is asked over loopback")
    summary = "it shows its pages to everybody, who may revoke tasks and stop workers there"
    return red(check, summary, fix="start it with FLOWER_BASIC_AUTH=user:password, or with --address=127.0.0.1")
