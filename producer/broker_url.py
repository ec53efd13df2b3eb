"""A broker's URL, in redis-py's spelling or Kombu's, read once, and shown without its secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from producer.partitions import MOST_PARTITIONS, ON_A_CLUSTER, tags
from producer.url_options import UrlOptions, unreadable

__all__ = ["BrokerUrl", "Place"]

Place = tuple[str, int]
"""A host and a port."""

_SOCKET_SCHEMES: Final = ("unix", "redis+socket")
_SENTINEL: Final = "sentinel"
_SCHEMES: Final = ("redis", "rediss", *_SOCKET_SCHEMES, _SENTINEL)
_CLUSTER: Final = "+cluster"
_CLUSTERS: Final = tuple(f"{scheme}{_CLUSTER}" for scheme in ("redis", "rediss"))
_KOMBU_CLUSTER: Final = "rediscluster"
"""Kombu takes what stands before a ``+`` for the transport, and the rest for another URL."""
_EXPECTED: Final = (*_SCHEMES, *_CLUSTERS)
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_NO_SENTINELS: Final = (
    "it names no sentinels, and sentinel_master (FEEDBACK_SENTINEL_MASTER) is given: "
    f"expected {_SENTINEL}://host:{_SENTINEL_PORT}, or no master's name"
)
_NOT_TOLD: Final = "its host and port can't be told; percent-encode the password"
_NO_MASTER: Final = (
    "it names sentinels: the name of the master that they watch is missing (sentinel_master, FEEDBACK_SENTINEL_MASTER)"
)


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where Redis is, and how to log in to it.

    Attributes:
        redis: The URL as redis-py spells it, with all of its options. With sentinels its host is the first of them, and
            only holds the place of the master's.
        sentinels: Where the sentinels are, if they tell where Redis is.
        cluster: Where nodes of the cluster are, if it is one.
        kombu: The URL as Kombu spells it, without options: it passes them on as strings, and not all of them. Of
            several sentinels it names the first alone: of several URLs Kombu shows the passwords in a worker's
            inspection.
        options: What its query says.
        shown: The URL without passwords, and without its query, where redis-py takes passwords as well.
    """

    redis: str = field(repr=False)
    kombu: str = field(repr=False)
    shown: str
    sentinels: tuple[Place, ...] = ()
    cluster: tuple[Place, ...] = ()
    options: UrlOptions = field(default_factory=UrlOptions)

    def prefixes(self, partitions: int | None = None) -> tuple[str, ...]:
        """Return what stands before the keys of each partition; one Redis with a single one has no prefix.

        Args:
            partitions: How many there are; if None 16 on a cluster, and 1 on one Redis.

        Raises:
            ValueError: There can't be so many.
        """
        if partitions is None:
            partitions = ON_A_CLUSTER if self.cluster else 1
        if type(partitions) is not int or not 1 <= partitions <= MOST_PARTITIONS:
            raise ValueError(f"partitions is {partitions!r}: expected a whole number from 1 to {MOST_PARTITIONS}")
        return tags(partitions) if self.cluster or partitions > 1 else ("",)

    @classmethod
    def read(cls, url: str, sentinel_master: str | None = None) -> BrokerUrl:
        """Read a URL.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://``; or one ``sentinel://`` after another,
                with ``;`` in between; or ``redis+cluster://``, ``rediss+cluster://``, with a ``,`` between the nodes.
            sentinel_master: The name under which the sentinels watch the master, if the URL names sentinels.

        Raises:
            ValueError: It can't be read. The message never repeats any of it: a password may be anywhere in it.
        """
        names_sentinels = url.startswith(f"{_SENTINEL}://")
        if sentinel_master and not names_sentinels:
            raise unreadable(_NO_SENTINELS)
        if names_sentinels and not sentinel_master:
            raise unreadable(_NO_MASTER)
        if names_sentinels:
            return cls._of_sentinels([_split(one) for one in url.split(";")])
        if url.startswith(tuple(f"{scheme}://" for scheme in _CLUSTERS)):
            return cls._of_cluster(url)
        return cls._of_one(_split(url))

    @classmethod
    def _of_one(cls, parts: SplitResult) -> BrokerUrl:
        options = UrlOptions.read(parts.query, scheme=parts.scheme)
        login, _, place = parts.netloc.rpartition("@")
        start = _login(login, options)
        if parts.scheme in _SOCKET_SCHEMES:
            number = options.database or 0
            redis = f"unix://{start}{place}{parts.path}?{_query(options, db=str(number))}"
            kombu = f"redis+socket://{start}{place}{parts.path}?virtual_host={number}"
        else:
            rest = f"{parts.scheme}://{start}{place}/{_number(parts.path.strip('/'), options)}"
            redis, kombu = f"{rest}?{_query(options)}", rest
        return cls(redis=redis, kombu=kombu, shown=_masked(parts), options=options)

    @classmethod
    def _of_cluster(cls, url: str) -> BrokerUrl:
        """Read what all nodes share - login, options - and where each is."""
        named, _, after = url.partition("://")
        netloc = re.split("[/?#]", after, maxsplit=1)[0]
        login, at, places = netloc.rpartition("@")
        scheme, rest = named.removesuffix(_CLUSTER), after[len(netloc) :]
        # Node by node: some releases of Python refuse an IPv6 address that is not the first thing of a netloc.
        nodes = [_split(f"{scheme}://{login}{at}{place}{rest}") for place in places.split(",")]
        if not all(node.hostname for node in nodes):
            raise unreadable(f"expected {named}://host:port,host:port")
        first = cls._of_one(nodes[0])
        if _number(nodes[0].path.strip("/"), first.options):
            raise unreadable("its database is not 0, and a cluster has no other")
        return replace(
            first,
            kombu=first.kombu.replace(scheme, _KOMBU_CLUSTER, 1),
            shown=f"{named}://{_masked_login(netloc)}{nodes[0].path}",
            cluster=tuple((node.hostname or "", node.port or _PORT) for node in nodes),
        )

    @classmethod
    def _of_sentinels(cls, every: list[SplitResult]) -> BrokerUrl:
        if any(parts.scheme != _SENTINEL or not parts.hostname for parts in every):
            raise unreadable(f"expected {_SENTINEL}://host:port for each sentinel")
        login = _same("logins", [parts.netloc.rpartition("@")[0] for parts in every])
        database = _same("databases", [parts.path.strip("/") for parts in every])
        options = UrlOptions.read(_same("options", [parts.query for parts in every]), scheme=_SENTINEL)
        first = every[0].netloc.rpartition("@")[2]
        rest = f"{_login(login, options)}{first}/{_number(database, options)}"
        return cls(
            redis=f"{'rediss' if options.tls else 'redis'}://{rest}?{_query(options)}",
            kombu=f"{_SENTINEL}://{rest}",
            shown=";".join(_masked(parts) for parts in every),
            sentinels=tuple((parts.hostname or "", parts.port or _SENTINEL_PORT) for parts in every),
            options=options,
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise unreadable(_NOT_TOLD) from None
    if parts.scheme not in _SCHEMES:
        raise unreadable(f"expected one that begins with {', '.join(f'{scheme}://' for scheme in _EXPECTED)}")
    if parts.fragment:
        raise unreadable('it has a "#"; percent-encode the password')
    if parts.scheme not in _SOCKET_SCHEMES and not re.fullmatch(r"/?\d*", parts.path):
        raise unreadable("its path is not the number of a database")
    return parts


def _same(what: str, said: list[str]) -> str:
    """What may stand at any of the sentinels, or at several of them alike."""
    found = {one for one in said if one}
    if len(found) > 1:
        raise unreadable(f"its sentinels are given different {what}: they are Redis's, and the same for all of them")
    return found.pop() if found else ""


def _login(before_host: str, options: UrlOptions) -> str:
    """What stands before the host, with its ``@``: redis-py's login in the query says the same.

    One word alone is the password, as it is to redis-cli. redis-py and Kombu take it for a user, and show it.
    """
    if not options.login:
        alone = ":" if ":" not in before_host else ""
        return f"{alone}{before_host}@" if before_host else ""
    if before_host:
        raise unreadable("it has a login before its host, and another one among its options")
    user, password = (quote(options.login.get(name, ""), safe="") for name in ("username", "password"))
    return f"{user}:{password}@"


def _number(path: str, options: UrlOptions) -> int:
    """The database, which stands in the path, among the options, or in both alike."""
    found = {int(path)} if path else set()
    found |= set() if options.database is None else {options.database}
    if len(found) > 1:
        raise unreadable("its path and its options name different databases")
    return found.pop() if found else 0


def _query(options: UrlOptions, **more: str) -> str:
    name = {"client_name": options.client_name} if options.client_name else {}
    return urlencode(more | name | dict(options.tls))


def _masked(parts: SplitResult) -> str:
    return f"{parts.scheme}://{_masked_login(parts.netloc)}{parts.path}"


def _masked_login(netloc: str) -> str:
    login, _, place = netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{user if colon else ''}:***@{place}" if login else place
