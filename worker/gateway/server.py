"""The gateway in a server of its own: uvicorn, until SIGTERM."""

from __future__ import annotations

import logging
import math
import ssl
from typing import TYPE_CHECKING, Final

import uvicorn

from worker.gateway.access_log import configure_logging
from worker.gateway.app import Gateway, create_app
from worker.gateway.http_protocol import bounded_protocol
from worker.gateway.key_file import KeyFileError, read_keys
from worker.policy.request_origin import is_loopback
from worker.setting_types import parts_of
from worker.settings import SettingsError

if TYPE_CHECKING:
    import socket

    from worker.settings import Settings

__all__ = ["check_exposure", "serve"]

log = logging.getLogger(__name__)

_KEEP_ALIVE: Final = 75
"""Seconds that an idle connection stays open: longer than clients' pools and proxies keep theirs, so that they close it
and no request meets a connection that is being closed."""

_BACKLOG: Final = 2048


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, and answer what is being answered then.

    Raises:
        SettingsError: A setting does not fit to others, or names a file that can't be used.
        SystemExit: The address can't be listened on.
    """
    check_exposure(settings)
    configure_logging(settings)
    try:
        gateway = create_app(settings)
    except KeyFileError as error:
        raise SettingsError(f"FEEDBACK_GATEWAY_KEYS_FILE: {error}") from None
    _StoppingServer(_config(settings, gateway)).run()


def check_exposure(settings: Settings) -> None:
    """Refuse an address that others reach, if no client has a key.

    Raises:
        SettingsError: It is refused.
    """
    path, host = settings.feedback_gateway_keys_file, settings.feedback_gateway_host
    if is_loopback(host):
        return
    fix = (
        f"make one with `aquilax-feedback gateway keys add NAME`, or let FEEDBACK_GATEWAY_HOST be 127.0.0.1, not {host}"
    )
    if path is None:
        raise SettingsError(f"FEEDBACK_GATEWAY_KEYS_FILE is not set, so any program could send feedback: {fix}")
    try:
        keys = read_keys(path)
    except KeyFileError as error:
        raise SettingsError(f"FEEDBACK_GATEWAY_KEYS_FILE: {error}") from None
    if not keys:
        raise SettingsError(f"FEEDBACK_GATEWAY_KEYS_FILE: {path} has no key: {fix}")


class _StoppingServer(uvicorn.Server):
    """Tells the gateway first when it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let bodies that are being read end where they are, and answer."""
        gateway = self.config.app
        while not isinstance(gateway, Gateway):
            gateway = gateway.app  # type: ignore[union-attr] # CORSMiddleware's own
        gateway.stopping.set()
        await super().shutdown(sockets)


def _config(settings: Settings, gateway: object) -> uvicorn.Config:
    proxies = parts_of(settings.feedback_gateway_trusted_proxies or "")
    cert, key = settings.feedback_gateway_tls_cert, settings.feedback_gateway_tls_key
    if (cert is None) != (key is None):
        raise SettingsError("FEEDBACK_GATEWAY_TLS_CERT and FEEDBACK_GATEWAY_TLS_KEY go together: set both or neither")
    config = uvicorn.Config(
        gateway,  # type: ignore[arg-type] # it is an ASGI application
        host=settings.feedback_gateway_host,
        port=settings.feedback_gateway_port,
        http=bounded_protocol(
            max_headers=settings.feedback_gateway_max_headers,
            headers_timeout=settings.feedback_gateway_read_timeout.total_seconds(),
        ),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings.feedback_shutdown_timeout.total_seconds()),
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or "it is no certificate with its key in PEM"
        raise SettingsError(f"FEEDBACK_GATEWAY_TLS_CERT and FEEDBACK_GATEWAY_TLS_KEY can't be used: {why}") from None
    return config
