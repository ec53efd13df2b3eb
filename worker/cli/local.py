"""``aquilax-feedback demo`` and ``up``: the whole system on one machine."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from worker.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack

__all__ = ["demo", "up"]


@click.command()
@click.option("--people", type=click.IntRange(min=100), default=4000, show_default=True, help="How many press.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed makes another crowd.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep queue, database and logs here.")
def demo(*, people: int, seed: int, keep: Path | None) -> None:
    """Watch feedback go the whole way, fail in every way, die, and be replayed.

    Sets everything up on loopback, runs about a minute, and exits 0 only if the books balance: nothing lost.
    """
    console = Console()
    if keep is not None and keep.is_dir() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty: the books would not balance", param_hint="--keep")
    with tempfile.TemporaryDirectory(prefix="aquilax-feedback-") as temporary:
        sys.exit(0 if _demo(console, keep or Path(temporary), people=people, seed=seed) else 1)


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var"),
    show_default=True,
    help="Where the queue, the database and the logs are kept; the next start goes on with them.",
)
def up(folder: Path) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Valkey, SQLite, a worker and Flower, on loopback; against the real AquilaX if AQUILAX_API_KEY is set, and against
    the sandbox otherwise.
    """
    console = Console()
    try:
        settings = load_settings()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _stack(folder) as stack:
        try:
            stack.start_broker()
            stack.create_database()
            if settings.aquilax_api_key is None:
                stack.start_sandbox()
            else:
                stack.environment["AQUILAX_API_KEY"] = settings.aquilax_api_key.get_secret_value()
                stack.environment["AQUILAX_BASE_URL"] = settings.aquilax_base_url
            stack.start_worker()
            flower = stack.start_flower()
            for name in ("FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL", "AQUILAX_BASE_URL"):
                console.print(f"export {name}={stack.environment[name]}", highlight=False, soft_wrap=True)
            console.print(f"Flower is at {flower}; logs are in {folder}. Ctrl-C ends it all.", highlight=False)
            stack.watch()
        except KeyboardInterrupt:
            console.print("stopping: what is queued stays in the folder", highlight=False)


def _demo(console: Console, folder: Path, *, people: int, seed: int) -> bool:
    from worker.sandbox.demo import Demo, DemoFailed  # noqa: PLC0415 - part of the extra `local`, not of the worker
    from worker.sandbox.stack import StackError  # noqa: PLC0415 - likewise

    with _stack(folder) as stack:
        try:
            return Demo(stack=stack, console=console, people=people, seed=seed).run()
        except (DemoFailed, StackError) as error:
            console.print(f"[bold red]{error}[/]", highlight=False)
            return False


def _stack(folder: Path) -> LocalStack:
    try:
        from worker.sandbox.stack import LocalStack  # noqa: PLC0415 - part of the extra `local`, not of the worker
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'aquilax-feedback[local]' installs what this needs"
        ) from None
    return LocalStack(folder=folder)
