"""Flower with the dashboard in it, for tests: in this process, so that its options differ from test to test."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import requests
from flower.app import Flower
from flower.options import default_options
from flower.urls import settings as flower_settings
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from worker.app import create_app
from worker.operations.dashboard.install import install
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class ServedFlower:
    """A Flower that answers."""

    url: str
    app: Any

    def get(self, path: str, **options: Any) -> requests.Response:
        """Ask for a page, and follow no redirect."""
        return requests.get(f"{self.url}{path}", timeout=60, allow_redirects=False, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Send something, and follow no redirect."""
        return requests.post(f"{self.url}{path}", timeout=60, allow_redirects=False, **options)

    def session(self, **options: Any) -> Visitor:
        """Return a visitor with a cookie jar of its own."""
        return Visitor(self.url, **options)


class Visitor:
    """A browser that sends forms, as far as requests is one."""

    def __init__(self, url: str, *, auth: tuple[str, str] | None = None) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.auth = auth

    def get(self, path: str) -> requests.Response:
        """Open a page."""
        return self.session.get(f"{self.url}{path}", timeout=60)

    def send(self, path: str, headers: dict[str, str] | None = None, **fields: object) -> requests.Response:
        """Send a form with the token that the page had, as a browser does."""
        self.get("/feedback/audit")
        token = {"_xsrf": self.session.cookies.get("_xsrf", "")}
        sent = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"} | (headers or {})
        return self.session.post(
            f"{self.url}{path}", data=token | fields, headers=sent, timeout=60, allow_redirects=False
        )


@contextmanager
def served_flower(
    *, broker_url: str, database_url: str, settings: Mapping[str, str] | None = None, **options: Any
) -> Iterator[ServedFlower]:
    """Serve Flower on loopback.

    Args:
        broker_url: Its Redis.
        database_url: The dead letters.
        settings: More of our settings.
        options: Flower's own.
    """
    install()
    places = {"feedback_broker_url": broker_url, "feedback_database_url": database_url}
    loaded = load_settings(**places, **(settings or {}), _env_file=None)
    given = {option.name: option.value() for option in default_options._options.values()}
    chosen = SimpleNamespace(
        **{**{name.replace("-", "_"): value for name, value in given.items()}, **_LOCAL, **options}
    )
    started, stop = threading.Event(), asyncio.Event()
    served: list[tuple[str, Any, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        capp = create_app(loaded)
        app = Flower(capp=capp, options=chosen, io_loop=IOLoop.current(), **flower_settings)
        (socket,) = bind_sockets(0, address="127.0.0.1")
        server = HTTPServer(app, xheaders=chosen.xheaders)
        server.add_socket(socket)
        served.append((f"http://127.0.0.1:{socket.getsockname()[1]}", app, asyncio.get_running_loop()))
        started.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()
        if hasattr(app, "feedback_sources"):
            app.feedback_sources.close()
        app.executor.shutdown()
        capp.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="flower")
    thread.start()
    assert started.wait(30)
    url, app, loop = served[0]
    try:
        yield ServedFlower(url, app)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


_LOCAL = {"address": "127.0.0.1", "url_prefix": None, "basic_auth": None}
