#!/bin/bash
# kombu 5.7.0 with redis-py 8.1.0 and Celery 5.7.0: a broker URL with an option that redis-py documents for its URLs,
# health_check_interval, is taken by redis-py and raises a TypeError as soon as Celery's connection is made from it:
# Kombu hands every option of the query that does not begin with ssl_ to Connection._init_params as a keyword.
#
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
#
# Seen:
#   redis-py: takes it
#   Kombu: TypeError: Connection._init_params() got an unexpected keyword argument 'health_check_interval'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0 redis==8.1.0 packaging==25.0
"$folder/venv/bin/python" - <<'PY'
import redis
from celery import Celery

url = "redis://127.0.0.1:6379/0?health_check_interval=30"
redis.ConnectionPool.from_url(url).make_connection()
print("redis-py: takes it")
try:
    Celery(broker=url).connection_for_read()
except TypeError as error:
    print(f"Kombu: TypeError: {error}")
    assert "health_check_interval" in str(error)
else:
    raise SystemExit("the behaviour has changed: Kombu takes it")
PY
