"""The flame graph: what perf saw, folded and drawn."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from benchmarks.flame import stacks, svg

SCHEDULER = "worker/concurrency/gevent_scheduler.py"
FRAME = f"GeventScheduler._work:/somewhere/lib/python3.13/site-packages/{SCHEDULER}"
SCRIPT = f"""
python  7 1.0:  1003009 cpu-clock:ppp:
\tffffffff81e37a85 release_sock+0x5 ([kernel.kallsyms])
\tffffffff81e314b0 __x64_sys_sendto+0x20 ([kernel.kallsyms])
\tffffffff81000130 entry_SYSCALL_64_after_hwframe+0x76 ([kernel.kallsyms])
\t          10aba4 __send+0x64 (/usr/lib/libc.so.6)
\t              85 py::{FRAME}+0x5 (/tmp/jitted-1-2.so)
\t              85 py::Thread.run:/usr/lib/python3.13/threading.py+0x5 (/tmp/jitted-1-1.so)

python  7 2.0:  1003009 cpu-clock:ppp:
\t          25ba09 _PyFrame_Clear+0x19 (/usr/lib/libpython3.13.so.1.0)
\t              85 py::{FRAME}+0x5 (/tmp/jitted-1-2.so)

python  8 3.0:  1003009 cpu-clock:ppp:
\t          25ba09 ZSTD_compress+0x19 (/usr/lib/libzstd.so.1)
\t              85 py::main:/usr/lib/python3.13/main.py+0x5 (/tmp/jitted-1-9.so)
"""


def test_each_look_is_a_stack_of_functions() -> None:
    """From what its thread is for to the system call; Python's own insides say nothing."""
    assert stacks(SCRIPT.splitlines()) == {
        ("deliveries", f"GeventScheduler._work ({SCHEDULER})", "[kernel] sys_sendto"): 1,
        ("deliveries", f"GeventScheduler._work ({SCHEDULER})"): 1,
        ("others", "main (main.py)", "[C] libzstd"): 1,
    }


def test_a_function_is_as_wide_as_its_part() -> None:
    """And says what it is."""
    drawn = ET.fromstring(svg(stacks(SCRIPT.splitlines()), "a <title>"))  # noqa: S314 - our own
    shapes = {
        group.findtext("{*}title"): float(group.find("{*}rect").get("width"))  # type: ignore[union-attr, arg-type]
        for group in drawn.findall("{*}g")
    }

    assert shapes["deliveries: 66.7 %"] == shapes[f"GeventScheduler._work ({SCHEDULER}): 66.7 %"] == 799.5
    assert shapes["[kernel] sys_sendto: 33.3 %"] == 399.5
    assert drawn.findtext("{*}text") == "a <title>"
