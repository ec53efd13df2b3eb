"""Odd responses through the real client: each counts by its own status, and never by what stands behind another.

``FEEDBACK_FUZZ=50000`` sends as many; ``FEEDBACK_FUZZ_SEED`` begins elsewhere.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from producer import FeedbackEvent
from tests.support.odd_responses import Odd, odd_response
from tests.support.raw_http import Peer, raw_http
from worker.clients.aquilax.client import AquilaX
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.policy.classification import Response

RESPONSES = int(os.environ.get("FEEDBACK_FUZZ", "600"))
SEED = int(os.environ.get("FEEDBACK_FUZZ_SEED", "1"))
KEY = "ax-f0zz-key/of+ours"


@pytest.mark.timeout(max(300, RESPONSES))
def test_each_odd_response_counts_by_its_own_status() -> None:
    """On new connections and kept ones, from several threads; what there is no response to is no answer."""
    expected: dict[str, Odd] = {}
    lock = Lock()

    def say(peer: Peer, head: str) -> None:
        request_id = head.split("/")[5]
        with lock:
            odd = expected[request_id]
        peer.say(*odd.parts)
        if odd.status is None or b"no length" in b"".join(odd.parts):
            peer.socket.close()

    def ask(number: int) -> tuple[int, Odd, Response]:
        chance = random.Random(SEED * 1_000_000 + number)
        odd = odd_response(chance)
        event = FeedbackEvent(request_id=_id(number), status=True, org="o", group="g")
        with lock:
            expected[event.request_id] = odd
        return number, odd, aquilax.send(event)

    with (
        raw_http(say) as server,
        AquilaX(server.url, SecretStr(KEY), timeout=timedelta(seconds=10), connections=8) as aquilax,
        ThreadPoolExecutor(8) as threads,
    ):
        for number, odd, answer in threads.map(ask, range(RESPONSES)):
            seen = f"number {number} of seed {SEED}: {b''.join(odd.parts)[:300]!r}"
            assert answer.status == odd.status, f"{answer}; {seen}"
            assert answer.took < timedelta(seconds=8), seen
            assert "\0" not in answer.summary + fingerprint_of(Reason.REJECTED, answer.status, answer.text).summary, (
                seen
            )
            (answer.summary + answer.text).encode()
    assert server.connections < RESPONSES  # some were kept


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"
