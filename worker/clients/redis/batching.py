"""Script batching: scripts of many tasks in one round trip.

A round trip costs the same however many scripts it carries, and redis-py does most of its work for a command only once
for a pipeline. Scripts that arrive during a round trip go with the next; there is no timer, so a single one never
waits. Under a scheduler one of its tasks sends them (`worker.clients.redis.pipelining`), elsewhere a thread does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

from worker.clients.redis.keys import prefix_of
from worker.clients.redis.pipelining import CommandPipeline
from worker.concurrency.batcher import Batcher
from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.clients.redis.pipelining import Command, Reply
    from worker.concurrency.scheduler import Scheduler

__all__ = ["ScriptBatcher"]

_BATCH_LIMIT: Final = 100
"""Scripts in one round trip. Redis serves no other client meanwhile: a few milliseconds."""


class ScriptBatcher:
    """Runs scripts for many tasks; stands in for a client in `worker.clients.redis.scripts.Script`.

    Args:
        client: Redis. It is not closed here.

    Attributes:
        key_prefix: That of the client (`worker.clients.redis.keys.prefix_of`).
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.key_prefix = prefix_of(client)
        self._pipelines: dict[Scheduler, CommandPipeline] = {}
        self._thread: Batcher[Command, Reply] = Batcher(self._execute, name="scripts", limit=_BATCH_LIMIT)

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Reply:
        """Run a script that Redis has cached, as redis-py's method of this name."""
        return self._call(("EVALSHA", sha, numkeys, *keys_and_args))

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Reply:
        """Run a script, as redis-py's method of this name."""
        return self._call(("EVAL", script, numkeys, *keys_and_args))

    @property
    def silent_for(self) -> float:
        """For how many seconds Redis has owed a scheduler's tasks a reply; from any thread."""
        return max((pipeline.silent_for for pipeline in list(self._pipelines.values())), default=0.0)

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
                self._client.connection_pool, scheduler, self._execute, batch_limit=_BATCH_LIMIT
            )
        return pipeline

    def _execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Return a reply or an error for each command; redis-py retries after a failure."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(pipe.execute(raise_on_error=False))
        except Exception as error:  # noqa: BLE001 - each caller of the batch gets the error, whatever it is
            return [error] * len(commands)
        except BaseException as error:  # noqa: BLE001 - every waiting caller gets the error
            return [redis.ConnectionError(f"the batch was interrupted by {error!r}")] * len(commands)
