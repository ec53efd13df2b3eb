"""Finding the primary that has the queue's slot, and reading the URL that names its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import AskError, ClusterDownError, MovedError, NoPermissionError

from producer.broker_url import BrokerUrl
from producer.cluster import ClusterNodes
from tests.support.talks import Talk, failing

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer.broker_url import Place

ONE, TWO, THREE = ("one", 7001), ("two", 7002), ("three", 7003)
KEY = "{feedback:07.60}feedback:counts"
SLOTS = [
    [0, 8191, [b"two", 7002, b"id", []], [b"three", 7003, b"id", []]],
    [8192, 16383, [None, 7001, b"id", []], [b"?", 7004, b"id", []], [b"", 7005, b"id", []]],
]


class _Scene:
    """Three nodes, of which the second has the slot."""

    def __init__(self) -> None:
        self.says: dict[Place, Callable[[], Any]] = dict.fromkeys((ONE, THREE), failing(MovedError("4184 two:7002")))
        self.says[TWO] = lambda: 0
        self.slots: Callable[[], Any] = lambda: SLOTS
        self.asked: list[Place] = []
        self.opened: list[Talk] = []
        at: Any = self._at
        self.nodes = ClusterNodes(key=KEY, order=(ONE,), named=(ONE,), redis_at=at, tls=False, patience=0.2)

    def _at(self, place: Place) -> Talk:
        self.asked.append(place)
        replies = {"EXISTS": self.says[place], "CLUSTER": self.slots}
        self.opened.append(Talk(lambda word: replies[word]()))
        return self.opened[-1]


@pytest.fixture
def scene() -> _Scene:
    """All is well."""
    return _Scene()


def test_any_node_leads_to_the_one_that_has_the_slot(scene: _Scene) -> None:
    """Its redirection is followed, and the node that it names is asked too."""
    assert scene.nodes.find() == TWO
    assert scene.asked == [ONE, TWO]
    keys = [key for talk in scene.opened for word, key in talk.commands if word == "EXISTS"]
    assert len(keys) == 2
    assert set(keys) == {KEY}


def test_the_others_are_remembered(scene: _Scene) -> None:
    """Each node that was told of, the named one last; what has no host is where the one asked is."""
    scene.nodes.find()

    assert scene.nodes.order == (ONE, TWO, THREE, ("two", 7001), ("two", 7004), ("two", 7005))
    scene.says[ONE] = failing(ConnectionRefusedError("refused"))
    assert scene.nodes.find() == TWO


@pytest.mark.parametrize("host", ["", "?"])
def test_a_redirection_without_a_host_is_to_the_node_asked(scene: _Scene, host: str) -> None:
    """A node may not know how it is reached itself."""
    scene.says[ONE] = failing(MovedError(f"4184 {host}:7009"))
    scene.says["one", 7009] = lambda: 1

    assert scene.nodes.find() == ("one", 7009)


def test_a_slot_on_its_way_is_where_it_was(scene: _Scene) -> None:
    """Until it has arrived: the other node answers with nothing but a redirection back."""
    scene.says[TWO] = failing(AskError("4184 three:7003"))

    assert scene.nodes.find() == TWO


def test_a_node_that_lives_in_the_past_is_passed_over(scene: _Scene) -> None:
    """What it names says that the slot is elsewhere."""
    scene.nodes.order = (ONE, THREE)
    scene.says[ONE] = failing(MovedError("4184 three:7003"))

    assert scene.nodes.find() == TWO


def test_a_login_that_may_not_ask_for_the_nodes_has_those_of_the_url(scene: _Scene) -> None:
    """The right to do so is a convenience."""
    scene.slots = failing(NoPermissionError("no permissions to run the 'cluster|slots' command"))

    assert scene.nodes.find() == TWO
    assert scene.nodes.order == (ONE,)


def test_where_no_node_leads_there_each_says_why(scene: _Scene) -> None:
    """The cluster is down, or nobody has the slot."""
    scene.says[ONE] = failing(ClusterDownError("Hash slot not served"))

    with pytest.raises(ConnectionError, match=r"no node leads .*; node one:7001: .*Hash slot not served"):
        scene.nodes.find()


@pytest.mark.parametrize(
    ("url", "places", "redis_url", "kombu"),
    [
        ("redis+cluster://one", (("one", 6379),), "redis://one/0?", "rediscluster://one/0"),
        ("redis+cluster://one:7001,two,[::1]:7003/0", (ONE, ("two", 6379), ("::1", 7003)), "redis://one:7001/0?", ""),
        ("redis+cluster://u:p@[::1]:7001,[::2]", (("::1", 7001), ("::2", 6379)), "redis://u:p@[::1]:7001/0?", ""),
        ("redis+cluster://u:p%2C%40s@one,two/", (("one", 6379), ("two", 6379)), "redis://u:p%2C%40s@one/0?", ""),
        ("redis+cluster://pw@one?client_name=chat", (("one", 6379),), "redis://:pw@one/0?client_name=chat", ""),
        (
            "rediss+cluster://one",
            (("one", 6379),),
            "rediss://one/0?ssl_cert_reqs=required&ssl_check_hostname=true",
            "rediscluster://one/0",
        ),
    ],
)
def test_a_url_says_where_nodes_are(url: str, places: tuple[Place, ...], redis_url: str, kombu: str) -> None:
    """And the login and the options of all of them."""
    read = BrokerUrl.read(url)

    assert (read.cluster, read.redis) == (places, redis_url)
    assert read.kombu == kombu or not kombu


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+cluster://s3cr3t@one,two/1", "its database is not 0"),
        ("redis+cluster://s3cr3t@one,two?db=2", "its database is not 0"),
        ("redis+cluster://s3cr3t@one,,two", "expected redis\\+cluster://host:port,host:port"),
        ("redis+cluster://s3cr3t@", "expected redis\\+cluster://host:port,host:port"),
        ("redis+cluster://s3cr3t@one:x", "its host and port can't be told"),
        ("redis+cluster://s3cr3t@one,two:99999", "its host and port can't be told"),
        ("redis+cluster://s3cr3t@one?ssl_ca_certs=/a", "is for rediss://"),
        ("redis+cluster://s3cr3t@one?sentinel_password=x", "is for sentinel:// alone"),
        ("redis+cluster://s3cr3t@one#x", "percent-encode"),
        ("redis+clusters://s3cr3t@one", "expected one that begins with .*redis\\+cluster://"),
    ],
)
def test_what_can_not_be_meant_is_refused(url: str, why: str) -> None:
    """The message repeats nothing of it."""
    with pytest.raises(ValueError, match=why) as refused:
        BrokerUrl.read(url)

    assert "s3cr3t" not in str(refused.value)


def test_it_is_shown_without_its_password() -> None:
    """And without its options."""
    shown = BrokerUrl.read("redis+cluster://u:s3cr3t@one:7001,two/0?client_name=x").shown

    assert shown == "redis+cluster://u:***@one:7001,two/0"


def test_a_cluster_has_no_sentinels() -> None:
    """Their master's name is an error."""
    with pytest.raises(ValueError, match="names no sentinels"):
        BrokerUrl.read("redis+cluster://one", "mymaster")
