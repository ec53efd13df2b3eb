"""A client that puts a hash tag before each key, so that all of them are in one slot of a cluster; for tests only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.client import Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TaggedRedis"]

_SCRIPTS = frozenset({"EVAL", "EVALSHA"})


class _Tags:
    """Where commands have their keys, and what is put before these."""

    def __init__(self, tag: bytes, commands: Mapping[str, Mapping[str, Any]]) -> None:
        self.tag = tag
        self._commands = commands

    def tagged(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The command with its keys tagged."""
        found = list(arguments)
        for at in self._places(str(arguments[0]).upper(), arguments):
            key = arguments[at] if isinstance(arguments[at], bytes) else str(arguments[at]).encode()
            assert key, f"a key without a name, of {arguments[0]}"
            found[at] = self.tag + key
        return tuple(found)

    def untagged(self, reply: Any) -> Any:
        """What a script or SCAN returned, its keys without the tag."""
        if isinstance(reply, list):
            return [self.untagged(part) for part in reply]
        if isinstance(reply, str):
            return reply.removeprefix(self.tag.decode())
        return reply.removeprefix(self.tag) if isinstance(reply, bytes) else reply

    def _places(self, name: str, arguments: tuple[Any, ...]) -> range:
        if name in _SCRIPTS:
            return range(3, 3 + int(arguments[2]))
        told = self._commands.get(name.lower())
        if not told or not told["first_key_pos"]:
            return range(0)
        last = told["last_key_pos"]
        return range(told["first_key_pos"], (len(arguments) + last if last < 0 else last) + 1, told["step_count"])


class TaggedRedis(redis.Redis):
    """redis-py's client, on keys that all begin with a tag; what it returns is without it.

    Args:
        port: Of the server on this machine.
        tag: Stands before each key, as `{a}`.
        options: More for redis-py's client.
    """

    def __init__(self, port: int, tag: bytes, **options: Any) -> None:
        super().__init__(port=port, **options)
        self.tags = _Tags(tag, {})
        self.tags = _Tags(tag, self.command())

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py's."""
        reply: Any = super().execute_command(*self.tags.tagged(args), **options)  # type: ignore[no-untyped-call]  # redis-py's own
        return self.tags.untagged(reply) if str(args[0]).upper() in _SCRIPTS else reply

    def keys(self, pattern: Any = "*", **options: Any) -> Any:
        """As redis-py's."""
        return self.tags.untagged(super().keys(self.tags.tag + str(pattern).encode(), **options))

    def scan(
        self, cursor: int = 0, match: Any = None, count: int | None = None, _type: str | None = None, **options: Any
    ) -> Any:
        """As redis-py's."""
        pattern = self.tags.tag + str(match or "*").encode()
        cursor, keys = super().scan(cursor, match=pattern, count=count, _type=_type, **options)
        return cursor, self.tags.untagged(keys)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """As redis-py's."""
        pipe = _TaggedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.tags = self.tags
        return pipe


class _TaggedPipeline(Pipeline):
    tags: _Tags

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return super().execute_command(*self.tags.tagged(args), **options)  # type: ignore[no-untyped-call]  # likewise
