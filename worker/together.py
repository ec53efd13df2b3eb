"""Scripts of many tasks in one round trip: what comes while Redis is being asked goes with the next question.

A round trip costs the same however many scripts it carries, and most of what redis-py does for a command it does once
for a pipeline. A thread asks for all.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.turns import here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.turns import Turns, Waiter

__all__ = ["Together"]

_MOST: Final = 100
"""Scripts in one round trip: so long Redis serves nobody else, a few milliseconds."""


class _Call:
    """One task's command, and what came of it."""

    __slots__ = ("_lock", "answer", "command", "turns", "waiter")

    def __init__(self, command: tuple[Any, ...]) -> None:
        self.command = command
        self.answer: Any = None
        self.turns: Turns | None = here()
        self.waiter: Waiter | None = None
        if self.turns is not None:
            self.waiter = self.turns.waiter()
        else:
            self._lock = threading.Lock()
            self._lock.acquire()

    def wait(self) -> Any:  # noqa: ANN401 - each script its own
        if self.waiter is not None:
            self.waiter.get()
        else:
            self._lock.acquire()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def wake(self) -> None:
        """Let a thread go on that waits for nothing else."""
        self._lock.release()


class Together:
    """What runs scripts for many tasks: in place of a client, for `worker.broker.scripts.Script`.

    Args:
        client: Redis. It is not closed here.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
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

    def _call(self, command: tuple[Any, ...]) -> Any:  # noqa: ANN401 - each script its own
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
            self._ask_for(calls)
            by_turns: dict[Turns, list[Waiter]] = {}
            for call in calls:
                if call.turns is None or call.waiter is None:
                    call.wake()
                else:
                    by_turns.setdefault(call.turns, []).append(call.waiter)
            for turns, waiters in by_turns.items():
                turns.wake(waiters)

    def _next(self) -> list[_Call]:
        """Wait for somebody who asks; return all who do. None do once it is closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    self._thread = None
                    return []
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))]

    def _ask_for(self, calls: Sequence[_Call]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.execute_command(*call.command)  # type: ignore[no-untyped-call]
                answers = pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is everybody's
            answers = [error] * len(calls)
        except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
            answers = [redis.ConnectionError(f"whoever asked was cut short by {error!r}")] * len(calls)
        for call, answer in zip(calls, answers, strict=True):
            call.answer = answer
