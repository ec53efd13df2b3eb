"""``aquilax-feedback``: the command line. Each command is imported when it is called, and not before."""

from __future__ import annotations

from typing import Any, Final

try:
    import click
except ModuleNotFoundError:  # a chat backend has the producer alone
    raise SystemExit("aquilax-feedback: its commands need more: pip install 'aquilax-feedback[worker]'") from None

from producer import __version__
from worker.operations.cli.lazy_group import LazyGroup

__all__ = ["main"]

_COMMANDS: Final = {
    "db": "worker.operations.cli.db:db",
    "dead-letters": "worker.operations.cli.dead_letters:dead_letters",
    "demo": "worker.operations.cli.local:demo",
    "doctor": "worker.operations.cli.doctor:doctor",
    "exporter": "worker.operations.cli.exporter:exporter",
    "flower": "worker.operations.cli.flower:flower",
    "gateway": "worker.operations.cli.gateway:gateway",
    "health": "worker.operations.cli.health:health",
    "hold": "worker.operations.cli.hold:hold",
    "move": "worker.operations.cli.move:move",
    "reconcile": "worker.operations.cli.reconcile:reconcile",
    "relay": "worker.operations.cli.relay:relay",
    "replays": "worker.operations.cli.replays:replays",
    "resume": "worker.operations.cli.hold:resume",
    "sandbox": "worker.operations.cli.sandbox:sandbox",
    "send": "worker.operations.cli.send:send",
    "spool": "worker.operations.cli.spool:spool",
    "status": "worker.operations.cli.status:status",
    "up": "worker.operations.cli.local:up",
    "worker": "worker.operations.cli.start_worker:start_worker",
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
