"""Script batching: scripts of many tasks in one round trip.

A round trip costs the same however many scripts it carries, and redis-py does most of its work for a command only once
for a pipeline. Scripts that arrive during a round trip go with the next; there is no timer, so a single one never
waits. Under a scheduler one of its tasks sends them (`worker.clients.redis.pipelining`), elsewhere a thread does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

from worker.clients.redis.keys import prefix_of, tag_of
from worker.clients.redis.pipelining import CommandPipeline
from worker.concurrency.batcher import Batcher
from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.broker_url import Place
    from worker.clients.redis.pipelining import Command, Reply
    from worker.concurrency.scheduler import Scheduler

__all__ = ["NodePipelines", "ScriptBatcher"]

_BATCH_LIMIT: Final = 100
"""Scripts in one round trip. Redis serves no other client meanwhile: a few milliseconds."""


class ScriptBatcher:
    """Runs scripts for many tasks; stands in for a client in `worker.clients.redis.scripts.Script`.

    Args:
        client: Redis. It is not closed here.
        nodes: What the partitions of a queue share; None if there is one.

    Attributes:
        key_prefix: That of the client (`worker.clients.redis.keys.prefix_of`).
    """

    def __init__(self, client: redis.Redis, *, nodes: NodePipelines | None = None) -> None:
        self._client = client
        self.key_prefix = prefix_of(client)
        self._nodes = nodes
        if nodes is not None:
            nodes.add(self)
        self._pipelines: dict[Scheduler, CommandPipeline] = {}
        self._thread: Batcher[Command, Reply] = Batcher(self.execute, name="scripts", limit=_BATCH_LIMIT)

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Reply:
        """Run a script that Redis has cached, as redis-py's method of this name."""
        return self._call(("EVALSHA", sha, numkeys, *keys_and_args))

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Reply:
        """Run a script, as redis-py's method of this name."""
        return self._call(("EVAL", script, numkeys, *keys_and_args))

    @property
    def silent_for(self) -> float:
        """For how many seconds Redis has owed a scheduler's tasks a reply; from any thread."""
        pipelines = [self._shared(scheduler, own) for scheduler, own in list(self._pipelines.items())]
        return max((pipeline.silent_for for pipeline in pipelines), default=0.0)

    def close(self) -> None:
        """End the thread, after it has sent what waits."""
        self._thread.close()

    def _call(self, command: Command) -> Reply:
        scheduler = current_scheduler()
        if scheduler is None:
            return self._thread.call(command)
        reply = self._pipeline(scheduler).execute(command)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def _pipeline(self, scheduler: Scheduler) -> CommandPipeline:
        pipeline = self._pipelines.get(scheduler)
        if pipeline is None:
            pipeline = self._pipelines[scheduler] = CommandPipeline(
                self._client.connection_pool,
                scheduler,
                self.execute if self._nodes is None else self._nodes.execute,
                batch_limit=_BATCH_LIMIT,
                broke=lambda place: self._nodes.broke(scheduler, place) if self._nodes else None,
            )
        return self._shared(scheduler, pipeline)

    def _shared(self, scheduler: Scheduler, own: CommandPipeline) -> CommandPipeline:
        return own if self._nodes is None else self._nodes.shared(scheduler, own)

    def leave(self, scheduler: Scheduler, place: Place) -> None:
        """Give up a scheduler's connection if it leads to a place."""
        pipeline = self._pipelines.get(scheduler)
        if pipeline is not None and pipeline.place == place:
            pipeline.disconnect()

    def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Return a reply or an error for each command, in any thread; redis-py retries after a failure."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(pipe.execute(raise_on_error=False))
        except Exception as error:  # noqa: BLE001 - each caller of the batch gets the error, whatever it is
            return [error] * len(commands)
        except BaseException as error:  # noqa: BLE001 - every waiting caller gets the error
            return [redis.ConnectionError(f"the batch was interrupted by {error!r}")] * len(commands)


class NodePipelines:
    """What the partitions of a queue share: those on one server send their commands over one connection, together.

    A partition opens a connection of its own, which shows where its server is; from then on it uses the connection of
    whichever partition was there first.
    """

    def __init__(self) -> None:
        self._batchers: dict[str, ScriptBatcher] = {}
        self._first: dict[tuple[Scheduler, Place], CommandPipeline] = {}

    def add(self, batcher: ScriptBatcher) -> None:
        """Note a partition, by what stands before its keys."""
        self._batchers[batcher.key_prefix] = batcher

    def shared(self, scheduler: Scheduler, own: CommandPipeline) -> CommandPipeline:
        """Return what sends a partition's commands; its own if nothing is known of its server yet."""
        place = own.place
        if place is None:
            return own
        first = self._first.get((scheduler, place))
        if first is None or first.place != place:
            first = self._first[scheduler, place] = own
        return first

    def broke(self, scheduler: Scheduler, place: Place) -> None:
        """Give up every connection to a server that is away, or has lost a slot; each partition looks for its own."""
        for batcher in self._batchers.values():
            batcher.leave(scheduler, place)

    def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Return a reply or an error for each command, of whichever partitions, in any thread."""
        of_partition: dict[str, list[int]] = {}
        for number, (_, _, _, key, *_) in enumerate(commands):
            of_partition.setdefault(tag_of(key), []).append(number)
        replies: list[Reply] = [None] * len(commands)
        for prefix, numbers in of_partition.items():
            found = self._batchers[prefix].execute([commands[number] for number in numbers])
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply
        return replies
