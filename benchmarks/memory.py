"""How many bytes Redis takes for an event in the queue, and for a request_id that is remembered."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, cast

from benchmarks.consumers import CONSUMERS, OURS
from benchmarks.plan import MILLION
from benchmarks.sample import Measurement, Sample
from benchmarks.servers import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from benchmarks.plan import Plan

__all__ = ["MEMORY", "memory"]

MEMORY: Final = Measurement(
    name="memory",
    title="Memory of Redis",
    text="`used_memory` of Redis, before and after so many events are enqueued, or so many request_ids remembered as "
    "delivered, divided by their number. It is much the same each time, so there is one round. The peers remember "
    "nothing.",
    more_is_better=False,
)

_REMEMBERED: Final = f"{OURS}, remembered"
_FIGURE: Final = "bytes each"


def memory(plan: Plan) -> Iterator[Sample]:
    """Measure every queue once, and the dedup store."""
    senders = {each.sender: each.name.partition(",")[0] for each in CONSUMERS if each.sender}
    subjects: list[tuple[str, tuple[str, ...]]] = [
        (name, ("-m", "benchmarks.filling", str(sender))) for sender, name in senders.items()
    ]
    subjects.append((_REMEMBERED, ("-m", "benchmarks.remembering")))
    for number in plan.queued:
        for name, command in plan.chosen(subjects, name=lambda each: each[0]):
            if number >= MILLION and not name.startswith(OURS):
                continue  # theirs does not depend on the number, and filling them takes long
            plan.tell(f"{number:,}: {name}")
            with rig() as servers, closing(servers.start_redis()) as client:
                before = _used(client)
                servers.run_python(*command, str(number))
                each = (_used(client) - before) / number
            what = "request_ids remembered" if name == _REMEMBERED else "events queued"
            yield Sample(case=f"{number:,} {what}", subject=name, figures={_FIGURE: each})


def _used(client: redis.Redis) -> int:
    return cast("dict[str, int]", client.info("memory"))["used_memory"]
