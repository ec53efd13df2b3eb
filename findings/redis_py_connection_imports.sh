#!/bin/bash
# redis-py 8.1.0: to make a Connection object reads the METADATA file of the installed package, each time anew, to tell
# Redis the library's version; the first one in a process also imports email.parser for it. Nothing is cached, though
# the version can't change. So it takes a file read and hundreds of microseconds for each connection of a pool, and an
# import in the thread that happens to need the first connection. A child that is forked in the middle of an import has
# no thread that could end it. A `driver_info=` made once and given to all spares both.
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
#
# Seen:
#   8.1.0 imported by the first connection: email.feedparser email.parser
#   8.1.0 METADATA read by ten more: 10
#   8.1.0 METADATA read with driver_info: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
"$folder/venv/bin/python" - <<'PROGRAM' | tee "$folder/seen"
import sys

import redis
from redis.connection import Connection
from redis.driver_info import DriverInfo

reads = 0


def count(event, arguments):
    global reads
    reads += event == "open" and str(arguments[0]).endswith("METADATA")


before = set(sys.modules)
Connection(host="127.0.0.1")
later = {name for name in set(sys.modules) - before if name.startswith("email.")}
print(redis.__version__, "imported by the first connection:", *sorted(later))
sys.addaudithook(count)
connections = [Connection(host="127.0.0.1") for _ in range(10)]
print(redis.__version__, "METADATA read by ten more:", reads)
info = DriverInfo()
reads = 0
connections = [Connection(host="127.0.0.1", driver_info=info) for _ in range(10)]
print(redis.__version__, "METADATA read with driver_info:", reads)
PROGRAM
grep -qxF "8.1.0 imported by the first connection: email.feedparser email.parser" "$folder/seen"
grep -qxF "8.1.0 METADATA read by ten more: 10" "$folder/seen"
grep -qxF "8.1.0 METADATA read with driver_info: 0" "$folder/seen"
