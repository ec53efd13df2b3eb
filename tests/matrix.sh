#!/usr/bin/env bash
# The tests that touch redis-py, gevent and SQLAlchemy, with the oldest releases that pyproject.toml allows and with the
# newest: `make matrix`. The lock has one release of each, and everything else comes from it.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_PYTHON_DOWNLOADS=never

uv=.venv/bin/uv
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python=$place/bin/python
mapfile -t libraries < <(.venv/bin/python -c '
import re, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
allowed = [*project["dependencies"], *project["optional-dependencies"]["worker"]]
print(*(one for one in allowed if re.match("(redis|gevent|sqlalchemy)[<>=~]", one)), sep="\n")')
[ ${#libraries[@]} -eq 3 ] || { echo "pyproject.toml should name redis, gevent and sqlalchemy: ${libraries[*]}"; exit 1; }

# gevent has no wheel of its oldest release for a newer Python, on which nothing would resolve to that release either.
for version in 3.11 3.12 3.13; do
  base=$("$uv" python find --no-project --system "$version" 2>/dev/null) && break || base=""
done
[ -n "$base" ] || { echo "The matrix needs Python 3.11, 3.12 or 3.13, and this machine has none."; exit 1; }

"$uv" venv --quiet --python "$base" "$place"
install() { "$uv" pip install --quiet --python "$python" "$@"; }
releases() { "$uv" pip list --quiet --python "$1" | grep -E '^(redis|gevent|sqlalchemy) '; }
# No cache of pytest's: it is shared with the other environments. In SQLite alone: the servers have tests of their own.
tests() {
  releases "$python"
  "$python" -m pytest --quiet -n 2 -p no:cacheprovider -k "not postgres and not mariadb" "$@"
}
producer=(tests/unit/producer tests/integration/test_producer.py)
worker=(tests/unit/clients/redis tests/unit/concurrency tests/unit/database tests/integration/broker/test_retries.py
  tests/integration/test_deadletters_store.py tests/contract/test_private_attributes.py)

install --require-hashes --requirement requirements/dev.txt
install --no-deps --no-build-isolation --editable .

echo "The oldest for a backend, which installs the producer alone"
install --upgrade --resolution lowest-direct "${libraries[@]}"
tests "${producer[@]}"

echo "The oldest for a worker: Celery's extra asks for a newer redis-py"
install --upgrade --resolution lowest-direct "${libraries[@]}" "$("$python" -c '
import tomllib
worker = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["worker"]
print(next(one for one in worker if one.startswith("celery")))')"
tests "${worker[@]}"

echo "The newest"
install --upgrade "${libraries[@]}"
if [ "$(releases "$python")" = "$(releases .venv/bin/python)" ]; then
  echo "They are the lock's, with which every test runs"
else
  tests "${producer[@]}" "${worker[@]}"
fi
