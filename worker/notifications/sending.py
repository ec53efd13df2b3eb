"""Sending a message to receivers, each by a process of its own that is killed when its time is over.

A timeout of a plugin is for each read of a socket, and none is for a name that is looked up: only a process can be
ended whatever it is at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from worker.concurrency.at_once import ask_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.notifications.rendering import Rendered
    from worker.policy.notification_receiver import Receiver

__all__ = ["AT_ONCE", "SEND_TIMEOUT", "Send", "check_receiver", "send", "send_all"]

SEND_TIMEOUT: Final = 20.0
"""Seconds for one message to one receiver, all in all."""

AT_ONCE: Final = 2
"""Processes: each takes 55 MB for a second, and a container has a limit."""

_MODULE: Final = "worker.notifications.sending_process"


class Send(Protocol):
    """What sends a message to a receiver."""

    def __call__(self, receiver: Receiver, message: Rendered, *, keys: Sequence[bytes]) -> str:
        """Return why it was not taken, without secrets; '' if it was."""


def send(receiver: Receiver, message: Rendered, *, keys: Sequence[bytes], timeout: float = SEND_TIMEOUT) -> str:
    """Send a message to a receiver.

    Args:
        receiver: Who.
        message: What.
        keys: What signs it, if it is a webhook of ours.
        timeout: Seconds.

    Returns:
        Why it was not taken, without secrets; '' if it was.
    """
    order = {
        "title": message.title,
        "body": message.body,
        "severity": message.severity,
        "payload": message.payload,
        "id": message.id,
        "keys": [b64encode(key).decode() for key in keys] if receiver.is_webhook else [],
    }
    try:
        return _ordered(receiver, order, timeout)
    except TimeoutError:
        return f"it was not taken within {timeout:g} s"


def check_receiver(receiver: Receiver, *, timeout: float = SEND_TIMEOUT) -> str:
    """Return what is wrong with an address, as far as that is seen without sending anything; '' if nothing is.

    Of a machine that is too busy to tell within ``timeout`` seconds nothing is said.
    """
    if receiver.is_webhook:
        return ""
    try:
        return _ordered(receiver, {"check": True}, timeout)
    except TimeoutError:
        return ""


def send_all(attempts: Sequence[tuple[Receiver, Rendered]], *, keys: Sequence[bytes], by: Send = send) -> list[str]:
    """Send messages at the same time, `AT_ONCE` at most; return what `send` has for each."""
    outcomes = ask_at_once([partial(by, receiver, message, keys=keys) for receiver, message in attempts])
    return [
        f"{type(found).__name__}: it can't be sent" if isinstance(found, Exception) else found for found in outcomes
    ]


def _ordered(receiver: Receiver, order: dict[str, Any], timeout: float) -> str:
    whole = {"check": False, "webhook": receiver.is_webhook, "timeout": timeout, **order}
    whole["url"] = receiver.target if receiver.is_webhook else receiver.url
    try:
        # By standard input: a command line is for every user of the machine to see.
        done = subprocess.run(  # noqa: S603 - this program's own Python and module
            [sys.executable, "-P", "-m", _MODULE],
            input=json.dumps(whole).encode(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    except OSError as error:
        return f"no process could be started: {error.strerror or type(error).__name__}"
    try:
        return str(json.loads(done.stdout)["problem"])
    except (ValueError, KeyError, TypeError):
        return f"the process that sends ended with status {done.returncode}"
