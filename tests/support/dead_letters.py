"""Very many dead letters, for tests and benchmarks of what is slow then."""

from __future__ import annotations

import json
import random
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import insert

from worker.database.models import DeadLetter, State
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Table

    from worker.dead_letters.store import DeadLetterStore

_DEATHS = (
    # How many of a hundred, when within a week, in days ago, and of what.
    (60, (2.0, 0.0), Reason.REJECTED, 404, "Request ID not found"),
    (15, (7.0, 0.0), Reason.FORBIDDEN, 403, "Insufficient permissions"),
    (10, (7.0, 0.0), Reason.REJECTED, 400, "Invalid org"),
    (10, (5.0, 4.3), Reason.EXHAUSTED, 503, "Downstream service unavailable"),
    (5, (5.0, 4.3), Reason.EXHAUSTED, None, "timeout: no answer within 10 s"),
)
_CAUSES = [fingerprint_of(reason, status, message) for _, _, reason, status, message in _DEATHS]
_STATES = ((80, State.DEAD), (15, State.DELIVERED), (5, State.DISCARDED))
_AT_ONCE = 5000


def fill(store: DeadLetterStore, rows: int, *, last_at: datetime) -> None:
    """Write rows of five causes and forty orgs, that died within a week, some in bursts; always the same ones."""
    chance = random.Random(1)
    for start in range(0, rows, _AT_ONCE):
        with store.engine.begin() as connection:
            made = list(_rows(chance, min(_AT_ONCE, rows - start), last_at))
            connection.execute(insert(cast("Table", DeadLetter.__table__)), made)


def _rows(chance: random.Random, number: int, last_at: datetime) -> Iterator[dict[str, Any]]:
    for _ in range(number):
        (death,) = chance.choices(range(len(_DEATHS)), [death[0] for death in _DEATHS])
        (_, (first, last), reason, status, message), cause = _DEATHS[death], _CAUSES[death]
        _, state = chance.choices(_STATES, [state[0] for state in _STATES])[0]
        failed_at = last_at - timedelta(days=last + (first - last) * chance.random())
        yield {
            "dedup_key": f"{chance.getrandbits(256):064x}",
            "message_id": f"{chance.getrandbits(128):032x}",
            "request_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "status": chance.random() < 0.5,
            "org": f"65dd3e835a669e33476542{int(chance.random() ** 3 * 40):02d}",
            "org_group": f"67e86d036e9921509f7304{chance.randrange(5):02d}",
            "occurred_at": failed_at,
            "reason": reason,
            "http_status": status,
            "response_body": json.dumps({"code": status, "message": message}),
            "fingerprint": cause.fingerprint,
            "summary": cause.summary,
            "attempts": chance.randrange(1, 8),
            "first_enqueued_at": failed_at,
            "failed_at": failed_at,
            "state": state,
            "comment": "",
            "replay_count": 0,
        }
