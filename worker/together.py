"""Scripts of many threads in one round trip: what comes while Redis is being asked goes with the next question.

A round trip costs the same however many scripts it carries, and most of what redis-py does for a command it does once
for a pipeline. There is no thread for it: whoever comes first asks for all that have come, and hands on to the next.
Alone, a thread asks at once.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Together"]

_MOST: Final = 100
"""Scripts in one round trip: so long Redis serves nobody else, a few milliseconds."""


class _Call:
    """One thread's command, and what came of it."""

    __slots__ = ("answer", "answered", "command", "turn")

    def __init__(self, command: tuple[Any, ...]) -> None:
        self.command = command
        self.answered = False
        self.answer: Any = None
        self.turn = threading.Lock()
        """Held until it is answered, or its turn to ask has come."""
        self.turn.acquire()

    def give(self, answer: Any) -> None:  # noqa: ANN401 - each script its own
        self.answer, self.answered = answer, True


class Together:
    """What runs scripts for many threads: in place of a client, for `worker.broker.scripts.Script`.

    Args:
        client: Redis. It is not closed here.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._waiting: deque[_Call] = deque()
        self._under_way = False
        self._one_at_a_time = threading.Lock()

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - as redis-py has it
        """Run a script that Redis knows; as redis-py's of this name."""
        return self._call(("EVALSHA", sha, numkeys, *keys_and_args))

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - as redis-py has it
        """Run a script; as redis-py's of this name."""
        return self._call(("EVAL", script, numkeys, *keys_and_args))

    def _call(self, command: tuple[Any, ...]) -> Any:  # noqa: ANN401 - each script its own
        call = _Call(command)
        with self._one_at_a_time:
            self._waiting.append(call)
            asks, self._under_way = not self._under_way, True
        if not asks:
            call.turn.acquire()
        if not call.answered:
            self._ask()
        if isinstance(call.answer, BaseException):
            raise call.answer
        return call.answer

    def _ask(self) -> None:
        """Ask for all who wait, the caller first among them; then it is the turn of the first who has come since."""
        with self._one_at_a_time:
            calls = list(islice(self._waiting, _MOST))
            for _ in calls:
                self._waiting.popleft()
        try:
            self._ask_for(calls)
        finally:
            with self._one_at_a_time:
                self._under_way = bool(self._waiting)
                if self._under_way:
                    self._waiting[0].turn.release()
            for other in calls[1:]:
                other.turn.release()

    def _ask_for(self, calls: Sequence[_Call]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.execute_command(*call.command)  # type: ignore[no-untyped-call]
                answers = pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is everybody's
            for call in calls:
                call.give(error)
        except BaseException as error:
            for other in calls[1:]:
                other.give(redis.ConnectionError(f"whoever asked was cut short by {error!r}"))
            raise
        else:
            for call, answer in zip(calls, answers, strict=True):
                call.give(answer)
