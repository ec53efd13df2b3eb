"""The suite's own judgement: it must see a loss, a word that is wrong, and an event that arrived too often."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import requests

from producer.partitions import ON_A_CLUSTER, partition_of
from tests.chaos.gaps import Gaps, Window, arrivals, longest_waits
from tests.chaos.load import Numbers, event_of
from tests.chaos.logs import unexplained
from tests.chaos.outcome import compare
from tests.chaos.pressing import Call
from tests.chaos.proxy import Proxy
from tests.support.processes import ROOT, RedisServer
from tests.support.sandbox import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import RunningSandbox


def deliver(sandbox: RunningSandbox, request_id: str, *, word: str = "") -> None:
    """Send one event, as a worker does."""
    word = word or event_of(request_id).status_text
    url = f"{sandbox.url}/api/v2/ai/feedback/{request_id}/{word}"
    requests.get(url, params={"org": "o", "group": "g"}, headers={"X-AX-KEY": KEY}, timeout=5)


def test_an_event_that_nobody_has_is_lost(sandbox: RunningSandbox) -> None:
    """Delivered or dead, an event is there; any other one is not."""
    delivered, dead, lost = Numbers().take(3)
    deliver(sandbox, delivered)

    found = compare([delivered, dead, lost], {dead}, sandbox.client, gave_up=False, words={})

    assert (found.lost, found.wrong, found.repeated) == ([lost], [], {})


def test_the_other_word_is_wrong(sandbox: RunningSandbox) -> None:
    """What counts is the last vote that AquilaX accepted."""
    (request_id,) = Numbers().take(1)
    deliver(sandbox, request_id)
    deliver(sandbox, request_id, word="false")

    found = compare([request_id], (), sandbox.client, gave_up=False, words={request_id: 2})

    assert (found.lost, found.wrong, found.repeated) == ([], [request_id], {})


def test_an_event_that_came_twice_is_repeated_unless_an_answer_asked_for_it(sandbox: RunningSandbox) -> None:
    """A 503 asks for another request; a 200 and a 404 do not."""
    asked_for, taken, refused = Numbers().take(3)
    sandbox.client.script(asked_for, [503, 503])
    sandbox.client.script(refused, [404, 404])
    for request_id in (asked_for, asked_for, asked_for, taken, taken, taken, refused, refused):
        deliver(sandbox, request_id)

    found = compare([asked_for, taken], {refused}, sandbox.client, gave_up=False, words={})

    assert (found.lost, found.repeated) == ([], {taken: 2, refused: 1})


def test_the_longest_wait_is_told_of_the_partitions_that_were_hurt_and_of_the_others() -> None:
    """From the beginning of a window to its end; what was before or after it, does not count."""
    steady = [at / 2 for at in range(200)]
    arrived = dict.fromkeys(range(ON_A_CLUSTER), steady) | {3: [9.0, 14.0, 22.0], 4: [*steady[:25], *steady[28:]]}
    calls = [Call(3, 11.0, 4.0), Call(4, 12.0, 0.3), Call(4, 50.0, 9.0)]

    waits = longest_waits([Window(began=10.0, ended=20.0, hurt=frozenset({3}))], arrived, calls)
    of_all = longest_waits([Window(began=10.0, ended=20.0, hurt=frozenset(range(ON_A_CLUSTER)))], arrived, calls)

    assert waits == Gaps(hurt=6.0, others=2.0, others_call=0.3)
    assert of_all == Gaps(hurt=6.0, others=None, others_call=None)


def test_arrivals_are_told_by_partition(sandbox: RunningSandbox) -> None:
    """Each reception counts, also of what came twice; what never came does not."""
    twice, once, never = Numbers().take(3)
    for request_id in (twice, once, twice):
        deliver(sandbox, request_id)

    found = arrivals(sandbox.url, [twice, once, never])

    expected = Counter(partition_of(each, ON_A_CLUSTER) for each in (twice, twice, once))
    assert {number: len(times) for number, times in found.items() if times} == expected
    assert all(abs(at - time.time()) < 60 for times in found.values() for at in times)


def test_an_error_in_a_log_needs_an_explanation(tmp_path: Path) -> None:
    """Also a traceback at another level; not what a Redis that is unavailable explains."""
    begin = "[2026-01-31 12:00:00,000: "
    (tmp_path / "worker-1.log").write_text(
        f"{begin}INFO/MainProcess] all is well\n"
        f"{begin}ERROR/MainProcess] consumer: Cannot connect to redis://h: refused.\nTrying again in 2.00 seconds...\n"
        f"{begin}ERROR/MainProcess] 12 events are gone\n{begin}ERROR/MainProcess] 7 events are gone\n"
        f"{begin}WARNING/MainProcess] hm\nTraceback (most recent call last):\nKeyError: 'x'\n"
    )

    assert unexplained(tmp_path) == {"# events are gone": 2, "hm … KeyError: 'x'": 1}


def test_the_proxy_passes_cuts_and_swallows(valkey: RedisServer) -> None:
    """A connection that was cut is reset; through a silent one nothing goes until it may."""
    with Proxy(valkey.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            assert ping(connection) == b"+PONG\r\n"
            assert proxy.cut() == 1
            with pytest.raises(ConnectionError):
                ping(connection)
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            proxy.swallow(on=True)
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                ping(connection)
            proxy.swallow(on=False)
            connection.settimeout(5)
            assert connection.recv(100) == b"+PONG\r\n"


def ping(connection: socket.socket) -> bytes:
    """Say PING, and return what comes back."""
    connection.sendall(b"PING\r\n")
    return connection.recv(100)


def test_a_wrong_clock_is_wrong_everywhere_in_its_process(tmp_path: Path) -> None:
    """Whatever asks for the time, is told the same wrong one."""
    (tmp_path / "shown.py").write_text(
        "import time\nfrom datetime import UTC, datetime\n"
        "print(datetime.now(UTC).isoformat())\nprint(datetime.fromtimestamp(time.time(), UTC).isoformat())\n"
        "print(datetime.fromtimestamp(time.time_ns() / 1e9, UTC).isoformat())\n"
    )
    command = [sys.executable, "-m", "tests.chaos.wrong_clock", "-3600", "-m", "shown"]

    shown = subprocess.run(
        command, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}, cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout

    expected = datetime.now(UTC) - timedelta(hours=1)
    moments = [datetime.fromisoformat(line) for line in shown.split()]
    assert len(moments) == 3
    assert all(abs(moment - expected) < timedelta(seconds=30) for moment in moments)
