"""``aquilax-feedback demo`` and ``up``: the whole system on one machine."""

from __future__ import annotations

import signal
import sys
import tempfile
import uuid
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import redis
from rich.console import Console

from worker.operations.cli.database import settings
from worker.operations.cli.output import say
from worker.sandbox.demo import Demo, DemoFailed
from worker.sandbox.local_cluster import LocalCluster
from worker.sandbox.node_supervisor import NodeSupervisor
from worker.sandbox.stack import SANDBOX_KEY, LocalStack, StackError

if TYPE_CHECKING:
    from worker.settings import Settings

__all__ = ["demo", "up"]

_FOLDER: Final = Path("var")
_CLUSTER_FOLDER: Final = Path("var-cluster")
"""Not the same: a database counts with one queue."""


@click.command()
@click.option("--people", type=click.IntRange(min=100), default=4000, show_default=True, help="How many press.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed makes another crowd.")
@click.option("--cluster", is_flag=True, help="On a Valkey Cluster, of which a primary is killed.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep queue, database and logs here.")
def demo(*, people: int, seed: int, cluster: bool, keep: Path | None) -> None:
    """Watch feedback go the whole way, fail in every way, die, and be replayed.

    Sets everything up on loopback, runs about a minute, and exits 0 only if the books balance: nothing lost.
    """
    console = Console()
    if keep is not None and keep.is_dir() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty: the books would not balance", param_hint="--keep")
    _end_in_order()
    with tempfile.TemporaryDirectory(prefix="aquilax-feedback-") as temporary:
        sys.exit(0 if _demo(console, keep or Path(temporary), people, seed, is_on_cluster=cluster) else 1)


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    show_default=f"{_FOLDER}, with --cluster {_CLUSTER_FOLDER}",
    help="Where the queue, the database and the logs are kept; the next start goes on with them.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="A Valkey Cluster of three primaries and three replicas; a node that ends comes back.",
)
def up(*, folder: Path | None, cluster: bool) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Valkey, SQLite, a worker and Flower, on loopback; against the real AquilaX if AQUILAX_API_KEY is set, and against
    the sandbox otherwise.
    """
    given = settings()
    _end_in_order()
    folder = folder or (_CLUSTER_FOLDER if cluster else _FOLDER)
    try:
        with LocalStack(folder=folder) as stack:
            supervisor = _start_cluster(stack, given) if cluster else None
            if not cluster:
                stack.start_broker()
            _start(stack, given)
            if supervisor:
                _say_how_to_fail_over(supervisor.cluster)
            stack.watch(supervisor)
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


def _start_cluster(stack: LocalStack, given: Settings) -> NodeSupervisor:
    cluster = LocalCluster.start(stack)
    if "feedback_enqueue_replicas" not in given.model_fields_set:
        stack.environment["FEEDBACK_ENQUEUE_REPLICAS"] = "1"  # a failover loses nothing that was acknowledged
    supervisor = NodeSupervisor(cluster, _say_when)
    for node in cluster.nodes:
        where = f"127.0.0.1:{node.port}  process {node.part.process.pid}"
        say(f"{node.name}  {where}  {cluster.describe(node, supervisor.view)}")
    return supervisor


def _say_when(text: str) -> None:
    say(f"{datetime.now().astimezone():%H:%M:%S} {text}")


def _say_how_to_fail_over(cluster: LocalCluster) -> None:
    with suppress(redis.RedisError):  # a node has ended already
        node = cluster.busiest()
        say(
            f"To see a failover: kill -9 {node.part.process.pid} ends {node.name}, the primary with most of the keys. "
            "Its replica takes over, it is started again and follows, and aquilax-feedback reconcile balances."
        )


def _start(stack: LocalStack, given: Settings) -> None:
    stack.create_database()
    if given.aquilax_api_key is None:
        stack.start_sandbox()
    else:
        key, url = given.aquilax_api_key.get_secret_value(), given.aquilax_base_url
        stack.environment |= {"AQUILAX_API_KEY": key, "AQUILAX_BASE_URL": url}
    stack.start_worker()
    flower = stack.start_flower()
    for name in ("FEEDBACK_BROKER_URL", "FEEDBACK_ENQUEUE_REPLICAS", "FEEDBACK_DATABASE_URL", "AQUILAX_BASE_URL"):
        if name in stack.environment:
            say(f"export {name}={stack.environment[name]}")
    if given.aquilax_api_key is None:
        say(f"export AQUILAX_API_KEY={SANDBOX_KEY}")  # it opens nothing but this sandbox
    say(f"With these set, try: aquilax-feedback send {uuid.uuid4()} true --org my-org --group my-group")
    say(f"Flower is at {flower}; logs are in {stack.folder}. Ctrl-C ends it all.")


def _demo(console: Console, folder: Path, people: int, seed: int, *, is_on_cluster: bool) -> bool:
    try:
        with LocalStack(folder=folder) as stack:
            return Demo(stack=stack, console=console, people=people, seed=seed, is_on_cluster=is_on_cluster).run()
    except (DemoFailed, StackError) as error:
        console.print(error, style="bold red", highlight=False, markup=False)
        return False
