"""Connections are used again only where nothing is left over on them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from producer import FeedbackEvent
from tests.integration.aquilax.sending import (
    EVENT,
    REQUEST_ID,
    client,
)
from tests.support.raw_http import Peer, raw_http, response


@pytest.mark.parametrize(
    "said",
    [
        response(body=b"ok"),
        response(),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        response("404 x", b"no"),
    ],
    ids=["text", "empty", "204", "chunked", "404"],
)
def test_one_connection_carries_many_events(said: bytes) -> None:
    """A handshake for each would cost more than the event."""
    with raw_http(lambda peer, _: peer.say(said)) as server, client(server.url) as aquilax:
        statuses = {aquilax.send(EVENT).status for _ in range(10)}

    assert len(statuses) == 1
    assert (len(server.requests), server.connections) == (10, 1)


def test_a_late_answer_is_not_taken_for_the_next_events() -> None:
    """A connection whose answer was given up is not used again."""
    answers = iter([0.6, 0.0])

    def late_then_prompt(peer: Peer, head: str) -> None:
        peer.ended.wait(next(answers))
        peer.say(response("404 late" if "/true" in head else "200 OK"))

    with raw_http(late_then_prompt) as server, client(server.url, timeout=0.3) as aquilax:
        first = aquilax.send(EVENT)
        second = aquilax.send(FeedbackEvent(request_id=REQUEST_ID, status=False, org="a", group="g"))

    assert (first.status, second.status) == (None, 200)
    assert server.connections == 2


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"


@pytest.mark.parametrize("interim", [INTERIM, INTERIM * 200], ids=["two", "many"])
def test_only_a_final_response_counts(interim: bytes) -> None:
    """On a new connection and on one that is kept, which goes on being used; and what comes later is the next one's."""
    statuses = iter(["200 OK", "404 No", "200 OK", "503 Busy"])

    def say(peer: Peer, _: str) -> None:
        peer.say(interim, response(next(statuses)), every=0.01)

    with raw_http(say) as server, client(server.url) as aquilax:
        answers = [aquilax.send(EVENT).status for _ in range(4)]

    assert answers == [200, 404, 200, 503]
    assert server.connections == 1


def test_a_switch_of_protocols_is_final_and_ends_the_connection() -> None:
    """Nothing asked for it; what follows it is not HTTP."""
    with (
        raw_http(lambda peer, _: peer.say(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", response())) as server,
        client(server.url) as aquilax,
    ):
        answers = [aquilax.send(EVENT).status for _ in range(2)]

    assert answers == [101, 101]
    assert server.connections == 2


def test_many_threads_share_the_pool() -> None:
    """As many connections as threads, at the most."""
    with (
        raw_http(lambda peer, _: peer.say(response())) as server,
        client(server.url, connections=4) as aquilax,
        ThreadPoolExecutor(4) as threads,
    ):
        statuses = {answer.status for answer in threads.map(aquilax.send, [EVENT] * 100)}

    assert statuses == {200}
    assert server.connections <= 4


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_second_answer_is_not_taken_for_the_next_events(after: int) -> None:
    """A proxy that answers twice must not have an event that was refused recorded as delivered."""
    asked: list[str] = []

    def answer(peer: Peer, head: str) -> None:
        asked.append(head)
        last = len(asked) > after
        peer.say(response("503 Service Unavailable" if last else "200 OK"))
        if len(asked) == after:
            time.sleep(0.05)
            peer.say(response("200 OK"))

    with raw_http(answer) as server, client(server.url) as aquilax:
        answers = [aquilax.send(EVENT).status for _ in range(after)]
        time.sleep(0.15)  # the second answer comes
        refused = aquilax.send(EVENT).status

    assert (answers, refused) == ([200] * after, 503)
    assert server.connections == 2
