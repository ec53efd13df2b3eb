"""The port on which a program that is no worker serves its metrics."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from worker.settings import Settings

__all__ = ["metrics_port"]


@contextmanager
def metrics_port(settings: Settings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve a registry on the port of the settings for the length of the block.

    Raises:
        SettingsError: The port can't be listened on.
    """
    host, port = settings.feedback_metrics_host, settings.feedback_metrics_port or 0
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        problem = f"metrics can't be served on {host} port {port}: {error.strerror or error}"
        fix = "give FEEDBACK_METRICS_PORT one that is free, FEEDBACK_METRICS_HOST an address of this machine"
        raise SettingsError(f"{problem}: {fix}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
