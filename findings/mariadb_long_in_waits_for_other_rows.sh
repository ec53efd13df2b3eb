#!/bin/sh
# MariaDB, READ COMMITTED: two transactions each lock the oldest rows that are free (SELECT … LIMIT n FOR UPDATE SKIP
# LOCKED), and each deletes its own by primary key, DELETE … WHERE id IN (…). With 200 of 3,000 rows both go through. With
# 500 of them each waits for the other's rows, which its list does not name: the optimizer reads the whole table rather than
# 500 keys, and a DELETE waits for the lock of every row that it reads. If both are at it, one ends with error 1213,
# deadlock. The same DELETE as a join with JSON_TABLE looks each key up, and waits for none.
#
# So a queue in a table, taken in groups with SKIP LOCKED, works in tests with few rows and deadlocks with many.
#
# Seen with MariaDB 10.11.19 (Debian's mariadb-server-core) and PyMySQL 1.2.4; it needs mariadbd and mariadb-install-db on
# the PATH. It prints, and exits 0 if that is still so:
#   200 rows, IN: deleted, deleted
#   500 rows, IN: error 1205, error 1205
#   500 rows, JSON_TABLE: deleted, deleted
set -eu
work=$(mktemp -d); server=""
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pymysql==1.2.4"
mariadb-install-db --no-defaults --datadir="$work/data" --skip-test-db --auth-root-authentication-method=normal \
    --user="$(id -un)" >/dev/null 2>&1
mariadbd --no-defaults --datadir="$work/data" --socket="$work/socket" --skip-networking --user="$(id -un)" \
    >"$work/log" 2>&1 & server=$!
for _ in $(seq 60); do [ -S "$work/socket" ] && break; sleep 0.5; done
"$work/venv/bin/python" - "$work/socket" <<'PYTHON'
import json
import sys

import pymysql


def connection():
    made = pymysql.connect(unix_socket=sys.argv[1], user="root")
    with made.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
    return made


BY_LIST = "DELETE FROM d.jobs WHERE id IN (%s)"
BY_JOIN = (
    "DELETE jobs FROM JSON_TABLE('[%s]', '$[*]' COLUMNS (id BIGINT PATH '$')) AS these "
    "STRAIGHT_JOIN d.jobs AS jobs ON jobs.id = these.id"
)


def deleted(statement, rows):
    """What becomes of two transactions that delete as many rows each as they have locked."""
    both = [connection(), connection()]
    lists = []
    for each in both:
        each.select_db("d")
        with each.cursor() as cursor:
            cursor.execute(f"SELECT id FROM d.jobs ORDER BY id LIMIT {rows} FOR UPDATE SKIP LOCKED")
            lists.append(",".join(str(id) for (id,) in cursor.fetchall()))
    ends = []
    for each, ids in zip(both, lists):
        try:
            each.cursor().execute(statement % ids)
            ends.append("deleted")
        except pymysql.OperationalError as error:
            ends.append(f"error {error.args[0]}")
    for each in both:
        each.rollback()
        each.close()
    return ", ".join(ends)


with connection() as first, first.cursor() as cursor:
    cursor.execute("CREATE DATABASE d")
    cursor.execute("CREATE TABLE d.jobs (id BIGINT AUTO_INCREMENT PRIMARY KEY, payload VARCHAR(200))")
    cursor.executemany("INSERT INTO d.jobs (payload) VALUES (%s)", [("x" * 100,)] * 3000)
    first.commit()
seen = [
    f"200 rows, IN: {deleted(BY_LIST, 200)}",
    f"500 rows, IN: {deleted(BY_LIST, 500)}",
    f"500 rows, JSON_TABLE: {deleted(BY_JOIN, 500)}",
]
print(*seen, sep="\n")
sys.exit([line.partition(": ")[2] for line in seen] != ["deleted, deleted", "error 1205, error 1205", "deleted, deleted"])
PYTHON
