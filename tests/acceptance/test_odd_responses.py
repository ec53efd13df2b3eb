"""Odd responses through a real worker: each event ends by the status that was meant for it, and the books are exact."""

from __future__ import annotations

import random
import uuid
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from producer import FeedbackProducer
from tests.support.odd_responses import Odd, odd_response
from tests.support.processes import eventually
from tests.support.raw_http import Peer, raw_http, response
from worker.database.models import DeadLetter
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack

EVENTS = 150
RETRIED = frozenset({None, 429, 500, 503, 504})


def test_each_event_ends_by_its_own_status(empty_stack: LocalStack) -> None:
    """Delivered, or a dead letter at once, or tried again and then delivered; no delivery raises."""
    chance = random.Random(7)
    odd: dict[str, Odd] = {
        str(uuid.UUID(int=chance.getrandbits(128), version=4)): odd_response(chance) for _ in range(EVENTS)
    }
    asked: dict[str, int] = dict.fromkeys(odd, 0)
    lock = Lock()

    def say(peer: Peer, head: str) -> None:
        request_id = head.split("/")[5]
        with lock:
            asked[request_id] += 1
            first = asked[request_id] == 1
        said = odd[request_id]
        peer.say(*(said.parts if first else (response(),)))
        if first and (said.status is None or b"no length" in b"".join(said.parts)):
            peer.socket.close()

    broker = empty_stack.start_broker()
    database = empty_stack.create_database()
    with (
        raw_http(say) as server,
        redis.Redis.from_url(broker) as client,
        FeedbackProducer(broker, timeout=5) as producer,
    ):
        empty_stack.environment |= {
            "AQUILAX_BASE_URL": server.url,
            "AQUILAX_API_KEY": "ax-f0zz-key/of+ours",
            "FEEDBACK_MAX_ATTEMPTS": "9",
            "FEEDBACK_RETRY_HORIZON": "8",  # what asks for ten years gets no more
            "FEEDBACK_REQUEST_TIMEOUT": "10",
        }
        worker = empty_stack.start_worker()
        producer.enqueue_many({"request_id": each, "status": True, "org": "o", "group": "g"} for each in odd)
        eventually(
            lambda: not client.exists("feedback", "feedback:delayed", "unacked"), timeout=120, what="all have ended"
        )
        counts = {name.decode(): int(count) for name, count in client.hgetall("feedback:counts").items()}

    with closing(DeadLetterStore.connect(database)) as store, Session(store.engine) as session:
        died = {str(row.request_id): row.http_status for row in session.scalars(select(DeadLetter))}
    refused = {each for each, said in odd.items() if said.status in {400, 403, 404, 409}}
    late = set(died) - refused  # a machine that was busy for longer than the horizon
    assert refused <= set(died)
    assert all(status == odd[each].status for each, status in died.items())
    assert all(odd[each].status in RETRIED for each in late)
    assert (counts["accepted"], counts["dead"]) == (EVENTS, len(died))
    assert counts["delivered"] == EVENTS - len(died)
    assert all(asked[each] == 1 + (said.status in RETRIED) for each, said in odd.items() if each not in late)
    assert "a fault of ours" not in worker.said()
