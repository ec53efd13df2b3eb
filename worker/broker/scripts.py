"""The Lua scripts of the transport: each is one step in Redis, which happens whole or not at all."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ACK", "FETCH", "HEARTBEAT", "PUBLISH", "PURGE", "REQUEUE", "SCHEDULE", "RunsScripts", "Script"]


@cache
def _text(name: str, package: str = "worker.broker") -> str:
    return files(package).joinpath("lua", f"{name}.lua").read_text("utf-8")


class RunsScripts(Protocol):
    """A client of redis-py, or what stands in its place."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - as redis-py has it
        """Run a script that Redis knows."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - likewise
        """Run a script."""


class Script:
    """One script.

    Args:
        names: The files that it is made of, after `common.lua`.
        package: Where they are, in the folder `lua`.

    Attributes:
        source: Its text.
        sha: What Redis calls it by.
    """

    def __init__(self, *names: str, package: str = "worker.broker") -> None:
        self.source = _text("common") + "".join(_text(name, package) for name in names)
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: RunsScripts, keys: Sequence[str | bytes], args: Sequence[Any]) -> Any:  # noqa: ANN401 - each its own
        """Run it.

        Args:
            client: A client that puts no prefix before keys.
            keys: The whole names of the keys.
            args: The arguments.

        Raises:
            redis.RedisError: Redis is away or refuses.
        """
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:  # Redis has restarted
            return client.eval(self.source, len(keys), *keys, *args)


FETCH: Final = Script("fetch")
ACK: Final = Script("ack")
REQUEUE: Final = Script("requeue")
HEARTBEAT: Final = Script("heartbeat")
SCHEDULE: Final = Script("schedule")
PUBLISH: Final = Script("publish")
PURGE: Final = Script("purge")
