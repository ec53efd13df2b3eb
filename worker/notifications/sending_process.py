"""``python -m worker.notifications.sending_process``: one message to one receiver, and then this process ends.

It reads one JSON object from its standard input, and writes one to its standard output: what fails, or hangs, or takes
memory in any of Apprise's plugins does so here, and not in a worker.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from base64 import b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]


def main() -> None:
    """Do what standard input says."""
    order = json.load(sys.stdin)
    signal.alarm(int(order["timeout"]) + 1)  # for one whose worker has ended meanwhile
    logging.lastResort = None  # what plugins log may have an address in it
    sys.stdout.write(json.dumps({"problem": _done(order)}))


def _done(order: Mapping[str, Any]) -> str:
    if order["webhook"]:
        if order["check"]:
            return ""
        from worker.notifications.webhook import post_webhook  # noqa: PLC0415 - or Apprise: each takes its time

        return post_webhook(
            order["url"],
            order["payload"],
            keys=[b64decode(key) for key in order["keys"]],
            message_id=order["id"],
            at=datetime.now(UTC),
            timeout=order["timeout"],
        )
    from worker.notifications.apprise_client import apprise_problem, notify_by_apprise  # noqa: PLC0415 - likewise

    if order["check"]:
        return apprise_problem(order["url"])
    return notify_by_apprise(order["url"], title=order["title"], body=order["body"], severity=order["severity"])


if __name__ == "__main__":
    main()
