"""Finding the master: which sentinel to ask, which to believe, and when to give up."""

from __future__ import annotations

import time
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import NoPermissionError

from producer.locator import LocatedConnection
from producer.sentinels import Sentinels
from tests.support.talks import Talk, failing

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer.broker_url import Place

ONE, TWO, THREE = ("one", 26379), ("two", 26379), ("three", 26379)
OLD, NEW = ("old", 6379), ("new", 6379)


class _Scene:
    """Three sentinels that say what they are told to, and two servers."""

    def __init__(self) -> None:
        self.says: dict[Place, Callable[[], Any]] = dict.fromkeys((ONE, TWO, THREE), lambda: ["new", "6379"])
        self.roles: dict[Place, Callable[[], Any]] = {OLD: lambda: [b"slave"], NEW: lambda: [b"master", 0, []]}
        self.asked: list[Place] = []
        self.opened: list[Talk] = []
        at: Any = self._sentinel_at
        redis_at: Any = self._redis_at
        self.sentinels = Sentinels(
            order=(ONE, TWO, THREE), master="mymaster", sentinel_at=at, redis_at=redis_at, tls=False, patience=0.2
        )

    def _sentinel_at(self, place: Place) -> Talk:
        self.asked.append(place)
        return self._open(self.says[place])

    def _redis_at(self, place: Place) -> Talk:
        return self._open(self.roles[place])

    def _open(self, answer: Callable[[], Any]) -> Talk:
        self.opened.append(Talk(lambda _: answer()))
        return self.opened[-1]


@pytest.fixture
def scene() -> _Scene:
    """All is well: every sentinel names the new master."""
    return _Scene()


def test_one_sentinel_that_answers_is_enough(scene: _Scene) -> None:
    """The others are spared, and it is told which master is meant."""
    assert scene.sentinels.find() == NEW

    assert scene.asked == [ONE]
    assert scene.opened[0].commands == [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")]
    assert all(talk.closed for talk in scene.opened)


def test_a_sentinel_that_is_unavailable_costs_nothing(scene: _Scene) -> None:
    """The next is asked, and from then on first."""
    scene.says[ONE] = failing(ConnectionRefusedError("refused"))

    assert scene.sentinels.find() == NEW
    assert scene.sentinels.find() == NEW

    assert scene.asked == [ONE, TWO, TWO]


def test_a_sentinel_whose_machine_is_gone_costs_a_moment(scene: _Scene) -> None:
    """It answers nothing at all; the budget of an event must last for the next."""
    over = Event()
    scene.says[ONE] = lambda: over.wait(60)
    began = time.monotonic()

    assert scene.sentinels.find() == NEW

    assert time.monotonic() - began < 0.2
    over.set()


def test_a_slow_sentinel_is_heard_all_the_same(scene: _Scene) -> None:
    """If the others are gone it is the only one that knows."""

    def slowly() -> Any:
        time.sleep(0.3)
        return ["new", "6379"]

    scene.says[ONE] = slowly
    scene.says[TWO] = scene.says[THREE] = failing(ConnectionRefusedError("refused"))

    assert scene.sentinels.find() == NEW


@pytest.mark.parametrize(
    "at_the_old_one", [lambda: [b"slave"], lambda: ["slave"], failing(ConnectionRefusedError("refused"))]
)
def test_a_sentinel_that_lives_in_the_past_is_passed_over(scene: _Scene, at_the_old_one: Callable[[], Any]) -> None:
    """It was cut off while the others made another server the master."""
    scene.says[ONE] = lambda: ["old", "6379"]
    scene.roles[OLD] = at_the_old_one

    assert scene.sentinels.find() == NEW
    assert scene.sentinels.find() == NEW

    assert scene.asked == [ONE, TWO, TWO]
    assert all(talk.closed for talk in scene.opened)


def test_a_login_that_may_not_ask_for_the_role_connects(scene: _Scene) -> None:
    """The first write tells whether it is the master."""
    scene.roles[NEW] = failing(NoPermissionError("this user has no permissions to run the 'role' command"))

    assert scene.sentinels.find() == NEW


def test_who_leads_to_no_master_says_why_of_each(scene: _Scene) -> None:
    """The operator fixes a name, a login or a network; a master that is down is tried once."""
    scene.says = {
        ONE: lambda: None,
        TWO: lambda: ["old", "6379"],
        THREE: lambda: ["old", "6379"],
    }

    with pytest.raises(ConnectionError) as failure:
        scene.sentinels.find()

    assert str(failure.value) == (
        "no sentinel leads to the master 'mymaster'; sentinel one:26379: it watches no master of that name; "
        "master old:6379: it is a replica"
    )
    assert len(scene.opened) == 4


def test_no_sentinel_answers_and_the_search_ends(scene: _Scene) -> None:
    """A name that resolves for ever has no deadline of its own."""
    over = Event()
    scene.says = dict.fromkeys((ONE, TWO, THREE), lambda: over.wait(60))
    began = time.monotonic()

    with pytest.raises(ConnectionError, match="no sentinel leads to the master 'mymaster'"):
        scene.sentinels.find()

    assert time.monotonic() - began < 5
    over.set()


def test_a_connection_finds_its_master_when_it_connects(scene: _Scene) -> None:
    """And not before: the master may change meanwhile."""
    connection = LocatedConnection(scene.sentinels)
    connection.disconnect()
    assert scene.asked == []
    with pytest.raises(ConnectionError, match="has not connected"):
        _ = connection._sock

    connection.connect()
    assert scene.opened[-1].commands == [("ROLE",)]

    connection.disconnect()
    assert scene.opened[-1].closed
