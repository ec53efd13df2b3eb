"""Runs the sandbox until it is told to end."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from worker.sandbox import api, control
from worker.sandbox.control import admitting

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from worker.sandbox.state import Sandbox

__all__ = ["build_app", "run"]

_GRACE: Final = 0.1
"""Seconds that a request still has when the sandbox ends: a hanging one would use up any number of them."""

_BACKLOG: Final = 1024
"""Connections that wait to be taken: a worker opens all of its own at once."""

_KEEP_ALIVE: Final = 300.0
"""Seconds that an idle connection stays open: a pause in a test is no reason to connect again."""

_OPTIONS: Final[dict[str, Any]] = {
    "access_log": None,
    "handler_cancellation": True,
    "handle_signals": False,
    "keepalive_timeout": _KEEP_ALIVE,
    "shutdown_timeout": _GRACE,
}


def build_app(sandbox: Sandbox, *, host: str = "") -> web.Application:
    """Return the sandbox as an aiohttp application; by the name ``host``, too, the control API may be asked for."""
    app = web.Application(middlewares=[admitting(host)])
    app[api.SANDBOX] = sandbox
    app.add_routes(api.routes())
    app.add_routes(control.routes())
    return app


async def run(
    sandbox: Sandbox, *, host: str, port: int, tls: ssl.SSLContext | None = None, ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        sandbox: What is served.
        host: Address to listen on.
        port: TCP port to listen on; any free one if 0.
        tls: Serve https with it.
        ready: Called with the address once the sandbox listens.

    Raises:
        OSError: The address can't be listened on.
    """
    runner = web.AppRunner(build_app(sandbox, host=host), **_OPTIONS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls, backlog=_BACKLOG).start()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        ready(_address(runner, tls))
        await ended.wait()
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner, tls: ssl.SSLContext | None) -> str:
    host, port, *_ = runner.addresses[0]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"
