#!/bin/sh
# billiard's ExceptionInfo, which Celery makes of every exception that leaves a task (retries and expected failures
# included), copies every function that the traceback passes through, with the source position of each of its bytecode
# instructions (`_Code.co_positions`). So what a failing task costs depends on how long the functions around it are, the
# instructions that never ran included, and not on the exception.
#
# Seen with billiard 4.3.2 on CPython 3.11: one frame of a function with 3,000 statements that raises in its first one:
# 0.48 ms for each ExceptionInfo, against 0.06 ms with 3 statements; `traceback.format_exception` costs 0.03 ms for both.
# In a Celery worker whose tasks all raise it was over half of the CPU.
#
# Exits 0 if that is still so: at least 4 times the cost for the long function, by process time.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check billiard==4.3.2
"$work/venv/bin/python" - <<'PYTHON'
import sys
import time
import traceback
from importlib.metadata import version

from billiard.einfo import ExceptionInfo


def function(statements):
    body = "\n".join(f"    value_{number} = {number} + len('x')" for number in range(statements))
    scope = {}
    exec(f"def fails():\n    raise ValueError('expected')\n{body}\n", scope)
    return scope["fails"]


def cost(fails, make, times=30):
    took = []
    for _ in range(times):
        try:
            fails()
        except ValueError as error:
            begun = time.process_time()
            make(error)
            took.append(time.process_time() - begun)
    return sorted(took)[times // 2] * 1000


short, long = function(3), function(3000)
info = {name: cost(each, lambda error: ExceptionInfo()) for name, each in (("short", short), ("long", long))}
text = {name: cost(each, lambda error: traceback.format_exception(error)) for name, each in (("short", short), ("long", long))}
print("billiard", version("billiard"), "Python", sys.version.split()[0])
print("ExceptionInfo, ms:   ", {name: round(value, 3) for name, value in info.items()})
print("format_exception, ms:", {name: round(value, 3) for name, value in text.items()})
sys.exit(0 if info["long"] > 4 * info["short"] else 1)
PYTHON
