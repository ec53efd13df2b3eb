"""What enqueueing and delivering cost here, beside other task queues and beside the limits: ``make bench``.

Start at `benchmarks.__main__`. Each measurement is a file of its own (`enqueue`, `deliver`, `badday`, `latency`,
`scale`, `memory`): a generator of samples that goes through its subjects in rounds, so that whatever else the machine
does hits all alike. `benchmarks.peers` has the peers, `benchmarks.limits` what no queue can beat.
"""
