"""``aquilax-feedback exporter``: what is in Redis, for Prometheus and for autoscalers, without a worker."""

from __future__ import annotations

import click

from worker.operations.cli.database import settings
from worker.operations.cli.process import log_as_a_worker, stop_signals, until_stopped
from worker.operations.exporter import exporting
from worker.settings import SettingsError

__all__ = ["exporter"]


@click.command()
def exporter() -> None:
    """Serve the metrics of the queue until SIGTERM or Ctrl-C, whether or not a worker runs.

    Prometheus reads them on FEEDBACK_METRICS_PORT of FEEDBACK_METRICS_HOST, and so does an autoscaler that starts the
    first worker and stops the last one. docs/operations.md has their names.
    """
    log_as_a_worker(settings())
    try:
        with stop_signals(), exporting(settings()):
            until_stopped()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
