"""The gateway as a process, before a real Redis: what it answers with 200 is there, whatever becomes of either."""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import redis

from tests.support.certificates import self_signed
from tests.support.environment import clean_environment
from tests.support.gateway import PRESS, REQUEST_ID, RunningGateway, running_gateway
from tests.support.processes import VALKEY, RedisServer, eventually, redis_server, running
from worker.gateway.key_file import add_key, revoke_key

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared(_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway for all tests that do it no harm."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(
        folder, _valkey.url, FEEDBACK_LOG_FORMAT="json", FEEDBACK_GATEWAY_READ_TIMEOUT="60"
    ) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def impatient(_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One with short limits: a client that a busy machine delays by a second would get 408 of it for that alone."""
    limits = {"FEEDBACK_GATEWAY_MAX_HEADERS": "4096", "FEEDBACK_GATEWAY_READ_TIMEOUT": "1"}
    with running_gateway(tmp_path_factory.mktemp("impatient"), _valkey.url, **limits) as gateway:
        yield gateway


def test_what_is_answered_is_in_redis(shared: RunningGateway, valkey: RedisServer) -> None:
    """And counted as accepted, as every event."""
    with shared.client() as client, valkey.client() as looking:
        answer = client.get(PRESS)

        assert answer.status_code == 200
        assert (looking.llen("feedback"), looking.hget("feedback:counts", "accepted")) == (1, "1")


def test_it_is_ready_and_says_what_it_counts(shared: RunningGateway) -> None:
    """By route, and by the name of the key; the log has neither the key nor anything of the query."""
    with shared.client() as client:
        client.get(f"{PRESS}&token=s3cret")
        ready, metrics = client.get("/readyz"), client.get("/metrics")

    assert ready.status_code == 200
    route = 'client="backend",route="/api/v2/ai/feedback/{request_id}/{status}",status="200"'
    assert re.search(rf"aquilax_feedback_gateway_requests_total{{{re.escape(route)}}} [1-9]", metrics.text)
    assert 'aquilax_feedback_gateway_events_total{client="backend",outcome="taken"}' in metrics.text
    line = eventually(lambda: [one for one in shared.run.output().splitlines() if REQUEST_ID in one])[-1]
    assert '"route": "/api/v2/ai/feedback/{request_id}/{status}", "http_status": 200, "client": "backend"' in line
    assert not re.search(f"s3cret|my-org|{shared.key}", shared.run.output() + metrics.text)


def test_keys_are_added_and_revoked_while_it_runs(shared: RunningGateway) -> None:
    """Within a second each."""
    key = add_key(shared.keys_file, "late")
    with shared.client() as client:
        client.headers["X-AX-KEY"] = key
        eventually(lambda: client.get(PRESS).status_code == 200)
        revoke_key(shared.keys_file, "late")
        eventually(lambda: client.get(PRESS).status_code == 401)


def test_a_body_that_is_being_sent_ends_when_its_key_is_revoked(shared: RunningGateway, valkey: RedisServer) -> None:
    """Or who has a stolen key could go on with one request for ever. What was taken by then is told."""
    key = add_key(shared.keys_file, "streaming")
    line = json.dumps({"request_id": REQUEST_ID, "status": "true", "org": "my-org", "group": "my-group"}).encode()

    def lines() -> Iterator[bytes]:
        with shared.client() as client, valkey.client() as looking:
            client.headers["X-AX-KEY"] = key
            eventually(lambda: client.get(PRESS).status_code == 200)
            before = looking.llen("feedback")
            yield line + b"\n"
            eventually(lambda: looking.llen("feedback") == before + 1)
            revoke_key(shared.keys_file, "streaming")
            eventually(lambda: client.get(PRESS).status_code == 401)
            yield line + b"\n"
            yield line + b"\n"

    sending = lines()
    first = next(sending)
    with httpx.Client(base_url=shared.url, timeout=30) as client:
        headers = {"X-AX-KEY": key, "Content-Type": "application/x-ndjson"}
        answer = client.post("/v1/feedback", content=itertools.chain([first], sending), headers=headers)

    assert answer.status_code == 401
    assert answer.json()["message"].startswith("the key was revoked; what stands before line 2 is done")
    assert (answer.json()["taken"], answer.json()["resume_at_line"]) == (1, 2)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 5000, b"431 "),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 5000 + b"\r\n\r\n", b"431 "),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", b"431 "),
        (b"GET / HTTP/1.1\r\nHost: h\r\n", b"408 "),
        (b"", b"408 "),
        (b"no http at all\r\n\r\n", b"400 "),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nX", b"404 "),
    ],
    ids=["a header without end", "a large header", "a long path", "half a head", "nothing", "no HTTP", "pipelined"],
)
def test_headers_have_a_size_and_a_time(sent: bytes, status: bytes, impatient: RunningGateway) -> None:
    """Then the connection ends, in the form of any error."""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'{"code":' in answer


def test_a_gateway_that_others_reach_does_not_start_without_keys(tmp_path: Path) -> None:
    """Status 2, with the setting and the fix; nothing listens before."""
    command = [sys.executable, "-m", "worker.operations.cli", "gateway"]
    environment = clean_environment() | {"FEEDBACK_GATEWAY_HOST": "0.0.0.0", "FEEDBACK_GATEWAY_PORT": "0"}

    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )

    assert ended.returncode == 2
    assert "FEEDBACK_GATEWAY_KEYS_FILE is not set" in ended.stderr
    assert "gateway keys add" in ended.stderr


def test_while_redis_is_away_nothing_is_answered_2xx(tmp_path: Path) -> None:
    """Frozen, then gone: 503 within its second, and not ready; then it is back, and nothing is left out or doubled."""
    with (
        redis_server(VALKEY, tmp_path / "redis") as server,
        running_gateway(tmp_path, server.url, FEEDBACK_GATEWAY_ENQUEUE_TIMEOUT="0.3") as gateway,
        gateway.client() as client,
    ):
        server.run.pause()
        began = time.monotonic()
        frozen = client.get(PRESS)
        took = time.monotonic() - began
        unready = client.get("/readyz")
        server.run.thaw()
        eventually(lambda: client.get("/readyz").status_code == 200, timeout=20)
        with server.client() as looking:
            looking.flushall()
        thawed = client.get(PRESS)
        with server.client() as looking:
            queued = looking.llen("feedback")
        server.run.kill()
        gone = client.get(PRESS)

    assert (frozen.status_code, frozen.headers["retry-after"], unready.status_code) == (503, "1", 503)
    assert took < 5
    assert (thawed.status_code, queued, gone.status_code) == (200, 1, 503)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_answered_before_the_end_is_durable(how: signal.Signals, valkey: RedisServer, tmp_path: Path) -> None:
    """Presses go on while it is stopped: of those that were not answered 200 some may be there, of the others all are.

    A gateway that is asked to stop breaks no connection on which it answers.
    """
    answered, broken = [], []

    def press(gateway: RunningGateway) -> None:
        with gateway.client() as client:
            try:
                while client.get(PRESS).status_code == 200:
                    answered.append(1)
            except httpx.ConnectError:
                return
            except httpx.TransportError as error:
                broken.append(error)

    with running_gateway(tmp_path, valkey.url) as gateway:
        threads = [threading.Thread(target=press, args=(gateway,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) > 50)
        gateway.run.process.send_signal(how)
        for thread in threads:
            thread.join()
        status = gateway.run.process.wait(30)

    with valkey.client() as looking:
        taken = int(looking.hget("feedback:counts", "accepted") or 0)
    assert len(answered) <= taken <= len(answered) + (len(broken) if how == signal.SIGKILL else 0)
    assert status == -how


def test_with_a_spool_presses_are_taken_while_redis_is_gone(tmp_path: Path) -> None:
    """202 says so, and 200 where a client of AquilaX asks; then they are in Redis, once."""
    line = json.dumps({"request_id": REQUEST_ID, "status": True, "org": "o", "group": "g"})
    with redis_server(VALKEY, tmp_path / "redis") as first:
        port = first.port
        with (
            running_gateway(
                tmp_path, first.url, FEEDBACK_SPOOL_DIR=str(tmp_path / "spool"), FEEDBACK_GATEWAY_ENQUEUE_TIMEOUT="0.3"
            ) as gateway,
            gateway.client() as client,
        ):
            first.run.kill()
            pressed = client.get(PRESS)
            posted = client.post("/v1/feedback", content=line, headers={"Content-Type": "application/json"})
            ready = client.get("/readyz")
            again = [VALKEY, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
            with running(again, log=tmp_path / "again.log"), redis.Redis(port=port) as looking:
                eventually(lambda: _answers(looking))
                eventually(lambda: looking.llen("feedback") == 2, timeout=30)

    assert (pressed.status_code, posted.status_code, ready.status_code) == (200, 202, 200)
    assert (posted.json()["taken"], posted.json()["spooled"]) == (1, 1)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_a_body_of_any_length_takes_little_memory(shared: RunningGateway, valkey: RedisServer) -> None:
    """60 MB of it here, of which the gateway holds a piece at a time."""
    line = json.dumps({"request_id": REQUEST_ID, "status": True, "org": "o", "group": "g"}).encode()
    lines = (line.ljust(12_000) + b"\n") * 100
    with shared.client() as client, valkey.client() as looking:
        client.get("/healthz")
        before = _peak(shared)
        answer = client.post(
            "/v1/feedback",
            content=(lines for _ in range(50)),
            headers={"Content-Type": "application/x-ndjson"},
        )

        assert (answer.status_code, answer.json()["taken"]) == (200, 5_000)
        assert looking.llen("feedback") == 5_000
    assert _peak(shared) - before < 20_000


def _peak(gateway: RunningGateway) -> int:
    """The largest amount of memory that it had so far, in kB."""
    status = Path(f"/proc/{gateway.run.process.pid}/status").read_text()
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(peak)


def test_a_stream_is_answered_when_its_gateway_stops(valkey: RedisServer, tmp_path: Path) -> None:
    """Long before it is over: 503, with the line to go on from; all lines before are in Redis, and none behind."""
    line = json.dumps({"request_id": REQUEST_ID, "status": True, "org": "o", "group": "g"}).encode() + b"\n"
    with running_gateway(tmp_path, valkey.url) as gateway, gateway.client() as client, valkey.client() as looking:

        def body() -> Iterator[bytes]:
            yield line * 700 + line[:10]
            eventually(lambda: looking.llen("feedback") == 700)
            gateway.run.process.terminate()
            eventually(lambda: "Shutting down" in gateway.run.output())

        answer = client.post("/v1/feedback", content=body(), headers={"Content-Type": "application/x-ndjson"})
        status = gateway.run.process.wait(30)

    assert (answer.status_code, answer.json()["taken"], answer.json()["resume_at_line"]) == (503, 700, 701)
    assert status == -signal.SIGTERM


def test_it_speaks_tls_with_the_files_of_its_settings(valkey: RedisServer, tmp_path: Path) -> None:
    """And believes the address that a trusted proxy names."""
    cert, key = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(cert))
    settings = {
        "FEEDBACK_GATEWAY_TLS_CERT": str(cert),
        "FEEDBACK_GATEWAY_TLS_KEY": str(key),
        "FEEDBACK_GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    with (
        running_gateway(tmp_path, valkey.url, verify=trust, **settings) as gateway,
        gateway.client(verify=trust) as client,
    ):
        answer = client.get(PRESS, headers={"X-Forwarded-For": "203.0.113.9"})
        line = eventually(lambda: [one for one in gateway.run.output().splitlines() if REQUEST_ID in one])[0]

    assert answer.status_code == 200
    assert "peer=203.0.113.9" in line
