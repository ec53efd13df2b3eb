#!/usr/bin/env bash
# Celery 5.7.0: its event state keeps SUCCESS when a later `task-failed` comes for the same task id.
#
# `celery.events.state.State` merges events of one task by the precedence of their states, not by their time: FAILURE
# stands below SUCCESS. So monitors such as Flower, which show that state, report success for good once one message with a
# task id has succeeded, although a later message with the same id, chosen by the client, has failed. The traceback and the
# exception of the later event are kept, beside the state SUCCESS.
#
# Seen:
#   after task-succeeded at 10: SUCCESS
#   after task-failed at 20:    SUCCESS, exception='later'
#   another id, failed at 20:   FAILURE
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check celery==5.7.0

cat > look.py <<'EOF'
from celery.events.state import State

state = State()
clock = 0


def tell(kind, uuid, at, **fields):
    global clock
    clock += 1
    shared = {"hostname": "w@h", "timestamp": at, "local_received": at, "clock": clock, "pid": 1, "utcoffset": 0}
    state.event({"type": kind, "uuid": uuid, **shared, **fields})


tell("worker-online", "", 1, freq=2)
tell("task-received", "a", 5, name="t")
tell("task-succeeded", "a", 10, result="1", runtime=1)
print("after task-succeeded at 10:", state.tasks["a"].state)
first = state.tasks["a"].state
tell("task-received", "a", 15, name="t")
tell("task-failed", "a", 20, exception="later", traceback="")
second = state.tasks["a"].state
print(f"after task-failed at 20:    {second}, exception={state.tasks['a'].exception!r}")
tell("task-failed", "b", 20, exception="later", traceback="")
print("another id, failed at 20:  ", state.tasks["b"].state)
raise SystemExit((first, second, state.tasks["b"].state) != ("SUCCESS", "SUCCESS", "FAILURE"))
EOF
venv/bin/python look.py
