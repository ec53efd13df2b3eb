"""The scripts of the worker, and whether they touch declared keys only.

MONITOR tells each command that a server runs, also those inside a script, right behind the script's own call.
"""

from __future__ import annotations

import re
import socket
import threading
import uuid
from codecs import escape_decode  # Python's own reader of backslashes
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

import worker
from worker.clients.redis.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Touched", "all_scripts", "key_positions", "undeclared", "watching_keys"]

_LINE: Final = re.compile(rb"\+[\d.]+ \[\d+ ([^\]]*)\] (.*)\r\n", re.DOTALL)
_WORD: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_CALLS: Final = {b"eval": 1, b"evalsha": 1}


def all_scripts() -> dict[str, Script]:
    """Every script of the worker, by the name of its module and its own."""
    root = Path(worker.__file__).parent
    files = [file for file in root.rglob("*.py") if " = Script(" in file.read_text()]
    names = [".".join(("worker", *file.relative_to(root).with_suffix("").parts)) for file in files]
    return {
        f"{name}.{attribute}": script
        for name in names
        for attribute, script in vars(import_module(name)).items()
        if isinstance(script, Script)
    }


@dataclass(frozen=True)
class Touched:
    """A key that a command inside a script names, and that the script's caller did not."""

    script: str
    command: str
    key: bytes


@contextmanager
def watching_keys(port: int) -> Iterator[None]:
    """Fail, when the block ends, if a script touched a key in it that its caller had not declared."""
    lines: list[bytes] = []
    mark = uuid.uuid4().hex.encode()
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as reader:
        sock.sendall(b"MONITOR\r\n")
        assert reader.readline() == b"+OK\r\n"

        def read() -> None:
            for line in reader:
                if mark in line:
                    return
                lines.append(line)

        thread = threading.Thread(target=read, name="monitor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with redis.Redis(port=port) as client:
                client.echo(mark)
                thread.join(30)
                assert not thread.is_alive(), "MONITOR does not tell what was run"
                found = list(undeclared(client, lines))
    assert not found, "\n".join(map(str, found))


def undeclared(client: redis.Redis, lines: Iterable[bytes]) -> Iterator[Touched]:
    """Yield each key that a script touched and its caller did not declare, and each declared key without a name.

    Args:
        client: Knows where commands have their keys.
        lines: What MONITOR told.
    """
    positions: dict[bytes, tuple[int, int, int]] = {}
    declared: frozenset[bytes] = frozenset()
    script = "no script"
    for line in lines:
        if not (match := _LINE.fullmatch(line)):
            continue
        source, text = match.groups()
        name, _, _ = text[1:].partition(b'"')
        if (name := name.lower()) in _CALLS:
            words = [escape_decode(word)[0] for word in _WORD.findall(text)]
            script, declared = words[1].decode(errors="replace")[:60], frozenset(words[3 : 3 + int(words[2])])
            if b"" in declared:  # it is in a slot of its own
                yield Touched(script, "the call itself", b"")
        elif source == b"lua":
            if name not in positions:
                positions[name] = key_positions(client, name.decode())
            words = [escape_decode(word)[0] for word in _WORD.findall(text)]
            for key in _keys(words, *positions[name]):
                if key not in declared:
                    yield Touched(script, name.decode(), key)


def key_positions(client: redis.Redis, command: str) -> tuple[int, int, int]:
    """Where a command has its keys, as the server tells: the first, the last (from the end if negative), the step."""
    info: dict[str, Any] = client.execute_command("COMMAND", "INFO", command)
    told = info.get(command.lower())
    return (told["first_key_pos"], told["last_key_pos"], told["step_count"]) if told else (0, 0, 0)


def _keys(words: list[bytes], first: int, last: int, step: int) -> list[bytes]:
    if not first:
        return []
    return words[first : (len(words) + last if last < 0 else last) + 1 : step]
