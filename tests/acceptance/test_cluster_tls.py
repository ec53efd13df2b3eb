"""The whole system on a cluster that is reached over TLS, and asks for a password."""

from __future__ import annotations

import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from producer import FeedbackEvent, FeedbackProducer
from tests.support.certificates import self_signed
from tests.support.clusters import redis_cluster
from tests.support.commands import succeed
from tests.support.processes import eventually, need
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.clusters import RedisCluster
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack

PASSWORD = "s3cr3t"
NAMED = "&client_name=feedback"


@contextmanager
def tls_cluster(folder: Path) -> Iterator[tuple[RedisCluster, Sequence[int], str]]:
    """Start three primaries and their replicas; yield them, the ports for TLS and the broker's URL."""
    certificate, key = self_signed(folder)
    files = {"cert": certificate, "key": key, "ca-cert": certificate}
    options = ["--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no"]
    for option, file in files.items():
        options += [f"--tls-{option}-file", str(file)]
    ports = [free_port() for _ in range(6)]
    own = [("--tls-port", str(port)) for port in ports]
    with redis_cluster(
        need("redis-server"), folder / "cluster", password=PASSWORD, options=options, own_options=own
    ) as cluster:
        yield cluster, ports, f"rediss+cluster://:{PASSWORD}@127.0.0.1:{ports[0]}/0?ssl_ca_certs={certificate}{NAMED}"


def names_of(cluster: RedisCluster, ports: Sequence[int]) -> tuple[set[str], set[str]]:
    """The names of the programs that are connected: over TLS, and without."""
    over_tls: set[str] = set()
    plain: set[str] = set()
    for server, port in zip(cluster.servers, ports, strict=True):
        for line in str(cluster.ask(server, "CLIENT", "LIST")).splitlines():
            name = re.search(r" name=(\S*) ", line)
            (over_tls if f"laddr=127.0.0.1:{port} " in line else plain).add(name[1] if name else "")
    return over_tls, plain


def press(producer: FeedbackProducer, count: int) -> set[str]:
    """Enqueue so many events, which lie in all partitions, and return their request_ids."""
    names = {str(uuid.uuid4()) for _ in range(count)}
    events = [FeedbackEvent(request_id=name, status=True, org="org-1", group="group-1") for name in names]
    assert producer.enqueue_many(events) == count
    return names


@pytest.mark.usefixtures("no_system_certificates")
def test_workers_and_commands_reach_a_cluster_over_tls(
    empty_stack: LocalStack, sandbox: SandboxClient, tmp_path: Path
) -> None:
    """They deliver, follow a replica that is promoted, and the books balance; nothing says the password."""
    with tls_cluster(tmp_path) as (cluster, ports, url):
        empty_stack.environment["FEEDBACK_BROKER_URL"] = url
        empty_stack.create_database()
        worker = empty_stack.start_worker()
        with FeedbackProducer(url, timeout=30, replicas=1) as producer:
            names = press(producer, 200)
            eventually(lambda: names <= set(sandbox.received_by_request_id()), what="all are delivered")
            old = cluster.owner()
            replica = cluster.servers[cluster.servers.index(old) + 3]
            cluster.ask(replica, "CLUSTER", "FAILOVER")
            assert cluster.await_owner_but(old) is replica
            eventually(lambda: cluster.ask(replica, "ROLE")[2] != [], what="the old one follows")
            names |= press(producer, 200)
            eventually(lambda: names <= set(sandbox.received_by_request_id()), what="all are delivered")
            over_tls, plain = names_of(cluster, ports)

        eventually(lambda: "balance" in succeed(empty_stack.environment, "reconcile"), what="it balances")
        assert "400" in succeed(empty_stack.environment, "status")
        assert PASSWORD not in worker.said()
        assert "feedback" in over_tls
        assert "feedback" not in plain
        empty_stack.stop(worker)
