#!/usr/bin/env bash
# celery-ts 1.2.3 (npm) writes the same delivery tag, "celery", into all its messages.
#
# Kombu's Redis transport (5.7.0 here) keeps what a consumer has in hand in the hash `unacked`, by delivery tag: of two such
# messages that are in hand together it holds one. Acknowledging either removes it; and if the consumer is killed, one of
# the two comes back, and the other is lost.
#
# Seen:
#   delivery tags of two messages: celery celery
#   in hand at a stock consumer: 2, in the hash unacked: 1
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, Node 18 or newer with npm,
# redis-server, and the package indices.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kombu==5.7.0 redis==8.1.0 packaging==26.3
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund celery-ts@1.2.3

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$folder" >redis.log &
server=$!
export URL=redis://127.0.0.1:$port/0

cat > send.js <<'EOF'
// Its result asks the backend at once; there is none, which it reports as a rejection.
process.on("unhandledRejection", () => {});
const client = require("celery-ts").createClient({ brokerUrl: process.env.URL });
const task = client.createTask("a.task");
task.applyAsync({ args: [1], kwargs: {}, queue: "a" });
task.applyAsync({ args: [2], kwargs: {}, queue: "a" });
client.end().then(() => process.exit(0));
EOF
cat > look.py <<'EOF'
import json, os, time
import redis
from kombu import Connection, Consumer, Queue

client = redis.Redis.from_url(os.environ["URL"])
deadline = time.monotonic() + 30
while client.llen("a") < 2 and time.monotonic() < deadline:
    time.sleep(0.1)
tags = [json.loads(entry)["properties"]["delivery_tag"] for entry in client.lrange("a", 0, -1)]
print("delivery tags of two messages:", *tags)
received = []
with Connection(os.environ["URL"]) as connection, Consumer(
    connection, [Queue("a")], on_message=received.append, auto_declare=False
):
    while len(received) < 2:
        connection.drain_events(timeout=30)
    in_hash = client.hlen("unacked")
    print(f"in hand at a stock consumer: {len(received)}, in the hash unacked: {in_hash}", flush=True)
    os._exit((tags, in_hash) != (["celery", "celery"], 1))
EOF
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
node send.js
venv/bin/python look.py
