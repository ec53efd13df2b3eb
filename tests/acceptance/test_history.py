"""The history of a real worker, in each of its pools, read when it has stopped."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.processes import eventually
from worker.accounting.history.fields import EventField, PeakField, ResponseField
from worker.accounting.history.reading import HistoryRange, read_history
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_worker_that_stops_has_written_what_it_counted(three_presses: LocalStack, pool: str) -> None:
    """Each process of a pool counts, and writes as it ends what it has not written yet."""
    worker = three_presses.start_worker(options=["-P", pool, "-c", "2"])
    with redis.Redis.from_url(three_presses.environment["FEEDBACK_BROKER_URL"]) as client:

        def ended() -> bool:
            return [client.hget("feedback:counts", name) for name in ("delivered", "dead")] == [b"2", b"1"]

        eventually(ended, what=worker.said())
        three_presses.stop(worker)

        total = read_history(client, HistoryRange.HOUR).total

    assert (total.sum(EventField.DELIVERED), total.sum(EventField.RETRIED), total.sum(Reason.REJECTED)) == (2, 1, 1)
    kinds = (ResponseField.SUCCESS, ResponseField.SERVER_ERROR, ResponseField.CLIENT_ERROR)
    assert [total.sum(kind) for kind in kinds] == [2, 1, 1]
    assert total.responses == 4
    latency = total.latency(0.99)
    assert latency is not None
    assert 0 < latency < timedelta(seconds=10).total_seconds()
    assert total.peak(PeakField.OLDEST) is not None  # it sampled the queue as it started
