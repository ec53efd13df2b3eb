"""Start a program that gets SIGTERM when its parent has ended: ``python -m worker.sandbox.parent_death_signal PID …``.

A stack that is killed can't end its parts. The kernel can: prctl(2), PR_SET_PDEATHSIG. It is asked for before the
program takes this process over, and not between fork and exec, where a child of a process with threads must do next to
nothing. Linux alone has it; elsewhere the program is simply run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

__all__ = ["with_parent_death_signal"]

_PR_SET_PDEATHSIG: Final = 1


def with_parent_death_signal(command: list[str]) -> list[str]:
    """Return the command that runs another one on a leash of this process."""
    return [sys.executable, "-m", __spec__.name, str(os.getpid()), *command]


def _main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("the parent process has ended already")
    os.execvp(command[0], command)  # noqa: S606 - the command and its arguments are the project's own


if __name__ == "__main__":
    _main()
