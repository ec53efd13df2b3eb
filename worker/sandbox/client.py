"""Asks a running sandbox what it received, and tells it how to misbehave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import requests

from worker.sandbox.faults import Faults
from worker.sandbox.received import Account, Totals
from worker.sandbox.responses import Answer, response_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

__all__ = ["SandboxClient", "SandboxError"]

_TIMEOUT: Final = 30.0
"""Seconds: a full listing of a few hundred thousand request_ids takes some."""


class SandboxError(Exception):
    """The sandbox refused what it was told; its message names the field and the fix."""


class SandboxClient:
    """The control API of one sandbox, over one connection. It belongs to one thread.

    Args:
        base_url: Where the sandbox listens, such as ``http://127.0.0.1:8080``.
        verify: For https: whether to check the certificate, or the file of authorities to check it against.
    """

    def __init__(self, base_url: str, *, verify: bool | str = True) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = verify

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def received(self) -> Totals:
        """Return what came in all."""
        return Totals.from_json(self._ask("GET", "received"))

    def received_by_request_id(self) -> dict[str, Account]:
        """Return what became of every request_id, without the recent requests of each."""
        answer = self._ask("GET", "received?list=true")
        return {name: Account.from_json(given) for name, given in answer["by_request_id"].items()}

    def received_for(self, request_id: str) -> Account:
        """Return what became of one request_id, with its recent requests; all zeros if it never came."""
        return Account.from_json(self._ask("GET", f"received/{request_id}"))

    def behaviour(self) -> Faults:
        """Return how it misbehaves."""
        return Faults().changed(self._ask("GET", "behaviour"))

    def behave(self, **changes: object) -> Faults:
        """Change how it misbehaves, and return it.

        Args:
            changes: Fields of `Faults` in their JSON form; the others stay as they are.

        Raises:
            SandboxError: A field is wrong.
        """
        return Faults().changed(self._ask("PATCH", "behaviour", changes))

    def fix(self) -> None:
        """Let everything work: no misbehaviour, no scripts. What it received stays."""
        self._ask("PUT", "behaviour", {})
        self._ask("DELETE", "scripts")

    def script(self, request_id: str, answers: Iterable[Answer | int | str], *, repeat_last: bool = False) -> None:
        """Give these answers for one request_id, in order, before it is treated like any other.

        Args:
            request_id: The request_id.
            answers: Statuses, ``"hang"``, ``"reset"``, ``"close"``, or replies with a body, headers or latency.
            repeat_last: Give the last of them for ever.

        Raises:
            SandboxError: An answer is wrong.
        """
        script = {"answers": [response_to_json(answer) for answer in answers], "repeat_last": repeat_last}
        self._ask("PUT", f"scripts/{request_id}", script)

    def reset(self) -> None:
        """Be as at the start: forget what came, drop the scripts, behave as the command line says."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        url = f"{self._base_url}/_sandbox/{path}"
        answer = self._session.request(method, url, json=document, timeout=_TIMEOUT)
        if not answer.ok:
            raise SandboxError(answer.json()["message"])
        reply: dict[str, Any] = answer.json() if answer.content else {}
        return reply
