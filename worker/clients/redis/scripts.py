"""Lua scripts: each is one step in Redis, which happens whole or not at all."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.clients.redis.pipelining import Reply

__all__ = ["COUNT", "JSON", "TIME", "RunsScripts", "Script", "lua"]


@cache
def lua(package: str, *names: str) -> str:
    """Return the text of Lua files.

    Args:
        package: Where they are, in its folder ``lua``.
        names: The files, without ``.lua``, in the order in which they stand in the script.
    """
    return "".join(files(package).joinpath("lua", f"{name}.lua").read_text("utf-8") for name in names)


TIME: Final = lua("worker.clients.redis", "time")
JSON: Final = lua("worker.clients.redis", "json")
COUNT: Final = lua("worker.clients.redis", "count")


class RunsScripts(Protocol):
    """A client of redis-py, or what stands in its place."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Reply:
        """Run a script that Redis knows."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Reply:
        """Run a script."""


class Script:
    """One script.

    Args:
        source: Its text, from `lua`. Its first write should free memory where it can: a Redis whose memory is full
            refuses a script's first write if that needs memory, and lets the script finish once it has written.

    Attributes:
        source: Its text.
        sha: The SHA-1 of its text, by which Redis knows it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: RunsScripts, keys: Sequence[str | bytes], args: Sequence[Any]) -> Reply:
        """Run it.

        Args:
            client: A client that puts no prefix before keys.
            keys: The whole names of the keys.
            args: The arguments.

        Raises:
            redis.RedisError: Redis is unavailable or refuses.
        """
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:  # Redis has restarted
            return client.eval(self.source, len(keys), *keys, *args)
