"""The names of keys and counts stand in one place."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.support.processes import ROOT
from worker.clients.redis.keys import CountField

ONE_PLACE: Final = {"worker/clients/redis/keys.py", "worker/broker/keys.py", "producer/partitions.py"}
BARE: Final = re.compile(r'f?"(?:\{QUEUE\}|feedback):[a-z]|"_?unacked\w*"|counts(?:\.get\(|\[)"')
COUNTED: Final = re.compile(r"""(?:HINCRBY', \w+\[\d\], |count\(\w+(?:\[\d\])?, )'(\w+)'|counts\.get\("(\w+)\"""")


def test_no_key_and_no_count_is_named_elsewhere() -> None:
    """Rename one there, and it is renamed everywhere."""
    sources = [*ROOT.glob("worker/**/*.py"), *ROOT.glob("producer/**/*.py")]
    bare = [
        f"{name}: {found}"
        for source in sources
        if (name := str(source.relative_to(ROOT))) not in ONE_PLACE
        for found in BARE.findall(source.read_text())
    ]

    assert len(sources) > 200
    assert not bare


@pytest.mark.parametrize("suffix", ["lua", "html"])
def test_scripts_and_pages_name_counts_that_there_are(suffix: str) -> None:
    """They can import no name."""
    named = {
        name
        for source in ROOT.glob(f"worker/**/*.{suffix}")
        for groups in COUNTED.findall(source.read_text())
        for name in groups
        if name
    }

    assert named
    assert named <= {*CountField, "hold_changes", "org_hold_changes"}
