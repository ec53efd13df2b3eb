"""The demo, as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.environment import clean_environment

if TYPE_CHECKING:
    from pathlib import Path


ONE = r"Redis is back, and ([\d,]+) presses come from the spool"
CLUSTER = r"node-\d has taken over [\s\S]* is back: [\s\S]* the presses of the spool, ([\d,]+) at the most, are sent"


@pytest.mark.parametrize(("options", "outage"), [([], ONE), (["--cluster"], CLUSTER)], ids=["one Redis", "a cluster"])
def test_the_demo_balances_and_ends_by_itself(options: list[str], outage: str, tmp_path: Path) -> None:
    """Trouble of every kind, Redis stopped or a primary killed, a worker killed, a replay; and all is accounted for."""
    command = [sys.executable, "-m", "worker.operations.cli", "demo", "--people", "800", *options]
    demo = subprocess.run(
        [*command, "--keep", str(tmp_path / "kept")],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    last = demo.stdout.strip().splitlines()[-1]
    found = re.fullmatch(
        r"balanced: ([\d,]+) accepted = ([\d,]+) delivered \+ ([\d,]+) duplicate \+ ([\d,]+) stale \+ 0 dead;"
        r" nothing lost",
        last,
    )
    assert found, demo.stdout
    accepted, *ended = (int(number.replace(",", "")) for number in found.groups())
    assert accepted > 800
    assert accepted == sum(ended)
    for line in ("dead: forbidden", "dead: rejected", "the worker is killed (SIGKILL)", "AquilaX goes down for 3 s"):
        assert line in demo.stdout
    spooled = re.search(outage, demo.stdout)
    assert spooled, demo.stdout
    assert int(spooled[1].replace(",", "")) > 0


def test_the_demo_refuses_a_folder_that_is_in_use(tmp_path: Path) -> None:
    """The demo counts no queue and no dead letters but its own."""
    (tmp_path / "dead-letters.sqlite3").touch()

    demo = subprocess.run(
        [sys.executable, "-m", "worker.operations.cli", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert demo.returncode == 2
    assert "is not empty" in demo.stderr
