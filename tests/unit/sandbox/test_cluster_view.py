"""What is read from what a node says of its cluster."""

from __future__ import annotations

import pytest

from worker.sandbox.cluster_view import ClusterView

A, B, C = (letter * 40 for letter in "abc")
NODES = f"""\
{A} 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460
{B} 127.0.0.1:7002@17002 master - 0 1764000000000 2 connected 5461-10921
{C} 127.0.0.1:7003@17003,example.com master - 0 1764000000000 3 connected 10922-16380 16382-16383
{"d" * 40} 127.0.0.1:7004@17004 slave {A} 0 1764000000000 1 connected
{"e" * 40} 127.0.0.1:7005@17005 slave {B} 0 1764000000000 2 connected
{"f" * 40} [::1]:7006@17006 slave {C} 0 1764000000000 3 connected
"""
VIEW = ClusterView.read(NODES)
ALL = range(7001, 7007)


def _after(*changes: tuple[str, str]) -> ClusterView:
    text = NODES
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return ClusterView.read(text)


def test_primaries_have_slots_and_replicas_a_primary() -> None:
    """Whatever the address looks like, and however many ranges there are."""
    assert [owner.port for owner in VIEW.owners()] == [7001, 7002, 7003]
    assert VIEW.roles[7003].slots == ("10922-16380", "16382-16383")
    assert [role.port for role in VIEW.replicas_of(7003)] == [7006]
    assert VIEW.primary_of(VIEW.roles[7005]) is VIEW.roles[7002]
    assert VIEW.primary_of(VIEW.roles[7001]) is VIEW.roles[7001]


def test_a_slot_that_moves_is_where_it_was() -> None:
    """Its owner names it in brackets beside its ranges."""
    view = _after(("0-5460", f"0-5460 [93->-{B}]"))

    assert view.roles[7001].slots == ("0-5460",)


@pytest.mark.parametrize("flags", ["master,fail", "master,fail?", "master,noaddr", "handshake"])
def test_a_node_that_is_not_reached_is_known_as_such(flags: str) -> None:
    """While it is only suspected, too."""
    view = _after(("master - 0 1764000000000 2", f"{flags} - 0 1764000000000 2"))

    assert not view.roles[7002].is_reachable
    assert view.roles[7001].is_reachable


def test_a_replica_replaces_its_primary_if_most_primaries_are_left_to_vote() -> None:
    """Its own replica, and no other one's."""
    assert VIEW.can_replace(7001, set(ALL) - {7001})
    assert not VIEW.can_replace(7001, set(ALL) - {7001, 7004})
    assert not VIEW.can_replace(7001, set(ALL) - {7001, 7002})
    assert VIEW.can_replace(7001, set(ALL) - {7001, 7005, 7006})


def test_who_has_taken_over_is_told_by_the_slots() -> None:
    """With the node that had them before."""
    after = _after(
        ("myself,master - 0 0 1 connected 0-5460", f"slave {'d' * 40} 0 0 7 connected"),
        (f"slave {A} 0 1764000000000 1 connected", "master - 0 0 7 connected 0-5460"),
    )

    assert [(owner.port, other.port) for owner, other in after.taken_over(VIEW)] == [(7004, 7001)]
    assert after.taken_over(after) == []
    assert after.epoch > VIEW.epoch
