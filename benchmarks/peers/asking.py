"""The request that every peer's task makes, with `requests` and with aiohttp."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

import requests
from requests.adapters import HTTPAdapter

from benchmarks.events import PATH

if TYPE_CHECKING:
    import aiohttp

__all__ = ["HEADERS", "TARGET_URL", "ask", "ask_by", "ask_in_loop", "open_session"]

TARGET_URL: Final = "BENCH_TARGET_URL"
HEADERS: Final = {"X-AX-KEY": "bench-key"}
_TIMEOUT: Final = 10

_sessions = threading.local()


def open_session(connections: int = 1) -> requests.Session:
    """Return a session that keeps so many connections open."""
    session = requests.Session()
    session.headers.update(HEADERS)
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=connections))
    return session


def ask(request_id: str, status: str, org: str, group: str) -> None:
    """Send one event, with this thread's session."""
    if not hasattr(_sessions, "mine"):
        _sessions.mine = open_session()
    ask_by(_sessions.mine, request_id, status, org, group)


def ask_by(session: requests.Session, request_id: str, status: str, org: str, group: str) -> None:
    """Send one event with a session."""
    url = f"{os.environ[TARGET_URL]}{PATH}/{request_id}/{status}"
    session.get(url, params={"org": org, "group": group}, timeout=_TIMEOUT).raise_for_status()


async def ask_in_loop(session: aiohttp.ClientSession, request_id: str, status: str, org: str, group: str) -> None:
    """Send one event with a session of aiohttp's."""
    url = f"{os.environ[TARGET_URL]}{PATH}/{request_id}/{status}"
    async with session.get(url, params={"org": org, "group": group}) as answer:
        await answer.read()
        answer.raise_for_status()
