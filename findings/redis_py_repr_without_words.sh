#!/bin/bash
# redis-py 8.1.0: the repr of its exceptions is a category and the class, and leaves out what Redis said. Python's own
# exceptions, and redis-py 6.4.0, have the message in it. A program that logs `%r`, as Celery 5.7.0 does when it loses
# Redis ("consumer: Connection to broker lost. … (network:ConnectionError)"), so writes no reason into its log.
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
#
# Seen:
#   6.4.0 ConnectionError('the reason') | the reason
#   8.1.0 network:ConnectionError | the reason
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
look='import redis; e = redis.ConnectionError("the reason"); print(redis.__version__, repr(e), "|", str(e))'
for pinned in redis==6.4.0 redis==8.1.0; do
  python3 -m venv "$folder/$pinned"
  "$folder/$pinned/bin/pip" install --quiet --disable-pip-version-check "$pinned"
  "$folder/$pinned/bin/python" -c "$look" | tee -a "$folder/seen"
done
grep -qxF "6.4.0 ConnectionError('the reason') | the reason" "$folder/seen"
grep -qxF "8.1.0 network:ConnectionError | the reason" "$folder/seen"
