#!/usr/bin/env bash
# schemathesis 4.32.5 with pytest 9.2.0 and pytest-xdist 3.8.0: of several operations, xdist runs one, with status 0.
#
# `schema.parametrize()` makes a test for each operation of an OpenAPI document. schemathesis names each of them
# `test_name[GET /path]`, but hands pytest the bare name as `originalname`, of which pytest 9.2 makes the node id. So
# all operations have one node id. pytest alone runs them all. pytest-xdist, with `--dist loadfile` or `loadscope`, keeps
# its work by node id: it runs one of them, and the run ends with status 0.
#
# A test that has a parameter as well (`pytest.mark.parametrize`, a fixture with `params`) has an id for each operation.
#
# Seen:
#   3 tests collected      (three lines with the same node id)
#   pytest:                         3 passed, status 0
#   pytest -n 2 --dist loadfile:    1 passed, status 0
#   with a parameter beside, xdist: 3 passed, status 0
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check schemathesis==4.32.5 pytest==9.2.0 pytest-xdist==3.8.0

cat > test_operations.py <<'EOF'
import pytest
import schemathesis

ANSWERS = {"get": {"responses": {"200": {"description": "fine"}}}}
SCHEMA = schemathesis.openapi.from_dict(
    {
        "openapi": "3.0.3",
        "info": {"title": "Three operations", "version": "1"},
        "paths": {"/a": ANSWERS, "/b": ANSWERS, "/c": ANSWERS},
    }
)


@SCHEMA.parametrize()
def test_each_operation(case):
    assert case.operation.method == "get"
EOF
sed 's/^@SCHEMA/@pytest.mark.parametrize("also", [1])\n@SCHEMA/; s/(case)/(case, also)/' test_operations.py > test_with_parameter.py

run() { venv/bin/python -m pytest -q -p no:cacheprovider "$@" 2>&1 && echo "status 0" || echo "status $?"; }
collected=$(run --collect-only test_operations.py)
alone=$(run test_operations.py)
spread=$(run -n 2 --dist loadfile test_operations.py)
with_parameter=$(run -n 2 --dist loadfile test_with_parameter.py)
printf '%s\n\n' "$collected" "$alone" "$spread" "$with_parameter"

changed=0
expect() { grep -q -- "$2" <<<"$1" || { echo "changed: expected '$2'"; changed=1; }; }
[ "$(grep -c '^test_operations.py::test_each_operation$' <<<"$collected")" = 3 ] || { echo "changed: node ids"; changed=1; }
expect "$alone" "3 passed"
expect "$spread" "1 passed"
expect "$spread" "status 0"
expect "$with_parameter" "3 passed"
exit $changed
