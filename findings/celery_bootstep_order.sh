#!/usr/bin/env bash
# Celery 5.7.0: bootsteps that do not require each other start in an order that depends on the addresses of their classes.
#
# `app.steps["worker"]` is a set of classes, whose hashes are their addresses, and the blueprint sorts the steps from that
# set. So two steps without `requires` between them start, and stop, in an order that is not that in which they were added,
# and that changes with whatever else the program has defined before, or, in a large program, from one start to the next.
# What a step's `stop` waits for may find another step stopped already, or not: a server for health checks, say, answers
# during a graceful shutdown in some processes and in others does not. `requires` is what gives an order: a step starts
# after those that it requires, and stops before them.
#
# Seen (six steps, after 0 to 19 other classes):
#   without requires: 6 orders
#   with requires:    1 order
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check celery==5.7.0

cat > order.py <<'EOF'
import sys

from celery import Celery, bootsteps

NAMES = ["Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot"]
unrelated = [type(f"Unrelated{number}", (), {}) for number in range(int(sys.argv[2]))]
app, steps = Celery("order", broker="memory://"), []
for name in NAMES:
    requires = (steps[-1],) if steps and sys.argv[1] == "chain" else ()
    steps.append(type(name, (bootsteps.StartStopStep,), {"requires": requires, "__module__": "order"}))
app.steps["worker"].update(steps)
worker = app.WorkController(pool="solo", hostname="w@h")
print(*[type(step).__name__ for step in worker.steps if type(step).__name__ in NAMES])
EOF

orders() { for others in $(seq 0 19); do venv/bin/python order.py "$1" "$others"; done | sort -u | wc -l; }
loose=$(orders loose)
chain=$(orders chain)
echo "without requires: $loose orders"
echo "with requires:    $chain"
[ "$loose" -gt 1 ] && [ "$chain" -eq 1 ]
