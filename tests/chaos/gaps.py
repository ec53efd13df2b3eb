"""How long the partitions that are hurt, and the others, went without a delivery."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from producer.partitions import ON_A_CLUSTER, partition_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from tests.chaos.pressing import Call

__all__ = ["Arrivals", "Gaps", "Window", "arrivals", "longest_waits", "write_arrivals"]

Arrivals: TypeAlias = "Mapping[int, Sequence[float]]"
"""When AquilaX received events, in seconds since 1970, by their partition."""


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The longest waits, in seconds.

    Attributes:
        hurt: Between two arrivals of one of the partitions that were hurt.
        others: Of one of the others; None if all were hurt.
        others_call: Of a call of a producer for one of the others; None likewise.
    """

    hurt: float
    others: float | None
    others_call: float | None


@dataclass(frozen=True, kw_only=True)
class Window:
    """A time in which something was hurt.

    Attributes:
        began: In seconds since 1970.
        ended: When all was well again.
        hurt: The partitions that were.
    """

    began: float
    ended: float
    hurt: frozenset[int]


def longest_waits(windows: Sequence[Window], arrived: Arrivals, calls: Sequence[Call]) -> Gaps:
    """Return the longest waits of all windows.

    A partition that is silent until a window ends has waited until then.

    Args:
        windows: At least one.
        arrived: When events of each partition came to AquilaX.
        calls: Of producers.
    """
    hurt: list[float] = []
    others: list[float] = []
    other_calls: list[float] = []
    for window in windows:
        for partition in range(ON_A_CLUSTER):
            within = sorted(at for at in arrived.get(partition, ()) if window.began <= at <= window.ended)
            longest = max(later - at for at, later in pairwise([window.began, *within, window.ended]))
            (hurt if partition in window.hurt else others).append(longest)
        other_calls += [
            call.took
            for call in calls
            if call.partition not in window.hurt and window.began <= call.began <= window.ended
        ]
    return Gaps(hurt=max(hurt), others=max(others, default=None), others_call=max(other_calls, default=None))


def write_arrivals(file: Path, windows: Sequence[Window], arrived: Arrivals) -> None:
    """Keep what the waits are told from, for one who looks why a partition waited."""
    shown = [{"began": each.began, "ended": each.ended, "hurt": sorted(each.hurt)} for each in windows]
    file.write_text(json.dumps({"windows": shown, "arrived": arrived}))


def arrivals(address: str, request_ids: Collection[str]) -> Arrivals:
    """Ask the local AquilaX when it received each of these events.

    Args:
        address: Where it listens.
        request_ids: Of the events.
    """
    found: dict[int, list[float]] = defaultdict(list)
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=30)) as connection:
        for request_id in request_ids:
            connection.request("GET", f"/_sandbox/received/{request_id}")
            recent = json.load(connection.getresponse())["recent"]
            times = [datetime.fromisoformat(request["at"]).timestamp() for request in recent]
            found[partition_of(request_id, ON_A_CLUSTER)] += times
    return found
