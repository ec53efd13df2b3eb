#!/usr/bin/env bash
# Celery 5.7.0 with Flower 2.2.0: each worker imports Flower and Tornado if Flower is installed beside it.
#
# `celery` is one command line for all its commands. It adds those of other packages (entry points `celery.commands`) with
# click-plugins, which imports each of them before it knows which command is meant, and Flower's imports its whole web
# application. So a worker, and each child of a pool of processes, has it in memory, and every `celery` command waits for
# it. A worker that is installed without Flower does not.
#
# Seen (a command that does not concern Flower; KiB of memory in use at its end):
#   without Flower: 0 modules of flower and tornado
#   with Flower:   48 modules of flower and tornado, 6468 KiB more
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check celery==5.7.0

cat > loaded.py <<'EOF'
import pathlib
import sys

from celery.__main__ import main

sys.argv = ["celery", "worker", "--help"]
try:
    main()
except SystemExit:
    pass
loaded = [name for name in sys.modules if name.split(".")[0] in ("flower", "tornado")]
status = pathlib.Path("/proc/self/status").read_text()
print(len(loaded), status.split("VmRSS:")[1].split()[0], file=sys.stderr)
EOF

measured() { venv/bin/python loaded.py 2>&1 >/dev/null | tail -1; }
measured > /dev/null # the first one compiles
read -r modules_without memory_without <<< "$(measured)"
venv/bin/pip install --quiet --disable-pip-version-check flower==2.2.0
measured > /dev/null
read -r modules_with memory_with <<< "$(measured)"
echo "without Flower: $modules_without modules of flower and tornado"
echo "with Flower:    $modules_with modules of flower and tornado, $((memory_with - memory_without)) KiB more"
[ "$modules_without" -eq 0 ] && [ "$modules_with" -gt 20 ] && [ $((memory_with - memory_without)) -gt 2000 ]
