"""What keeps a local cluster from starting is told before any server starts."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from worker.sandbox import local_cluster
from worker.sandbox.local_cluster import LocalCluster
from worker.sandbox.stack import LocalStack, StackError, free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stack(tmp_path: Path) -> LocalStack:
    """One whose folder has had a cluster."""
    stack = LocalStack(folder=tmp_path)
    stack.cluster_file.parent.mkdir()
    stack.cluster_file.write_text(str([[free_port(), free_port()] for _ in range(6)]))
    return stack


@pytest.mark.parametrize("bus", [False, True], ids=["for clients", "for nodes"])
def test_a_port_that_is_taken_is_named_with_what_to_do(
    stack: LocalStack, bus: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nodes of an earlier start know each other by their ports, so no others will do."""
    monkeypatch.setattr(local_cluster, "_FREE_WITHIN", 0.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        taken = [port, free_port()][:: -1 if bus else 1]
        stack.cluster_file.write_text(str([[free_port(), free_port()] for _ in range(5)] + [taken]))

        with pytest.raises(StackError, match=rf"port {port} of node-6 is taken.*sport = :{port}.*another --folder"):
            LocalCluster.start(stack)

    assert not stack.parts


@pytest.mark.parametrize("text", ["", "[[1]]", "{}", "[1, 2]", '[["a", "b"]]', "null"])
def test_a_file_of_ports_that_can_not_be_read_is_named(stack: LocalStack, text: str) -> None:
    """It is ours, and a start writes it whole: somebody has changed it."""
    stack.cluster_file.write_text(text)

    with pytest.raises(StackError, match=r"ports\.json does not name the ports of six nodes.*another --folder"):
        LocalCluster.start(stack)

    assert not stack.parts


def test_a_folder_keeps_to_one_kind_of_broker(stack: LocalStack, tmp_path: Path) -> None:
    """Its database counts with one queue: with another one it would miss what the first has."""
    with pytest.raises(StackError, match=r"has the queue of a cluster.*start it with --cluster, or take another"):
        stack.start_broker()
    single = LocalStack(folder=tmp_path / "single")
    (single.folder / "valkey").mkdir(parents=True)
    with pytest.raises(StackError, match=r"has the queue of one Valkey.*give the cluster another --folder"):
        LocalCluster.start(single)

    assert not stack.parts
    assert not single.parts
