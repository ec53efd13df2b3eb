"""A real sandbox process for tests."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.processes import Running, eventually, running
from worker.sandbox.client import SandboxClient

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY: Final = "sandbox-key"
PROGRAM: Final = str(Path(sys.executable).with_name("aquilax-feedback"))

_LISTENING: Final = re.compile(r"^sandbox listening on (\S+)$", re.MULTILINE)
_numbers = count(1)


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that a test started; it accepts `KEY`."""

    url: str
    client: SandboxClient
    process: Running


@contextmanager
def running_sandbox(folder: Path, *flags: str, verify: bool | str = True) -> Iterator[RunningSandbox]:
    """Run `aquilax-feedback sandbox` with these flags until the block ends, on a free port if they name none."""
    log = folder / f"sandbox-{next(_numbers)}.log"
    environment = {name: value for name, value in os.environ.items() if name != "AQUILAX_API_KEY"}
    with running([PROGRAM, "sandbox", "--port", "0", *flags], log=log, env=environment) as process:
        url = eventually(lambda: _address(process), what=f"the sandbox listens; see {log}")
        with SandboxClient(url, verify=verify) as client:
            yield RunningSandbox(url, client, process)


def _address(process: Running) -> str:
    found = _LISTENING.search(process.output())
    assert found or process.process.poll() is None, f"the sandbox ended: {process.output()}"
    return found[1] if found else ""
