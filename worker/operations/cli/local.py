"""``aquilax-feedback demo`` and ``up``: the whole system on one machine."""

from __future__ import annotations

import signal
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from worker.operations.cli.database import settings
from worker.operations.cli.output import say
from worker.sandbox.demo import Demo, DemoFailed
from worker.sandbox.stack import SANDBOX_KEY, LocalStack, StackError

if TYPE_CHECKING:
    from worker.settings import Settings

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
    _end_in_order()
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
    given = settings()
    _end_in_order()
    try:
        with LocalStack(folder=folder) as stack:
            _start(stack, given)
            stack.watch()
    except StackError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        say(f"stopped; what is queued stays in {folder}")


def _end_in_order() -> None:
    """End alike by Ctrl-C, by `kill`, and when the terminal is closed: every part is ended.

    SIGINT is among them because a shell starts what it puts in the background deaf to it.
    """
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)


def _start(stack: LocalStack, given: Settings) -> None:
    stack.start_broker()
    stack.create_database()
    if given.aquilax_api_key is None:
        stack.start_sandbox()
    else:
        key, url = given.aquilax_api_key.get_secret_value(), given.aquilax_base_url
        stack.environment |= {"AQUILAX_API_KEY": key, "AQUILAX_BASE_URL": url}
    stack.start_worker()
    flower = stack.start_flower()
    for name in ("FEEDBACK_BROKER_URL", "FEEDBACK_DATABASE_URL", "AQUILAX_BASE_URL"):
        say(f"export {name}={stack.environment[name]}")
    if given.aquilax_api_key is None:
        say(f"export AQUILAX_API_KEY={SANDBOX_KEY}")  # it opens nothing but this sandbox
    say(f"With these set, try: aquilax-feedback send {uuid.uuid4()} true --org my-org --group my-group")
    say(f"Flower is at {flower}; logs are in {stack.folder}. Ctrl-C ends it all.")


def _demo(console: Console, folder: Path, *, people: int, seed: int) -> bool:
    try:
        with LocalStack(folder=folder) as stack:
            return Demo(stack=stack, console=console, people=people, seed=seed).run()
    except (DemoFailed, StackError) as error:
        console.print(error, style="bold red", highlight=False, markup=False)
        return False
