"""What stands in docs/chaos.md around the table."""

from __future__ import annotations

from typing import Final

__all__ = ["TEXT"]

TEXT: Final = """\
# Chaos

`make chaos` hurts the system in every way that we could think of, and counts. Each run starts real processes: Valkey or
Redis with `appendfsync always`, Celery workers, the local AquilaX, and PostgreSQL or sentinels where they are what is
hurt. It sends uniquely numbered events through the producer, kills, freezes, fills or cuts off a part under load, fixes
it, waits until nothing is queued, in flight or waiting, and compares what Redis acknowledged with what AquilaX received
and what the dead-letter table has.

A run fails if

- an acknowledged event is neither at AquilaX nor in the table, or AquilaX received another vote than the person gave;
- AquilaX received an event twice that was not being sent there at the moment of a fault, and that no answer asked to
  send again (in a storm of 404, what AquilaX refused may be asked again);
- Redis is back and nothing is delivered within 10 s, or the rest is not drained within two minutes (three after kills
  of workers, five after 2,000 presses a second to the spool, ten after the long outage);
- a worker of ours ended by itself, or the system's own counts do not add up in the end;
- a worker's log has an error that nothing explains (`tests/chaos/logs.py` lists what does).

```console
$ make chaos                              # all of it, 40 minutes; it writes this page
$ make chaos ARGS="--list"                # what there is
$ make chaos ARGS="'kill -9' --no-plain"  # what has this text in its name, without plain Celery
$ make chaos ARGS="--json result.json"    # every result whole, with the ids of what was lost
$ make soak                               # 20 minutes of full load, and a fault by chance every 20 s
$ make soak MINUTES=120
```

`make test` has a short form of the quick ones (`tests/chaos/test_short.py`).

How to read the table: `lost` are acknowledged events that are nowhere; `twice` are events that AquilaX received
more often than its answers asked for, `allowed` how many were on their way there at the moments of the faults;
`first after` and `drained after` count from the end of the last fault to the next delivery, and until nothing was left
to do. `plain Celery` is the same done to Celery's own Redis transport with `acks_late`, `reject_on_worker_lost`,
retries with backoff and a visibility timeout of 30 s (`tests/chaos/plain.py`), fed by the same producer.

A failover by sentinels is counted by what a replica has acknowledged too: Redis replicates asynchronously, and what a
dying master acknowledged last may be on no replica. The clock of a worker is moved inside Python
(`tests/chaos/wrong_clock.py`), which needs no other program.

The scenarios that begin with `cluster:` have three primaries, a replica of each, and 16 partitions; two workers; and
three backends - of threads, of coroutines, and one that hands over chunks - which press all the while in every
partition, with `FEEDBACK_ENQUEUE_REPLICAS=1`. A worker is killed in each of them too, and another started, which has
to find its way in the meantime. The run also fails if `aquilax-feedback reconcile` does not say in the end that every
event is accounted for, or if a partition that is not hurt went without a delivery for more than 2 s. The second table
has the longest wait between two arrivals at AquilaX from one partition, from the beginning of a fault until all nodes
serve again and a second more. Of the partitions that are hurt that includes the time until the primary that took over
has a replica: before that, nothing counts as acknowledged. Each partition has about 8 events a second, and those of
the chunks, whose backend waits for every partition.\
"""
