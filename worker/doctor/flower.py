"""Flower: does it answer, and does it ask who is there?"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests

from worker.doctor.finding import Finding, green, red, yellow
from worker.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_flower"]

_PATIENCE: Final = 4.0


def look_at_flower(url: str) -> Iterator[Finding]:
    """Check Flower.

    Args:
        url: Where it is, without a slash at the end, and without a login.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy is for the way to AquilaX
            session.get(f"{url}/healthcheck", timeout=_PATIENCE).raise_for_status()
            page = session.get(f"{url}/workers", timeout=_PATIENCE, allow_redirects=False)
    except requests.RequestException as error:
        fix = "start it (`celery -A worker flower`), or correct FEEDBACK_FLOWER_URL; deliveries go on without it"
        yield yellow("flower", f"{url} does not answer: {type(error).__name__}", fix=fix)
        return
    yield green("flower", f"{url} answers")
    yield _login(url, page.status_code)


def _login(url: str, status: int) -> Finding:
    check = "flower login"
    if status != HTTPStatus.OK:  # 401, or a redirect to where one logs in
        return green(check, "it asks for a login")
    if is_loopback(urlsplit(url).hostname or ""):
        return green(check, "it asks for none, and is asked over loopback")
    return red(
        check,
        "it shows its pages to everybody, who may revoke tasks and stop workers there",
        fix="start it with FLOWER_BASIC_AUTH=user:password, or with --address=127.0.0.1",
    )
