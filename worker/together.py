"""Scripts of many tasks in one round trip: what comes while Redis is being asked goes with the next question.

A round trip costs the same however many scripts it carries, and most of what redis-py does for a command it does once
for a pipeline. A thread asks for all; where tasks take turns, one of them does (`worker.asking`).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.asking import Asker
from worker.turns import here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.asking import Command
    from worker.turns import Turns

__all__ = ["Together"]

_MOST: Final = 100
"""Scripts in one round trip: so long Redis serves nobody else, a few milliseconds."""


class _Call:
    """One thread's command, and what came of it."""

    __slots__ = ("_lock", "answer", "command")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.answer: Any = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> Any:  # noqa: ANN401 - each script its own
        self._lock.acquire()
        return self.answer

    def wake(self) -> None:
        """Let the thread go on."""
        self._lock.release()


class Together:
    """What runs scripts for many tasks: in place of a client, for `worker.broker.scripts.Script`.

    Args:
        client: Redis. It is not closed here.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._askers: dict[Turns, Asker] = {}
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - as redis-py has it
        """Run a script that Redis knows; as redis-py's of this name."""
        return self._call(("EVALSHA", sha, numkeys, *keys_and_args))

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - as redis-py has it
        """Run a script; as redis-py's of this name."""
        return self._call(("EVAL", script, numkeys, *keys_and_args))

    def close(self) -> None:
        """End the thread, once it has asked for all who wait."""
        with self._changed:
            thread, self._closed = self._thread, True
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _call(self, command: Command) -> Any:  # noqa: ANN401 - each script its own
        turns = here()
        answer = self._by_thread(command) if turns is None else self._asker(turns).ask(command)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _asker(self, turns: Turns) -> Asker:
        asker = self._askers.get(turns)
        if asker is None:
            asker = self._askers[turns] = Asker(self._client.connection_pool, turns, self._answers, most=_MOST)
        return asker

    def _by_thread(self, command: Command) -> Any:  # noqa: ANN401 - as above
        call = _Call(command)
        with self._changed:
            self._waiting.append(call)
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(target=self._run, name="scripts", daemon=True)
                self._thread.start()
            elif len(self._waiting) == 1:
                self._changed.notify()
        return call.wait()

    def _run(self) -> None:
        while calls := self._next():
            for call, answer in zip(calls, self._answers([call.command for call in calls]), strict=True):
                call.answer = answer
                call.wake()

    def _next(self) -> list[_Call]:
        """Wait for somebody who asks; return all who do. None do once it is closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    self._thread = None
                    return []
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))]

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        """Return what Redis answers to each, or an error for it; redis-py tries again after a failure."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)  # type: ignore[no-untyped-call]
                return list(pipe.execute(raise_on_error=False))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is everybody's
            return [error] * len(commands)
        except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
            return [redis.ConnectionError(f"whoever asked was cut short by {error!r}")] * len(commands)
