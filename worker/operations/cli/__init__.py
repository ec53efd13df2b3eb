"""``aquilax-feedback``: the command line. Each command is imported when it is called, and not before."""

from __future__ import annotations

from typing import Any, Final

try:
    import click
except ModuleNotFoundError:  # a chat backend has the producer alone
    raise SystemExit("aquilax-feedback: its commands need more: pip install 'aquilax-feedback[worker]'") from None

from producer import __version__
from worker.operations.cli.lazy_group import LazyCommand, LazyGroup

__all__ = ["main"]

_COMMANDS: Final = {
    "db": LazyCommand("worker.operations.cli.db:db", "Bring the dead-letter table up to date, or look at its version."),
    "dead-letters": LazyCommand(
        "worker.operations.cli.dead_letters:dead_letters",
        "Look at events that were not delivered, send them again, discard or forget them.",
    ),
    "demo": LazyCommand(
        "worker.operations.cli.local:demo",
        "Watch feedback go the whole way, fail in every way, die, and be replayed.",
    ),
    "doctor": LazyCommand(
        "worker.operations.cli.doctor:doctor",
        "Look at everything, and say what is wrong and what to do: settings, Redis, queue, database, AquilaX, workers.",
    ),
    "exporter": LazyCommand(
        "worker.operations.cli.exporter:exporter",
        "Serve the metrics of the queue until SIGTERM or Ctrl-C, whether or not a worker runs.",
    ),
    "flower": LazyCommand(
        "worker.operations.cli.flower:flower",
        "Run Flower, with the overview and the dead letters in it.",
    ),
    "gateway": LazyCommand("worker.operations.cli.gateway:gateway", "Take feedback over HTTP, and enqueue it."),
    "health": LazyCommand(
        "worker.operations.cli.health:health",
        "Exit with status 0 if this worker is well; else with 1, and say why.",
    ),
    "history": LazyCommand(
        "worker.operations.cli.history:history",
        "Say how the last hour, day or week went: events, AquilaX' responses and latency, and the queue.",
    ),
    "hold": LazyCommand(
        "worker.operations.cli.hold:hold",
        "Hand no more feedback out to any worker, until `aquilax-feedback resume`.",
    ),
    "move": LazyCommand(
        "worker.operations.cli.move:move",
        "Move all feedback from an old Redis to the one of FEEDBACK_BROKER_URL.",
    ),
    "notify": LazyCommand(
        "worker.operations.cli.notify:notify",
        "Try the addresses of FEEDBACK_NOTIFY_URLS, or see how they do.",
    ),
    "reconcile": LazyCommand(
        "worker.operations.cli.reconcile:reconcile",
        "Prove that nothing was lost: everything that was accepted has ended, or is in a place from which it goes on.",
    ),
    "relay": LazyCommand(
        "worker.operations.cli.relay:relay",
        "Carry what is committed in a backend's outbox to Redis, until SIGTERM or Ctrl-C.",
    ),
    "replays": LazyCommand(
        "worker.operations.cli.replays:replays",
        "Look at replays, and pause, resume or cancel them; `dead-letters replay` makes one.",
    ),
    "resume": LazyCommand(
        "worker.operations.cli.hold:resume",
        "End the hold by hand; or, where there is none, the one that has begun by itself.",
    ),
    "sandbox": LazyCommand(
        "worker.operations.cli.sandbox:sandbox",
        "Run a local AquilaX that keeps the API's contract and misbehaves on request.",
    ),
    "send": LazyCommand("worker.operations.cli.send:send", "Enqueue feedback by hand: one event, or all of a file."),
    "spool": LazyCommand(
        "worker.operations.cli.spool:spool",
        "See, send or export what producers keep on disk while Redis does not take it.",
    ),
    "status": LazyCommand(
        "worker.operations.cli.status:status",
        "Say what is queued, in flight and scheduled, what became of the rest, who works, and how fast.",
    ),
    "tokens": LazyCommand(
        "worker.operations.cli.tokens:tokens",
        "Make, list and revoke the tokens of programs that call the dashboard's API.",
    ),
    "trace": LazyCommand(
        "worker.operations.cli.trace:trace",
        "Say what became of a press, by its request_id: everything that is known of it, as one timeline.",
    ),
    "up": LazyCommand("worker.operations.cli.local:up", "Run the whole system on this machine until Ctrl-C."),
    "waiting": LazyCommand(
        "worker.operations.cli.waiting:waiting",
        "Look at messages that wait for their time, send them now, or make dead letters of them now.",
    ),
    "worker": LazyCommand(
        "worker.operations.cli.start_worker:start_worker",
        "Run a worker: `celery -A worker worker`, with all of its options, in less memory.",
    ),
    "workers": LazyCommand(
        "worker.operations.cli.workers:workers",
        "Look at each worker, and quiet, stop, grow or shrink one of them.",
    ),
}


class _Main(LazyGroup):
    """The whole command line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's: what a command returns, or nothing
        """Run a command, whatever its output goes to."""
        from worker.operations.cli.output import prepare_output  # noqa: PLC0415 - this module reports a missing click, which that one imports

        prepare_output()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was named."""
        from worker.operations.cli.output import writing  # noqa: PLC0415 - see main

        with writing():
            return super().invoke(ctx)


@click.group(cls=_Main, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aquilax-feedback")
def main() -> None:
    """Deliver chat feedback to AquilaX, and see and fix what could not be delivered."""
